"""Tokens between units and fences within CALC: what lets steps run at once, and never too early.

Tokens follow from the last access of each unit to each word of the memories on chip that it shares
with others, and to each beat of DRAM buffers that are both written and read. Fences follow
from the exact times of CALC (docs/machine.md, "Time"), counted with the smallest distance between
instructions: any delay only moves later reads and writes further away from earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign import isa
from codesign.arch import TAP_ENTRY_BITS, Arch
from codesign.compiler.resident import Resident
from codesign.compiler.schedule import Step
from codesign.errors import CapacityError, EncodingError
from codesign.isa import TOKEN_PEERS, Base, Instruction, Mode, Opcode, Target, Unit
from codesign.reference.calc import Walk, walk
from codesign.reference.memory import IntArray, Taps, Transfer, depth, depthwise_words
from codesign.reference.timing import CalcCycles, calc_cycles

_UNITS = {Opcode.LOAD: Unit.LOAD, Opcode.CALC: Unit.CALC, Opcode.SAVE: Unit.SAVE}
_NEVER = -(1 << 40)


_DRAM = None
_Memory = tuple[Target | None, int]
"""A memory on chip and, for ACT, its region; or no such memory, and the base of a DRAM buffer."""


@dataclass(frozen=True)
class _Access:
    """Words of a memory: an ACT region, another memory on chip, or the beats of a DRAM buffer."""

    memory: _Memory
    words: IntArray
    writes: bool


def resident_taps(resident: Resident) -> Callable[[Step, Instruction], Taps]:
    """The taps of instructions on what part ``setup`` has loaded."""
    words, size = resident.contents[Target.TAP], TAP_ENTRY_BITS // 8

    def of(_: Step, instruction: Instruction) -> Taps:
        first = instruction["tap_base"] * size
        return Taps.of(words[first : first + instruction["taps"] * size])

    return of


def order(
    arch: Arch, taps: Callable[[Step, Instruction], Taps], steps: Sequence[Step]
) -> tuple[Instruction, ...]:
    """The steps as instructions, with tokens and fences. ``taps`` tells those of a CALC.

    Raises
    ------
    CapacityError
        A step needs more than a field of its instruction holds.
    """
    shared = _Shared.of(steps)
    tokens, pipeline = _Tokens(arch), _Pipeline(arch)
    made, fences = [], []
    for number, step in enumerate(steps):
        instruction = _make(step)
        made.append(instruction)
        fence = False
        if step.opcode is Opcode.CALC:
            path = walk(arch, instruction, taps(step, instruction))
            accesses = [*_calc_accesses(instruction, path), *shared.contents(arch, instruction)]
            fence = pipeline.add(instruction, path)
        else:
            accesses = list(shared.transfer(arch, instruction))
        fences.append(fence)
        tokens.add(number, _UNITS[step.opcode], accesses)
    for number, (step, fence) in enumerate(zip(steps, fences, strict=True)):
        more = {"wait": tokens.waits.get(number, 0), "signal": tokens.signals.get(number, 0)}
        if fence:
            more["fence"] = 1
        if any(more.values()):
            made[number] = _make(step, **more)
    return tuple(made)


@dataclass(frozen=True)
class _Shared:
    """What steps share besides ACT: memories that LOADs fill, buffers that SAVEs write and LOADs
    read."""

    filled: frozenset[Target]
    buffers: frozenset[Base]

    @classmethod
    def of(cls, steps: Sequence[Step]) -> _Shared:
        loads = [step.values for step in steps if step.opcode is Opcode.LOAD]
        saved = {step.values["base"] for step in steps if step.opcode is Opcode.SAVE}
        filled = {Target(values["target"]) for values in loads} - {Target.ACT}
        both = saved & {values["base"] for values in loads}
        return cls(frozenset(filled), frozenset(Base(base) for base in both))

    def contents(self, arch: Arch, i: Instruction) -> Iterator[_Access]:
        """What a CALC reads of memories other than ACT."""
        words = {Target.TAP: i["taps"], Target.PARAM: i["planes"]}
        if i["mode"] != Mode.MAX:
            dense = i["mode"] == Mode.DENSE
            words[Target.WGT] = i["taps"] if dense else depthwise_words(arch, i["taps"])
        for target in self.filled & words.keys():
            first = i[f"{target.name.lower()}_base"]
            yield _Access((target, 0), np.arange(first, first + words[target]), False)

    def transfer(self, arch: Arch, i: Instruction) -> Iterator[_Access]:
        """What a LOAD or SAVE reads and writes."""
        transfer, writes = Transfer.of(arch, i), i.opcode is Opcode.LOAD
        yield _Access((transfer.target, transfer.region), transfer.words.ravel(), writes)
        if i["base"] in self.buffers:
            rows = transfer.offset + np.arange(len(transfer.words)) * transfer.stride
            beats = np.arange(-(-transfer.row_bytes // arch.beat_bytes))
            words = (rows // arch.beat_bytes)[:, None] + beats
            yield _Access((_DRAM, i["base"]), words.ravel(), not writes)


def _make(step: Step, **more: int) -> Instruction:
    try:
        return isa.make(step.opcode, **{**step.values, **more})
    except EncodingError as error:
        raise CapacityError(f"{step.what}: {error}; use smaller maps") from error


def _calc_accesses(instruction: Instruction, path: Walk) -> Iterator[_Access]:
    yield _Access((Target.ACT, instruction["src_region"]), path.grid.reads.words, False)
    if path.residual is not None:
        words = path.residual.ravel()
        yield _Access((Target.ACT, instruction["res_region"]), words, False)
    words = path.destination.ravel()
    yield _Access((Target.ACT, instruction["dst_region"]), words, True)


class _Tokens:
    """Finds for each instruction the last one of each other unit that it must come after.

    A unit completes its instructions in order, so a token from that last one stands for all before;
    where a unit has waited for as late a one already, it needs no token.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        self._last: dict[tuple[_Memory, Unit, bool], npt.NDArray[np.int32]] = {}
        self._waited = {(unit, peer): -1 for unit, peers in TOKEN_PEERS.items() for peer in peers}
        self.waits: dict[int, int] = {}
        self.signals: dict[int, int] = {}

    def add(self, number: int, unit: Unit, accesses: Sequence[_Access]) -> None:
        for bit, peer in enumerate(TOKEN_PEERS[unit]):
            after = max((self._after(peer, access) for access in accesses), default=-1)
            if after > self._waited[unit, peer]:
                self._waited[unit, peer] = after
                self.waits[number] = self.waits.get(number, 0) | 1 << bit
                back = TOKEN_PEERS[peer].index(unit)
                self.signals[after] = self.signals.get(after, 0) | 1 << back
        for access in accesses:
            if access.words.size:
                self._record(access, unit, number)

    def _after(self, peer: Unit, access: _Access) -> int:
        """The last instruction of a peer that an access must come after."""
        found, target = -1, access.memory[0]
        for kind in (True, False) if access.writes else (True,):
            known = self._last.get((access.memory, peer, kind))
            if known is not None:  # words beyond those that it has met it has not met
                words = (
                    access.words if target is not _DRAM else access.words[access.words < len(known)]
                )
                found = max(found, int(known[words].max(initial=-1)))
        return found

    def _record(self, access: _Access, unit: Unit, number: int) -> None:
        target, _ = access.memory
        key = access.memory, unit, access.writes
        if key not in self._last:
            size = 0 if target is _DRAM else depth(self._arch, target)
            self._last[key] = np.full(size, -1, np.int32)
        if target is _DRAM:  # as large as it is used
            last, size = int(access.words.max()), len(self._last[key])
            if last >= size:
                more = np.full(max(last + 1 - size, size), -1, np.int32)
                self._last[key] = np.concatenate([self._last[key], more])
        self._last[key][access.words] = number


