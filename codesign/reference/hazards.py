"""Programs whose result would depend on chance are refused: races of units, CALC outrunning itself.

Between units an access must be ordered by tokens, whatever the DRAM's pace. Every instruction
therefore carries a vector clock (Mattern, "Virtual Time and Global States of Distributed Systems",
1989): how many instructions of each unit are known to be complete when it starts. Among CALC
instructions, which start in order but overlap in the pipeline, exact cycles decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.errors import ProgramError
from codesign.isa import TOKEN_PEERS, Base, Instruction, Mode, Target, Unit
from codesign.reference.calc import Walk
from codesign.reference.grid import BoolArray
from codesign.reference.memory import IntArray, Transfer, depth, depthwise_words
from codesign.reference.timing import CalcCycles

Clock = dict[Unit, int]
"""For each unit, how many of its instructions are complete."""
Words = IntArray | slice
_NEVER = -(1 << 62)


class _Order:
    """The last access to each word by each unit, as its instruction's number among the unit's."""

    def __init__(self, words: int, what: str) -> None:
        self.what = what
        self._words = words
        self._last: dict[tuple[Unit, bool], npt.NDArray[np.int32]] = {}

    def reset(self) -> None:
        self._last.clear()

    def access(
        self, words: Words, unit: Unit, write: bool, clock: Clock, names: dict[Unit, list[int]]
    ) -> None:
        """Record an access; it must come after other units' writes, a write after all accesses."""
        for other in TOKEN_PEERS[unit]:
            for other_write in (True, False) if write else (True,):
                known = self._last.get((other, other_write))
                if known is None:
                    continue
                last = known[words]
                late = last > clock[other]
                if late.any():
                    word, number = _first(words, late), int(last[late][0])
                    raise ProgramError(
                        f"instruction {names[unit][-1]} ({unit.name}) "
                        f"{'writes' if write else 'reads'} {self.what} {word}, which "
                        f"instruction {names[other][number - 1]} ({other.name}) "
                        f"{'writes' if other_write else 'reads'}: let a token order the two"
                    )
        if (unit, write) not in self._last:
            self._last[unit, write] = np.zeros(self._words, np.int32)
        self._last[unit, write][words] = clock[unit] + 1


class _Region:
    """CALC's last accesses to each word of an ACT region: cycle and instruction."""

    def __init__(self, words: int) -> None:
        self.write_cycle = np.full(words, _NEVER, np.int64)
        self.read_cycle = np.full(words, _NEVER, np.int64)
        self.writer = np.zeros(words, np.int32)
        self.reader = np.zeros(words, np.int32)

    def reset(self) -> None:
        self.write_cycle[:] = _NEVER
        self.read_cycle[:] = _NEVER


@dataclass(frozen=True)
class _Accesses:
    """Words of a region that a CALC reads or writes, with the cycle of the first access to each,
    cycle and group of the last."""

    region: int
    words: IntArray
    cycles: IntArray
    last_cycles: IntArray
    groups: IntArray


