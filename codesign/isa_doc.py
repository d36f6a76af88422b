"""Instruction set and register map as a document: ``python -m codesign.isa_doc docs/isa.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path

from codesign import isa, registers
from codesign.arch import ISA_VERSION, PARAM_RECORD_BITS, TAP_ENTRY_BITS

_ENUMS: tuple[type[IntEnum], ...] = (isa.Target, isa.Base, isa.Mode, isa.Unit, isa.ErrorCode)


def isa_document() -> str:
    """Markdown: instructions, records, codes and registers."""
    return "\n".join(_document()) + "\n"


def _document() -> Iterator[str]:
    yield "# Instruction set and registers"
    yield ""
    yield "Generated from `codesign.isa` and `codesign.registers` by `python -m codesign.isa_doc`."
    yield "What instructions do, and when, is told in [machine.md](machine.md)."
    yield ""
    yield f"Version {ISA_VERSION}. An instruction has {isa.INSTRUCTION_BYTES} bytes, little-endian;"
    yield "fields are packed from bit 0 upwards, and the bits above the last one are zero."
    yield ""
    yield "## Instructions"
    for opcode, fields in isa.LAYOUTS.items():
        yield ""
        yield f"### {opcode.name} (opcode {int(opcode)})"
        yield from _fields(fields)
    yield ""
    yield "Tokens: bit 0 and bit 1 of `wait` and `signal` name a unit's peers."
    rows = [[unit.name, *(p.name for p in peers)] for unit, peers in isa.TOKEN_PEERS.items()]
    yield from _table(("unit", "bit 0", "bit 1"), rows)
    yield ""
    yield "## Records"
    for name, bits, record in (
        ("TAP entry", TAP_ENTRY_BITS, isa.TAP_ENTRY),
        ("PARAM record", PARAM_RECORD_BITS, isa.PARAM_RECORD),
    ):
        yield ""
        yield f"### {name} ({bits} bits)"
        yield from _fields(record)
    yield ""
    yield "## Codes"
    for codes in _ENUMS:
        yield ""
        yield f"### {codes.__name__}"
        yield from _table(("value", "name"), [[str(int(c)), c.name] for c in codes])
    yield ""
    yield "## Registers"
    yield ""
    yield "AXI4-Lite, 32 bits each. ro: read only, rw: read and write, wo: write only."
    rows = [[f"0x{r.offset:03X}", r.name, r.access, r.what] for r in registers.REGISTERS]
    yield from _table(("offset", "name", "access", "meaning"), rows)


def _fields(fields: tuple[isa.Field, ...]) -> Iterator[str]:
    rows = []
    for field, position in isa.offsets(fields):
        low, high = field.range
        bits = f"{position + field.bits - 1}..{position}" if field.bits > 1 else str(position)
        rows.append([bits, f"`{field.name}`", f"{low}..{high}", field.what])
    yield from _table(("bits", "field", "range", "meaning"), rows)


def _table(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def main(arguments: list[str]) -> None:
    """Write the document to the one path given."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m codesign.isa_doc FILE")
    Path(arguments[0]).write_text(isa_document(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
