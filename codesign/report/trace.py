"""The accelerator's trace: when each instruction of a run started and ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from codesign.arch import Arch
from codesign.artifact import LayerSpan, Part, Program
from codesign.isa import INSTRUCTION_BYTES, Instruction, Unit, decode
from codesign.latency import calc_interval
from codesign.reference.trace import TraceRecord


def instructions(program: Program, part: Part) -> list[Instruction]:
    """The decoded instructions of a part."""
    image = memoryview(program.image)[part.offset :]
    return [
        decode(bytes(image[i * INSTRUCTION_BYTES : (i + 1) * INSTRUCTION_BYTES]))
        for i in range(part.count)
    ]


@dataclass(frozen=True)
class Slot:
    """What a CALC took of the array: ``cycles``, after ``waited`` in which the array was idle.

    ``cause`` is why the array was idle before it: ``token``, ``fence`` or ``instruction`` (none was
    there yet). ``drain`` cycles of a slot have no tap, because a group cannot leave faster.
    """

    index: int
    start: int
    cycles: int
    drain: int
    waited: int
    cause: str


@dataclass(frozen=True, eq=False)
class Execution:
    """A part's instructions together with the spans of one run."""

    arch: Arch
    instructions: tuple[Instruction, ...]
    spans: tuple[TraceRecord, ...]

    @classmethod
    def of(cls, program: Program, spans: Iterable[TraceRecord]) -> Execution:
        """A run of part ``infer``."""
        ordered = tuple(sorted(spans, key=lambda span: (span.start, span.end)))
        return cls(program.arch, tuple(instructions(program, program.infer)), ordered)

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every CALC in the order of execution."""
        return tuple(self._slots())

    def _slots(self) -> Iterator[Slot]:
        free = written = 0
        for span in self.spans:
            if span.unit is not Unit.CALC:
                continue
            calc = self.instructions[span.index]
            step = calc_interval(self.arch, calc["taps"])
            # a fence holds until earlier results are written, whatever else is waited for
            if calc["fence"] and written > free:
                cause = "fence"
            else:
                cause = "token" if calc["wait"] else "instruction"
            yield Slot(
                span.index,
                span.start,
                calc["groups"] * step,
                calc["groups"] * (step - calc["taps"]),
                max(0, span.start - free),
                cause,
            )
            free, written = span.start + calc["groups"] * step, max(written, span.end)


def layer_of(layers: Iterable[LayerSpan]) -> dict[int, str]:
    """Instruction index in part ``infer`` -> name of its layer."""
    return {i: layer.name for layer in layers for i in range(layer.first, layer.last)}


def describe(instruction: Instruction) -> dict[str, int]:
    """The fields of an instruction that are not zero."""
    return {name: value for name, value in instruction.values.items() if value}
