"""The image: instructions of both parts, then the contents of the memories that ``setup`` fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codesign import isa
from codesign.arch import ISA_VERSION, Arch
from codesign.artifact import LayerSpan, Part
from codesign.compiler.resident import Resident
from codesign.compiler.schedule import Step
from codesign.compiler.tile import DRAM_ALIGNMENT, Pass
from codesign.isa import INSTRUCTION_BYTES, Base, Instruction, Opcode
from codesign.reference.memory import word_bytes


@dataclass(frozen=True)
class Image:
    """The PROGRAM buffer's contents and the parts in it."""

    data: bytes
    setup: Part
    infer: Part


def image(arch: Arch, resident: Resident, infer: Sequence[Instruction]) -> Image:
    """Encode a program whose part ``infer`` has these instructions between BEGIN and END."""
    filled = {target: data for target, data in resident.contents.items() if data}
    begin = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=arch.fingerprint)
    end = isa.make(Opcode.END)
    setup_count, infer_count = len(filled) + 2, len(infer) + 2
    offset = (setup_count + infer_count) * INSTRUCTION_BYTES
    loads, sections = [], []
    for target, data in filled.items():
        section = data.ljust(-(-len(data) // DRAM_ALIGNMENT) * DRAM_ALIGNMENT, b"\0")
        words = len(data) // word_bytes(arch, target)
        loads.append(
            isa.make(
                Opcode.LOAD, target=int(target), base=int(Base.PROGRAM), offset=offset, rows=1,
                words=words,
            )
        )  # fmt: skip
        sections.append(section)
        offset += len(section)
    instructions = (begin, *loads, end, begin, *infer, end)
    data = b"".join(isa.encode(at) for at in instructions) + b"".join(sections)
    setup = Part(0, setup_count)
    return Image(data, setup, Part(setup_count * INSTRUCTION_BYTES, infer_count))


def spans(steps: Sequence[Step], passes: Sequence[Pass], batch: int) -> tuple[LayerSpan, ...]:
    """Instructions of each pass; stretches of one layer that follow each other are joined."""
    found: list[LayerSpan] = []
    for number, at in enumerate(passes):
        where = [index for index, step in enumerate(steps, start=1) if step.at == number]
        layer = at.layer
        work = layer.macs * (batch if at.sample is None else 1)
        span = LayerSpan(layer.name, layer.op, where[0], where[-1] + 1, work)
        if found and found[-1].name == span.name:
            before = found.pop()
            span = LayerSpan(span.name, span.op, before.first, span.last, before.macs + span.macs)
        found.append(span)
    return tuple(found)
