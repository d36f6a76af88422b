"""What the driver raises beside ``TypeError`` and ``ValueError``: one root, a child per cause.

Where Python has a class for the cause, the child is one of these too.
"""

from __future__ import annotations

import os

REMEDIES = {
    "ILLEGAL_OPCODE": "the program in memory is damaged: load it again",
    "ARCH_MISMATCH": "the program is for another architecture: compile it for this one",
    "MALFORMED": "the program in memory is damaged: load it again, or compile it again",
    "ADDRESS_RANGE": "the program reaches beyond its buffers: load it again, or compile it again",
    "AXI_READ": "memory refused a read: a buffer was freed, or lies where the port cannot reach",
    "AXI_WRITE": "memory refused a write: a buffer was freed, or lies where the port cannot reach",
    "WATCHDOG": "nothing moved for as long as the watchdog waits: memory does not answer, or the "
    "clock of its port stands still",
}
"""What to do about the accelerator's errors, by the names in a program's manifest."""


class DriverError(Exception):
    """Root of what goes wrong with programs and devices."""


class ProgramFileError(DriverError):
    """A program file is damaged, or was written in a format that this driver does not read."""


class DeviceMismatchError(DriverError):
    """The device is no accelerator, or another one than the program was compiled for."""


class AllocationError(DriverError, MemoryError):
    """The device has no memory left for a program's buffers, or none that the accelerator sees."""


class DeviceTimeoutError(DriverError, TimeoutError):
    """The accelerator does not come to an end."""


class DeviceLostError(DriverError, ConnectionError):
    """The way to the device is gone."""

    def __init__(self, device: str, cause: BaseException) -> None:
        super().__init__(
            f"the connection to {device} is lost ({cause}): see to its power and its network, "
            "open the device again and load the program"
        )


class DeviceBusyError(DriverError):
    """Another process has the board.

    Parameters
    ----------
    owner:
        The process's number; empty where it is not known.
    """

    def __init__(self, board: str, owner: str) -> None:
        if owner == str(os.getpid()):
            whose = "this process: close its other device (device.close()) first"
        else:
            whose = f"process {owner or '(unknown)'}: end it, or wait until it closes its device"
        super().__init__(f"board {board!r} is in use by {whose}")
        self.owner = owner


class AcceleratorError(DriverError):
    """The accelerator stopped with an error.

    Parameters
    ----------
    code:
        Name of the error, as in the program's manifest.
    part:
        ``setup`` or ``infer``.
    index:
        Of the offending instruction in that part.
    layer:
        The layer that the instruction belongs to; None where it belongs to none.
    """

    def __init__(self, code: str, part: str, index: int, layer: str | None) -> None:
        place = f"instruction {index} of part {part!r}" + (f", layer {layer!r}" if layer else "")
        remedy = REMEDIES.get(code, "the hardware is newer than this driver: update it")
        super().__init__(
            f"the accelerator stopped with {code} at {place}: {remedy}; the next run begins with "
            "a soft reset"
        )
        self.code = code
        self.part = part
        self.index = index
        self.layer = layer
