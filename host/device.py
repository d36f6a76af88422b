"""What the driver needs of a device: one contract for references, RTL simulation and boards.

A device implements it structurally; nothing here needs to be imported to do so.
"""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]


class Buffer(Protocol):
    """Contiguous memory that host and accelerator share."""

    @property
    def array(self) -> ByteArray:
        """The buffer's bytes, one-dimensional and writable; the same memory on every access."""

    @property
    def address(self) -> int:
        """Where the accelerator sees the first byte: a multiple of 16."""

    def flush(self) -> None:
        """Make what the host wrote visible to the accelerator: call before a run that reads it."""

    def invalidate(self) -> None:
        """Make what the accelerator wrote visible to the host: call after a run that wrote it."""

    def free(self) -> None:
        """Give the memory back; neither side may use it afterwards."""


class Device(Protocol):
    """An accelerator with its memory. A context manager: leaving it closes the device."""

    @property
    def clock_hz(self) -> float:
        """Frequency of the accelerator's clock, by which cycles become seconds."""

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of ``nbytes`` zero bytes, at least 1.

        Raises
        ------
        MemoryError
            The device's memory has no such stretch free.
        """

    def read_register(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``, a multiple of 4."""

    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at byte ``offset``, a multiple of 4."""

    def wait(self) -> None:
        """Let the accelerator work: return at its interrupt, or after a while without one.

        The caller reads the status afterwards and calls again if the run is not over. On a board
        this sleeps or polls; a simulated device computes here and nowhere else.
        """

    def __enter__(self) -> Device: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
