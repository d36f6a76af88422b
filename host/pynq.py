"""A board under PYNQ as a device for the driver: on the board itself, or from another computer over
PYNQ's remote protocol.

Keeps to what PYNQ 3.0 to 4.0 do alike here and there; a comment says where one of them does not.
PYNQ is imported when a device is opened: without it, the rest of ``host`` works.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from host.device import ByteArray, Overlay
from host.errors import DeviceMismatchError, DriverError
from host.lock import BoardLock

MODULE = "codesign_top"
"""Name of the accelerator's IP, whichever vendor and library Vivado gives it."""
_BOARD_NAME = Path("/proc/device-tree/chosen/pynq_board")
_WORD = 0xFFFFFFFF
_POLL_S = 20e-6
_RECONNECT_S, _RECONNECT_POLL_S = 5.0, 0.05
_TOLERANCE = 1e-3
"""Of a clock above what timing was met for: two PLLs' roundings, nothing more."""


class PynqBuffer:
    """A contiguous buffer of PYNQ's."""

    def __init__(self, buffer: Any, address: int, remote: bool) -> None:
        self._buffer, self._remote = buffer, remote
        self._array: ByteArray = np.asarray(buffer)
        self._address = address

    @property
    def array(self) -> ByteArray:
        """The buffer's bytes."""
        return self._array

    @property
    def address(self) -> int:
        """Where the accelerator sees the first byte."""
        return self._address

    def flush(self) -> None:
        """Write the processor's cache, or the remote copy, to the board's memory."""
        with _connection(self._remote):
            self._buffer.flush()

    def invalidate(self) -> None:
        """Read back what the accelerator wrote."""
        with _connection(self._remote):
            self._buffer.invalidate()

    def free(self) -> None:
        """Give the memory back."""
        with _connection(self._remote):
            self._buffer.freebuffer()


class PynqDevice:
    """The accelerator of an overlay on a board that runs PYNQ; matches ``host.device.Device``.

    On the board itself nothing is to be said. From another computer, the environment names the
    board to PYNQ: ``PYNQ_REMOTE_DEVICES=192.168.2.99``.

    Parameters
    ----------
    bitfile:
        The overlay's .bit file, its .hwh file beside it.
    device:
        A PYNQ device; by default the one that PYNQ finds.
    clock_mhz:
        Of the accelerator; by default that of the overlay, which is the fastest it may have.

    Raises
    ------
    FileNotFoundError
        One of the overlay's files is missing.
    DriverError
        On the board itself, this process is not root's.
    DeviceBusyError
        Another process uses the board.
    DeviceMismatchError
        The overlay has no accelerator, or its clock cannot be set.
    ConnectionError
        The board does not answer.
    """

    def __init__(
        self,
        bitfile: str | os.PathLike[str],
        *,
        device: Any = None,
        clock_mhz: float | None = None,
    ) -> None:
        path = _overlay_files(Path(bitfile))
        pynq = _pynq()
        with _connection():
            self._device = _active(pynq) if device is None else device
        self._remote = bool(self._device.has_capability("REMOTE"))
        self._where = str(self._device.ip_addr) if self._remote else "this board"
        if not self._remote and os.geteuid() != 0:
            raise DriverError(
                "PYNQ reaches the board's registers as root alone: run Python with sudo -E in "
                "PYNQ's environment, or in the board's Jupyter, which runs as root"
            )
        self._lock = BoardLock(self._where)
        try:
            with _connection():
                self._open(pynq, path, clock_mhz)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, pynq: Any, path: Path, clock_mhz: float | None) -> None:
        pynq.Device.active_device = self._device  # remote port widths are set through it
        # Clocks keeps its way to the first board that this process had, as that was then
        if hasattr(pynq.Clocks, "_real_instance"):
            del pynq.Clocks._real_instance
        if self._remote:
            _await(self._device)
            # it would be a file in PYNQ's installation that all boards and processes share
            self._device.gen_cache = lambda *_, **__: None
        loaded = pynq.Overlay(str(path), download=False, device=self._device)
        _complete_clocks(loaded)
        loaded.download()
        address, nbytes, parameters = _accelerator(loaded, path)
        self.overlay = _described(path, parameters)
        self._clocks, self._allocate = pynq.Clocks._instance, pynq.allocate
        if clock_mhz is not None:
            self._clocks.set_pl_clk(0, clk_mhz=clock_mhz)
        self._check_clock(path)
        self._mmio = pynq.MMIO(address, nbytes, device=self._device)

    def _check_clock(self, path: Path) -> None:
        found, fastest = self.clock_hz, self.overlay.clock_hz
        if not 0 < found <= fastest * (1 + _TOLERANCE):
            raise DeviceMismatchError(
                f"the accelerator's clock is {found / 1e6:.3f} MHz, but {path.name} met its timing "
                f"at {fastest / 1e6:.3f} MHz: pass clock_mhz with at most that, or take an overlay "
                "for a faster clock"
            )

    @property
    def name(self) -> str:
        """The board's name and, where it is another machine, its address."""
        if self._remote:
            return f"{self._device.name} at {self._where}"
        try:  # PYNQ itself calls every local board by its driver's name
            return _BOARD_NAME.read_text().strip("\0\n ") or str(self._device.name)
        except OSError:
            return str(self._device.name)

    @property
    def clock_hz(self) -> float:
        """As the clock's registers have it now."""
        with _connection(self._remote):
            return 1e6 * float(self._clocks.get_pl_clk(0))

    @property
    def simulation_s(self) -> None:
        """A board computes by itself; a simulated one cannot be told from it."""
        return None

    def seconds(self) -> float:
        """Time."""
        return time.monotonic()

    def read_text(self, path: str) -> str:
        """A text file on the board, such as a sensor's.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        if not self._remote:
            return Path(path).read_text()
        with _connection():
            if not self._device.exists_file(path).exists:
                raise FileNotFoundError(path)
            return str(self._device.read_file(path).decode())

    def allocate(self, nbytes: int) -> PynqBuffer:
        """A buffer of zeros; PYNQ's own hold anything."""
        if nbytes < 1:
            raise ValueError(f"a buffer of {nbytes} bytes: at least 1 is needed")
        try:
            with _connection():
                buffer = self._allocate((nbytes,), np.uint8, self._device, cacheable=1)
                # the remote one fails here, not in allocate
                address = int(buffer.device_address)
        except RuntimeError as error:
            raise MemoryError(
                f"{self.name} gives no {nbytes} contiguous bytes: {error}; where memory is short, "
                "free other buffers, or restart what holds them"
            ) from error
        made = PynqBuffer(buffer, address, self._remote)
        try:
            made.array[:] = 0
            made.flush()
        except BaseException:
            with suppress(Exception):
                made.free()
            raise
        return made

    def read_register(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``."""
        with _connection(self._remote):
            # PYNQ 3.1 reads remote values from 2^31 on as negative ones
            return int(self._mmio.read(offset)) & _WORD

    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at byte ``offset``."""
        with _connection(self._remote):
            self._mmio.write(offset, int(value))

    def wait(self) -> None:
        """Sleep a little. Interrupts reach asynchronous code on the board only, so STATUS is
        polled."""
        time.sleep(_POLL_S)

    def close(self) -> None:
        """Let others have the board; the overlay stays loaded."""
        self._lock.release()

    def __enter__(self) -> PynqDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _pynq() -> Any:
    try:
        import pynq
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "package 'pynq' is not installed: it is on every PYNQ image; for a remote board, "
            "pip install -e '.[pynq31]' (Zynq-7000) or '.[pynq40]' in a checkout of the project, "
            "on Python 3.10 to 3.12",
            name="pynq",
        ) from error
    return pynq


