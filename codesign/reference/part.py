"""A part of a program in its buffer, before it runs: what cannot be one is refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codesign import isa
from codesign.arch import Arch
from codesign.errors import EncodingError, MachineError
from codesign.isa import INSTRUCTION_BYTES, ErrorCode, Instruction, Opcode
from codesign.reference import faults
from codesign.reference.memory import ByteArray

INDEX_BITS = 24
"""Width of an instruction's index."""


@dataclass(frozen=True, eq=False)
class Part:
    """``count`` instructions from byte ``offset`` of the program buffer, which begins at a DRAM
    ``address``."""

    arch: Arch
    buffer: ByteArray
    address: int
    offset: int
    count: int

    def check(self) -> None:
        """Raise ``MachineError`` for what the machine stops at before the first instruction."""
        size = len(self.buffer)
        found = list(faults.buffer_faults("PROGRAM", self.address, size))
        refuse(0, (fault for fault in found if fault[0] is ErrorCode.MALFORMED))
        if self.offset % INSTRUCTION_BYTES or not 0 < self.count < 1 << INDEX_BITS:
            what = f"part of {self.count} instructions at byte {self.offset}"
            refuse(0, [(ErrorCode.MALFORMED, what)])
        refuse(0, found)
        end = self.offset + self.count * INSTRUCTION_BYTES
        if end > size:
            what = f"part ends at byte {end} of a program of {size}"
            refuse(0, [(ErrorCode.ADDRESS_RANGE, what)])

    def opcode(self, index: int) -> Opcode | None:
        """None if it is illegal."""
        return isa.opcode(self._word(index))

    def decoded(self, index: int) -> Instruction:
        """An instruction; ``MachineError`` where it cannot be read, or not in this place."""
        opcode = self.opcode(index)
        try:
            instruction = isa.decode(self._word(index))
        except EncodingError as error:
            code = ErrorCode.MALFORMED if opcode else ErrorCode.ILLEGAL_OPCODE
            raise MachineError(f"instruction {index}: {error}", code, index) from error
        if (opcode is Opcode.BEGIN) != (index == 0):
            what = "BEGIN must be the first, and nothing else"
            refuse(index, [(ErrorCode.MALFORMED, what)])
        if (opcode is Opcode.END) != (index == self.count - 1):
            what = "END must be the last, and nothing else"
            refuse(index, [(ErrorCode.MALFORMED, what)])
        if opcode is Opcode.BEGIN:
            refuse(index, faults.begin_faults(self.arch, instruction))
        return instruction

    def _word(self, index: int) -> bytes:
        first = self.offset + index * INSTRUCTION_BYTES
        return self.buffer[first : first + INSTRUCTION_BYTES].tobytes()


def refuse(index: int, found: Iterable[faults.Fault]) -> None:
    """Raise ``MachineError`` for the first of the faults of an instruction."""
    for code, what in found:
        raise MachineError(f"instruction {index}: {what}", code, index)
