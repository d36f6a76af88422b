"""Tokens between units and fences within CALC: what lets steps run at once, and never too early.

Tokens follow from the last access of each unit to each word of activation memory. Fences follow
from the exact times of CALC (docs/machine.md, "Time"), counted with the smallest distance between
instructions: any delay only moves later reads and writes further away from earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codesign import isa
from codesign.arch import Arch
from codesign.compiler.resident import Resident
from codesign.compiler.schedule import Step
from codesign.errors import CapacityError, EncodingError
from codesign.isa import TOKEN_PEERS, Instruction, Opcode, Target, Unit
from codesign.reference.calc import Walk, walk
from codesign.reference.memory import IntArray, Transfer, unpack_all
from codesign.reference.timing import calc_cycles

_UNITS = {Opcode.LOAD: Unit.LOAD, Opcode.CALC: Unit.CALC, Opcode.SAVE: Unit.SAVE}
_NEVER = -(1 << 40)


@dataclass(frozen=True)
class _Access:
    region: int
    words: IntArray
    writes: bool


def order(arch: Arch, resident: Resident, steps: Sequence[Step]) -> tuple[Instruction, ...]:
    """The steps as instructions, with tokens and fences.

    Raises
    ------
    CapacityError
        A step needs more than a field of its instruction holds.
    """
    taps = unpack_all(isa.TAP_ENTRY, np.frombuffer(resident.contents[Target.TAP], "<u8"))
    tokens, pipeline = _Tokens(arch), _Pipeline(arch)
    fences = []
    for number, step in enumerate(steps):
        instruction = _make(step)
        fence = False
        if step.opcode is Opcode.CALC:
            first = instruction["tap_base"]
            part = slice(first, first + instruction["taps"])
            path = walk(arch, instruction, {name: at[part] for name, at in taps.items()})
            accesses = list(_calc_accesses(instruction, path))
            fence = pipeline.add(instruction, path)
        else:
            words = Transfer.of(arch, instruction).words.ravel()
            accesses = [_Access(instruction["region"], words, step.opcode is Opcode.LOAD)]
        fences.append(fence)
        tokens.add(number, _UNITS[step.opcode], accesses)
    return tuple(
        isa.make(
            step.opcode,
            **{
                **step.values,
                "wait": tokens.waits.get(number, 0),
                "signal": tokens.signals.get(number, 0),
                **({"fence": 1} if fence else {}),
            },
        )
        for number, (step, fence) in enumerate(zip(steps, fences, strict=True))
    )


def _make(step: Step) -> Instruction:
    try:
        return isa.make(step.opcode, **step.values)
    except EncodingError as error:
        raise CapacityError(f"{step.what}: {error}; use smaller maps") from error


def _calc_accesses(instruction: Instruction, path: Walk) -> Iterator[_Access]:
    used = path.inside & path.written[:, None]
    yield _Access(instruction["src_region"], path.source[used], False)
    if path.residual is not None:
        yield _Access(instruction["res_region"], path.residual[:, path.written].ravel(), False)
    yield _Access(instruction["dst_region"], path.destination[:, path.written].ravel(), True)


class _Tokens:
    """Finds for each instruction the last one of each other unit that it must come after.

    A unit completes its instructions in order, so a token from that last one stands for all before;
    where a unit has waited for as late a one already, it needs no token.
    """

    def __init__(self, arch: Arch) -> None:
        shape = arch.regions, arch.act_region_words
        self._last = {
            (unit, writes): np.full(shape, -1, np.int32)
            for unit in TOKEN_PEERS
            for writes in (False, True)
        }
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
            self._last[unit, access.writes][access.region, access.words] = number

    def _after(self, peer: Unit, access: _Access) -> int:
        if not access.words.size:
            return -1
        kinds = (True, False) if access.writes else (True,)
        return max(int(self._last[peer, kind][access.region, access.words].max()) for kind in kinds)


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
        fence = self._too_early(instruction, path, self._next)
        start = max(self._next, self._results + 1) if fence else self._next
        self._record(instruction, path, start)
        return fence

    def _too_early(self, i: Instruction, path: Walk, start: int) -> bool:
        if start > self._results:
            return False
        source, target = i["src_region"], i["dst_region"]
        cycles = calc_cycles(self._arch, i, start)
        if self._residual_port[source] >= start:
            return True
        if self._written[source].max() >= start:
            used = path.inside & path.written[:, None]
            reads = np.broadcast_to(cycles.source[:, :, None], used.shape)[used]
            if (self._written[source][path.source[used]] >= reads).any():
                return True
        if path.residual is not None and cycles.residual is not None:
            words = path.residual[:, path.written]
            if (self._written[i["res_region"]][words] >= cycles.residual[:, path.written]).any():
                return True
        words = path.destination[:, path.written]
        return bool((self._residual_read[target][words] > cycles.write[:, path.written]).any())

    def _record(self, i: Instruction, path: Walk, start: int) -> None:
        cycles = calc_cycles(self._arch, i, start)
        words = path.destination[:, path.written]
        self._written[i["dst_region"]][words] = cycles.write[:, path.written]
        if path.residual is not None and cycles.residual is not None:
            region = i["res_region"]
            words = path.residual[:, path.written]
            self._residual_read[region][words] = cycles.residual[:, path.written]
            self._residual_port[region] = int(cycles.residual.max())
        self._next = cycles.slot_end
        self._results = int(cycles.write.max())
