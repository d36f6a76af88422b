"""A simulated board in this process, behind the driver's contract: what a PYNQ device does, without
the network and without PYNQ."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from bitstreams.bit import BitFile
from host.device import Overlay
from sim.board.board import Board
from sim.board.errors import BoardError
from sim.board.files import FIRMWARE, MANAGER
from sim.board.memory import Allocation, Memory


class Stopwatch:
    """Wall-clock seconds spent in the board, which ends a step as cheaply as it begins it: what it
    takes itself counts as the driver's."""

    __slots__ = ("_begin", "seconds")

    def __init__(self) -> None:
        self.seconds = self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._begin


class BoardBuffer:
    """A contiguous buffer; ``array`` is the processor's copy."""

    def __init__(self, memory: Memory, allocation: Allocation, watch: Stopwatch) -> None:
        self._memory, self._allocation, self._watch = memory, allocation, watch

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        return self._allocation.cache

    @property
    def address(self) -> int:
        return self._allocation.address

    def flush(self) -> None:
        with self._watch:
            self._allocation.flush()

    def invalidate(self) -> None:
        with self._watch:
            self._allocation.invalidate()

    def free(self) -> None:
        self._memory.free(self._allocation)


class BoardDevice:
    """A board, programmed with an overlay; matches ``host.device.Device``.

    Time passes when STATUS is read and nowhere else, so that every run is the same.

    Parameters
    ----------
    board:
        It is closed with the device.
    bitfile:
        The overlay's .bit file.

    Attributes
    ----------
    simulation_s:
        Wall-clock seconds spent in the board: its logic, its registers, its two copies of memory.

    Raises
    ------
    BoardError
        The file is no bitstream of a design that the board simulates.
    """

    def __init__(self, board: Board, bitfile: Path) -> None:
        self.board = board
        self._watch = Stopwatch()
        image = np.frombuffer(BitFile.decode(bitfile.read_bytes()).body, ">u4").astype("<u4")
        name = f"{bitfile.stem}.bin"
        board.files.write(f"{FIRMWARE}{name}", image.tobytes())
        board.files.write(f"{MANAGER}/flags", b"0")
        board.files.write(f"{MANAGER}/firmware", name.encode())
        description = board.description
        self._base: int = description["registers"]
        self.overlay = Overlay(
            bitfile.name,
            description["fingerprint"],
            1e6 * description["clock_mhz"],
            description["address_bits"],
        )
        board.system.set_pl_clock(0, board.model.board.clock(description["clock_mhz"]))

    @property
    def name(self) -> str:
        return f"{self.board.model.name}, simulated in process"

    @property
    def simulation_s(self) -> float:
        return self._watch.seconds

    @property
    def clock_hz(self) -> float:
        return self.board.system.pl_clock_hz(0)

    def seconds(self) -> float:
        """Simulated time."""
        return self.board.fabric.busy_cycles / self.clock_hz

    def read_text(self, path: str) -> str:
        """A file on the board, as sensors are read.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        if not self.board.files.exists(path):
            raise FileNotFoundError(path)
        return self.board.files.read(path).decode()

    def allocate(self, nbytes: int) -> BoardBuffer:
        """A buffer of zeros on both sides."""
        if nbytes < 1:
            raise ValueError(f"a buffer of {nbytes} bytes: at least 1 is needed")
        try:
            allocation = self.board.memory.allocate(nbytes)
        except BoardError as error:
            raise MemoryError(f"{self.name}: {error}") from error
        allocation.cache[:] = 0
        allocation.flush()
        return BoardBuffer(self.board.memory, allocation, self._watch)

    def read_register(self, offset: int) -> int:
        with self._watch:
            return self.board.read(self._base + offset)

    def write_register(self, offset: int, value: int) -> None:
        with self._watch:
            self.board.write(self._base + offset, value.to_bytes(4, "little"))

    def wait(self) -> None:
        """Nothing to do: the next read of STATUS lets time pass."""

    def close(self) -> None:
        self.board.close()

    def __enter__(self) -> BoardDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