class _Pipeline:
    """CALC's accesses in cycles, were every instruction to start as early as it can."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        shape = arch.regions, arch.act_region_words
        self._written = np.full(shape, _NEVER, np.int64)
        self._residual_read = np.full(shape, _NEVER, np.int64)
        self._residual_port = [_NEVER] * arch.regions
        self._next = 0
        self._results = _NEVER

    def add(self, instruction: Instruction, path: Walk) -> bool:
        """Whether the instruction needs a fence."""
        cycles = calc_cycles(self._arch, instruction, self._next)
        fence = self._next <= self._results and self._too_early(instruction, path, cycles)
        if fence:
            cycles = calc_cycles(self._arch, instruction, max(self._next, self._results + 1))
        self._record(instruction, path, cycles)
        return fence

    def _too_early(self, i: Instruction, path: Walk, cycles: CalcCycles) -> bool:
        source, target = i["src_region"], i["dst_region"]
        if self._residual_port[source] >= self._next:
            return True
        if self._written[source].max() >= self._next:
            reads = path.grid.reads
            when = cycles.source.ravel()[reads.first]
            if (self._written[source][reads.words] >= when).any():
                return True
        if path.residual is not None and cycles.residual is not None:
            words = path.residual
            if (
                self._written[i["res_region"]][words] >= path.grid.of_written(cycles.residual)
            ).any():
                return True
        words = path.destination
        return bool((self._residual_read[target][words] > path.grid.of_written(cycles.write)).any())

    def _record(self, i: Instruction, path: Walk, cycles: CalcCycles) -> None:
        words = path.destination
        self._written[i["dst_region"]][words] = path.grid.of_written(cycles.write)
        if path.residual is not None and cycles.residual is not None:
            region = i["res_region"]
            words = path.residual
            self._residual_read[region][words] = path.grid.of_written(cycles.residual)
            self._residual_port[region] = int(cycles.residual.max())
        self._next = cycles.slot_end
        self._results = int(cycles.write.max())