def _active(pynq: Any) -> Any:
    """The device that PYNQ finds."""
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        if _is_unreachable(error):
            raise
        raise ConnectionError(
            f"PYNQ finds no board ({error}): on another computer, set PYNQ_REMOTE_DEVICES to the "
            "board's address before Python starts; on a board, run as root with XRT's environment"
        ) from error


@contextmanager
def _connection(opened: bool = False) -> Iterator[None]:
    """What gRPC and PYNQ raise where a board does not answer, as ``ConnectionError``.

    ``opened``: what is used was made on a remote board before. One that has restarted meanwhile
    answers, and knows nothing of it; PYNQ tells that as a ``RuntimeError``.
    """
    try:
        yield
    except Exception as error:
        if _is_unreachable(error) or (opened and type(error) is RuntimeError):
            raise ConnectionError(_first_line(error)) from error
        raise


def _is_unreachable(error: Exception) -> bool:
    """gRPC is known by its status alone, for only remote boards have it."""
    code = getattr(error, "code", None)
    if callable(code):
        return getattr(code(), "name", "") in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
    return type(error) is RuntimeError and "Failed to connect" in str(error)


def _first_line(error: Exception) -> str:
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error).splitlines()[0]


def _await(device: Any) -> None:
    """Until a remote board answers: gRPC waits before it tries a lost connection again, and tells
    callers at once that there is none."""
    end = time.monotonic() + _RECONNECT_S
    while True:
        try:
            device.exists_file("/proc/version")
            return
        except Exception as error:
            if not _is_unreachable(error) or time.monotonic() > end:
                raise
            time.sleep(_RECONNECT_POLL_S)


def _overlay_files(bitfile: Path) -> Path:
    """The absolute path, which PYNQ wants: it looks for others in its own folders as well."""
    path = bitfile.absolute()
    for needed in (path, path.with_suffix(".hwh")):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} is missing: an overlay is a .bit file and the .hwh file of that name"
            )
    return path


def _complete_clocks(overlay: Any) -> None:
    """Frequencies that PYNQ 4.0 does not find in the handoff files of Zynq-7000, and needs."""
    for index, clock in overlay.clock_dict.items():
        if clock.get("frequency", math.nan) is None:
            parameters = overlay.ip_dict[overlay.parser.ps_name]["parameters"]
            clock["frequency"] = float(parameters[f"PCW_ACT_FPGA{index}_PERIPHERAL_FREQMHZ"])


def _described(path: Path, parameters: Mapping[str, str]) -> Overlay:
    """What the handoff file's parameters tell of the accelerator."""
    try:
        return Overlay(
            path.name,
            int(parameters["FINGERPRINT"], 0),
            1e6 * float(parameters["CLOCK_MHZ"]),
            int(parameters["ADDRESS_BITS"]),
        )
    except KeyError as error:
        raise DeviceMismatchError(
            f"{path.with_suffix('.hwh').name} tells nothing of the accelerator's {error.args[0]}: "
            "take the handoff file that `codesign overlay` wrote, not Vivado's"
        ) from error


def _accelerator(overlay: Any, path: Path) -> tuple[int, int, Mapping[str, str]]:
    """Address, bytes and parameters of the accelerator's registers."""
    for core in overlay.ip_dict.values():
        if core["type"].split(":")[2] == MODULE:
            return int(core["phys_addr"]), int(core["addr_range"]), core["parameters"]
    names = ", ".join(overlay.ip_dict) or "none"
    raise DeviceMismatchError(
        f"{path.name} holds no {MODULE} (its cores: {names}): load an overlay of codesign"
    )
