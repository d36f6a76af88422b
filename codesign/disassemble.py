"""Programs as text: one instruction a line, fields that are zero left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from codesign import isa
from codesign.arch import Arch
from codesign.artifact import Part, Program
from codesign.errors import EncodingError
from codesign.isa import (
    INSTRUCTION_BYTES,
    TOKEN_PEERS,
    Base,
    Field,
    Instruction,
    Mode,
    Opcode,
    Target,
    Unit,
)
from codesign.reference.memory import Transfer

_NAMED: dict[str, type[Base] | type[Mode] | type[Target]] = {
    "base": Base,
    "mode": Mode,
    "target": Target,
}
_RECORDS = {Target.TAP: isa.TAP_ENTRY, Target.PARAM: isa.PARAM_RECORD}


def disassemble(program: Program, *, tables: bool = False) -> str:
    """Both parts of a program.

    Parameters
    ----------
    tables:
        Also list the tap entries and parameter records that each LOAD brings.
    """
    return "\n".join(_lines(program, tables)) + "\n"


def describe(instruction: Instruction) -> str:
    """One instruction: its opcode, and its fields that are not zero, in the layout's order."""
    fields = isa.LAYOUTS[instruction.opcode][1:]
    shown = [f"{f.name}={_value(instruction, f)}" for f in fields if instruction[f.name]]
    return " ".join([f"{instruction.opcode.name:<5}", *shown]).rstrip()


def _value(instruction: Instruction, field: Field) -> str:
    value = instruction[field.name]
    if field.name in _NAMED:
        known = _NAMED[field.name]
        return known(value).name if value in {int(v) for v in known} else str(value)
    if field.name in ("wait", "signal"):
        peers = TOKEN_PEERS[Unit[instruction.opcode.name]]
        return "+".join(peer.name for bit, peer in enumerate(peers) if value >> bit & 1)
    return f"0x{value:08X}" if field.name == "fingerprint" else str(value)


def _lines(program: Program, tables: bool) -> Iterator[str]:
    arch = program.arch
    yield f"program {program.name} for {arch.name}, fingerprint 0x{arch.fingerprint:08X}"
    for name, part in (("setup", program.setup), ("infer", program.infer)):
        yield ""
        yield f"{name}: {part.count} instructions at byte {part.offset}"
        starts = {s.first: f"{s.name} ({s.op})" for s in program.layers} if name == "infer" else {}
        yield from _part(program, part, starts, tables)


def _part(program: Program, part: Part, starts: dict[int, str], tables: bool) -> Iterator[str]:
    image = program.image
    for index in range(part.count):
        if index in starts:
            yield f"  {starts[index]}:"
        first = part.offset + index * INSTRUCTION_BYTES
        try:
            instruction = isa.decode(image[first : first + INSTRUCTION_BYTES])
        except EncodingError as error:
            yield f"{index:6}  illegal: {error}"
            continue
        yield f"{index:6}  {describe(instruction)}"
        if tables and instruction.opcode is Opcode.LOAD and instruction["base"] == Base.PROGRAM:
            yield from _records(program.arch, image, instruction)


def _records(arch: Arch, image: bytes, load: Instruction) -> Iterator[str]:
    """The records that a LOAD of taps or parameters brings."""
    if load["target"] not in _RECORDS:
        return
    target = Target(load["target"])
    transfer = Transfer.of(arch, load)
    rows = transfer.dram(np.frombuffer(image, np.uint8))
    records = np.ascontiguousarray(rows).view("<u8")
    for row, words in enumerate(transfer.words):
        for column, word in enumerate(words):
            for lane, record in enumerate(records[row, column]):
                values = isa.unpack(_RECORDS[target], int(record))
                shown = " ".join(f"{name}={value}" for name, value in values.items())
                name = f"{target.name} {word}" + (f".{lane}" if records.shape[2] > 1 else "")
                yield f"{'':8}{name}: {shown}"
