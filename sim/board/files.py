"""The files that PYNQ's client reads and writes on a board: device tree, FPGA manager, sensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from sim.board.boards import BoardModel, Rail
from sim.board.errors import BoardError

MANAGER = "/sys/class/fpga_manager/fpga0"
FIRMWARE = "/lib/firmware/"
_WRITABLE = (FIRMWARE, "/tmp/")
_LARGEST = 256 << 20

Read = Callable[[], bytes]
Write = Callable[[bytes], None]


class Files:
    """A file system of plain files, and of such as sysfs computes when they are read or written."""

    def __init__(self) -> None:
        self._plain: dict[str, bytes] = {}
        self._reads: dict[str, Read] = {}
        self._writes: dict[str, Write] = {}

    def provide(self, path: str, read: Read, write: Write | None = None) -> None:
        """A file of sysfs."""
        self._reads[path] = read
        if write:
            self._writes[path] = write

    def exists(self, path: str) -> bool:
        return path in self._plain or path in self._reads

    def read(self, path: str) -> bytes:
        """What the file holds now.

        Raises
        ------
        BoardError
            There is none.
        """
        if path in self._reads:
            return self._reads[path]()
        if path not in self._plain:
            raise BoardError(f"{path}: there is no such file on the board")
        return self._plain[path]

    def write(self, path: str, content: bytes) -> None:
        """Replace a plain file, or do what sysfs does on a write.

        Raises
        ------
        BoardError
            The file cannot be written, or sysfs refuses the content.
        """
        if path in self._writes:
            self._writes[path](content)
        elif path in self._reads or not path.startswith(_WRITABLE):
            raise BoardError(
                f"{path}: not writable; the board takes files in {' and '.join(_WRITABLE)}"
            )
        else:
            kept = sum(len(data) for name, data in self._plain.items() if name != path)
            if kept + len(content) > _LARGEST:
                raise BoardError(f"{path}: no space left for {len(content)} bytes")
            self._plain[path] = content


def system_files(model: BoardModel) -> Mapping[str, bytes]:
    """What tells the client which board it talks to."""
    return {
        "/proc/version": f"Linux version 6.6.0 ({model.soc.machine}, simulated)\n".encode(),
        "/proc/device-tree/chosen/pynq_board": model.title.encode() + b"\0",
    }


def rail_files(model: BoardModel, running: Callable[[], bool]) -> Mapping[str, Read]:
    """The sensors in sysfs, in the units of the kernel's hwmon interface: mV, mA, uW."""
    files: dict[str, Read] = {}
    for index, rail in enumerate(model.rails):
        folder = f"/sys/class/hwmon/hwmon{index}"

        files[f"{folder}/power1_input"] = partial(_value, rail, running, 1e6)
        files[f"{folder}/curr1_input"] = partial(_value, rail, running, 1e3 / rail.volts)
        constant = {
            "name": rail.chip,
            "in1_input": f"{rail.volts * 1e3:.0f}",
            "in1_label": rail.label,
            "curr1_label": rail.label,
            "power1_label": rail.label,
        }
        for name, text in constant.items():
            files[f"{folder}/{name}"] = partial(str.encode, f"{text}\n")
    return files


def _value(rail: Rail, running: Callable[[], bool], per_watt: float) -> bytes:
    watts = rail.running_w if running() else rail.idle_w
    return f"{watts * per_watt:.0f}\n".encode()
