"""What the driver needs of a device: one contract for references, RTL simulation and boards.

A device implements it structurally; nothing here needs to be imported to do so.

Every method and property may raise ``ConnectionError`` (or a child of it) where the way to the
device is gone; the driver tells its user. What a device has opened it closes in ``close``, which is
also the end of its ``with`` block.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Overlay:
    """What an overlay's own files tell of the hardware in them.

    The driver compares it with what the registers say: a board may run another bitstream than the
    one whose files lie beside the user's notebook.

    Parameters
    ----------
    name:
        Of the file, for messages.
    fingerprint:
        Of the architecture that it was generated for, as register FINGERPRINT reads.
    clock_hz:
        The fastest clock for which its timing was met.
    address_bits:
        Width of the addresses on its memory port.
    """

    name: str
    fingerprint: int
    clock_hz: float
    address_bits: int


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
    """An accelerator with its memory, of which one process at a time has the use.

    A context manager: leaving it closes the device.
    """

    @property
    def name(self) -> str:
        """What and where it is, for messages: "pynq-z2 at 192.168.2.99"."""

    @property
    def clock_hz(self) -> float:
        """Frequency of the accelerator's clock, by which cycles become seconds. On a board it is
        read back from the clock's registers, not what was asked for."""

    @property
    def overlay(self) -> Overlay | None:
        """What the loaded overlay's files tell; None where no file was loaded (a simulation)."""

    @property
    def simulation_s(self) -> float | None:
        """Wall-clock seconds spent on simulating so far, which are nobody's overhead; None on
        hardware."""

    def seconds(self) -> float:
        """A clock for time-outs, of any origin, that goes on while the accelerator runs:
        ``time.monotonic`` on a board, simulated time in a simulation."""

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of ``nbytes`` zero bytes, at least 1.

        Raises
        ------
        MemoryError
            The device's memory has no such stretch free.
        """

    def read_register(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``, a multiple of 4: 0 <= value < 2**32."""

    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits to the register at byte ``offset``, a multiple of 4."""

    def wait(self) -> None:
        """Let the accelerator work: return at its interrupt, or after a while without one.

        The caller reads the status afterwards and calls again if the run is not over. On a board
        this sleeps or polls; a simulated device computes here and nowhere else.
        """

    def close(self) -> None:
        """Give everything back that opening took, the lock on the board too; again is no error."""

    def __enter__(self) -> Device: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
