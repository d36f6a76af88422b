"""What the driver raises beside ``TypeError`` and ``ValueError``."""

from __future__ import annotations


class ProgramFileError(Exception):
    """A program file is damaged, or was written in a format that this driver does not read."""


class DeviceMismatchError(Exception):
    """The device is no accelerator, or another one than the program was compiled for."""


class AcceleratorError(Exception):
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
        super().__init__(
            f"the accelerator stopped with {code} at {place}; the next run begins with a soft reset"
        )
        self.code = code
        self.part = part
        self.index = index
        self.layer = layer