class Hazards:
    """Watches every access of a machine's runs; raises ``ProgramError`` on the first at fault."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        memories = [(t, r) for t in Target for r in range(arch.regions if t is Target.ACT else 1)]
        self._known = {(t, r): np.zeros(depth(arch, t), np.bool_) for t, r in memories}
        self._orders = {(t, r): _Order(depth(arch, t), _word(t, r)) for t, r in memories}
        self._act = [_Region(arch.act_region_words) for _ in range(arch.regions)]
        self._dram: dict[Base, _Order] = {}
        self._indices: dict[Unit, list[int]] = {}

    def begin_run(self, sizes: Mapping[Base, int]) -> None:
        """All earlier runs are complete; what they wrote stays known. ``sizes`` in bytes."""
        for region in self._act:
            region.reset()
        for order in self._orders.values():
            order.reset()
        beat = self._arch.beat_bytes
        self._dram = {b: _Order(-(-n // beat), f"{b.name} buffer beat") for b, n in sizes.items()}
        self._indices = {unit: [] for unit in TOKEN_PEERS}

    def transfer(self, unit: Unit, index: int, clock: Clock, base: Base, t: Transfer) -> None:
        """A LOAD or SAVE starts."""
        self._indices[unit].append(index)
        writes, place = unit is Unit.LOAD, (t.target, t.region)
        self._orders[place].access(t.words, unit, writes, clock, self._indices)
        if writes:
            self._known[place][t.words] = True
        else:
            self._require(index, *place, t.words)
        beat = self._arch.beat_bytes
        rows = (t.offset + np.arange(len(t.words)) * t.stride) // beat
        beats = rows[:, None] + np.arange(-(-t.row_bytes // beat))
        self._dram[base].access(beats, unit, not writes, clock, self._indices)

    def calc(
        self,
        index: int,
        clock: Clock,
        i: Instruction,
        path: Walk,
        matters: BoolArray,
        cycles: CalcCycles,
    ) -> None:
        """A CALC starts. ``matters`` [taps]: not all weights of the tap are zero."""
        self._indices[Unit.CALC].append(index)
        self._resident(index, clock, i)
        self._in_region(index, path)
        found, taps = path.grid.reads_of(matters), i["taps"]
        when = cycles.source.ravel()
        source = _Accesses(
            i["src_region"], found.words, when[found.first], when[found.last], found.last // taps
        )
        grid = path.grid
        groups = np.tile(grid.pixels // self._arch.pixels, i["planes"])
        reads, write = [source], grid.of_written(cycles.write).ravel()
        if path.residual is not None and cycles.residual is not None:
            when = grid.of_written(cycles.residual).ravel()
            words = path.residual.ravel()
            reads.append(_Accesses(i["res_region"], words, when, when, groups))
        writes = _Accesses(i["dst_region"], path.destination.ravel(), write, write, groups)
        for read in reads:
            self._read(index, read, clock)
            if read.region == writes.region:
                self._own(index, read, writes)
        self._write(index, writes, clock)
        for read in reads:
            region = self._act[read.region]
            np.maximum.at(region.read_cycle, read.words, read.last_cycles)
            region.reader[read.words] = index

    def clash(self, index: int, region: int, cycle: int) -> None:
        """A CALC wants a read port that is taken."""
        raise ProgramError(
            f"instruction {index} (CALC) and a CALC before it, or its own residual, both read ACT "
            f"region {region} in cycle {cycle}: set its fence or move the residual"
        )

    def _resident(self, index: int, clock: Clock, i: Instruction) -> None:
        """Taps, weights, parameters and table must have been loaded."""
        words = {
            Target.TAP: (i["tap_base"], i["taps"]),
            Target.PARAM: (i["param_base"], i["planes"]),
        }
        if i["mode"] == Mode.DENSE:
            words[Target.WGT] = i["wgt_base"], i["taps"]
        elif i["mode"] == Mode.DEPTHWISE:
            words[Target.WGT] = i["wgt_base"], depthwise_words(self._arch, i["taps"])
        if i["table"]:
            entries = depth(self._arch, Target.TABLE) // self._arch.tables
            words[Target.TABLE] = i["table_id"] * entries, entries
        for target, (first, count) in words.items():
            used = slice(first, first + count)
            self._require(index, target, 0, used)
            self._orders[target, 0].access(used, Unit.CALC, False, clock, self._indices)

    def _in_region(self, index: int, path: Walk) -> None:
        """What lies outside a region is not defined: the machine does not check it."""
        if path.grid.lost.any():
            group, tap, lane = np.argwhere(path.grid.lost)[0]
            raise ProgramError(
                f"instruction {index} (CALC): tap {tap} of lane {lane} in group {group} lies in "
                "the source map, but its pixel outside the ACT region; place the map within it"
            )

    def _read(self, index: int, read: _Accesses, clock: Clock) -> None:
        self._require(index, Target.ACT, read.region, read.words)
        order = self._orders[Target.ACT, read.region]
        order.access(read.words, Unit.CALC, False, clock, self._indices)
        region = self._act[read.region]
        late = region.write_cycle[read.words] >= read.cycles
        if late.any():
            word, cycle = int(read.words[late][0]), int(read.cycles[late][0])
            raise ProgramError(
                f"instruction {index} (CALC) reads {_word(Target.ACT, read.region)} {word} in "
                f"cycle {cycle}, but instruction {region.writer[word]} (CALC) writes it only in "
                f"cycle {region.write_cycle[word]}: set its fence or start it later"
            )

    def _own(self, index: int, read: _Accesses, writes: _Accesses) -> None:
        """No group may read what an earlier group of the same instruction writes."""
        writer = np.full(self._arch.act_region_words, np.iinfo(np.int64).max)
        np.minimum.at(writer, writes.words, writes.groups)
        late = writer[read.words] < read.groups
        if late.any():
            word, group = int(read.words[late][0]), int(read.groups[late][0])
            raise ProgramError(
                f"instruction {index} (CALC) reads {_word(Target.ACT, read.region)} {word} in "
                f"group {group}, but writes it itself in group {writer[word]}: separate the maps"
            )

    def _write(self, index: int, writes: _Accesses, clock: Clock) -> None:
        order = self._orders[Target.ACT, writes.region]
        order.access(writes.words, Unit.CALC, True, clock, self._indices)
        region = self._act[writes.region]
        early = region.read_cycle[writes.words] > writes.cycles
        if early.any():
            word, cycle = int(writes.words[early][0]), int(writes.cycles[early][0])
            raise ProgramError(
                f"instruction {index} (CALC) writes {_word(Target.ACT, writes.region)} {word} in "
                f"cycle {cycle}, but instruction {region.reader[word]} (CALC) still reads it in "
                f"cycle {region.read_cycle[word]}: set its fence or start it later"
            )
        self._known[Target.ACT, writes.region][writes.words] = True
        region.write_cycle[writes.words] = writes.cycles
        region.writer[writes.words] = index

    def _require(self, index: int, target: Target, region: int, words: Words) -> None:
        unknown = ~self._known[target, region][words]
        if unknown.any():
            raise ProgramError(
                f"instruction {index} reads {_word(target, region)} {_first(words, unknown)}, "
                "which nothing has written: load or compute it first"
            )


def _first(words: Words, mask: BoolArray) -> int:
    """The first of the words where ``mask`` is set."""
    if isinstance(words, slice):
        return int(words.start) + int(mask.argmax())
    return int(words[mask][0])


def _word(target: Target, region: int) -> str:
    return f"ACT region {region} pixel" if target is Target.ACT else f"{target.name} word"
