"""The domain's errors: one root, a child per stage, so that a caller can tell whose input was
wrong.

Arguments of the wrong type or range raise ``TypeError`` and ``ValueError``; these classes are for
networks, programs and runs. Every message names the offending value and the remedy.
"""


class CodesignError(Exception):
    """Root of everything this project raises about networks, programs and devices."""


class UnsupportedOpError(CodesignError):
    """A network holds an operation that no unit of the accelerator can execute."""


class GraphError(CodesignError):
    """A graph breaks one of the rules of ``codesign.ir`` (dangling tensor, wrong shape, ...)."""


class CapacityError(CodesignError):
    """A network needs more on-chip memory, or wider fields, than the architecture has."""


class EncodingError(CodesignError):
    """A field of an instruction does not hold the value it is given."""


class ProgramError(CodesignError):
    """A program file is damaged, or was made for another architecture or version."""


class SynthesisError(CodesignError):
    """Yosys is missing, refuses a design, or its netlist breaks a rule (unknown cell, combinational
    loop)."""


class ExplorationError(CodesignError):
    """A sweep cannot go on: workers that die, a problem or a folder that cannot be read."""


class MachineError(CodesignError):
    """The accelerator stopped with an error code.

    Parameters
    ----------
    code:
        The value of the ERROR_CODE register (``codesign.isa.ErrorCode``).
    index:
        Index of the offending instruction within the part of the program that ran.
    """

    def __init__(self, message: str, code: int, index: int) -> None:
        super().__init__(message)
        self.code = code
        self.index = index
