"""When things happen: the DRAM, the ports of ACT, and the pipeline of CALC, in clock cycles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign import latency
from codesign.arch import Arch
from codesign.isa import Instruction
from codesign.reference.memory import IntArray


@dataclass(frozen=True)
class Dram:
    """A memory behind the AXI4 port that moves one beat per cycle and direction, bursts in order.

    Attributes
    ----------
    read_latency:
        Cycles from a read request to its first beat.
    write_latency:
        Cycles from a burst's last write beat to its response.
    reads_outstanding, writes_outstanding:
        Bursts that it takes before it holds up the next request.
    """

    read_latency: int = 40
    write_latency: int = 20
    reads_outstanding: int = 8
    writes_outstanding: int = 8


@dataclass(frozen=True)
class CalcCycles:
    """Cycles in which a CALC's words move, all told as the issue of a tap that reads with them.

    A read of cycle c sees what was written up to cycle c - 1 (``latency.calc_write``).

    Attributes
    ----------
    source:
        [groups, taps].
    write, residual:
        [planes, groups, P].
    slot_end:
        First cycle after the instruction's slots.
    finish:
        Cycle of its last drain step (``latency.calc_finish``).
    """

    source: IntArray
    write: IntArray
    residual: IntArray | None
    slot_end: int
    finish: int


def calc_cycles(arch: Arch, i: Instruction, start: int) -> CalcCycles:
    """The cycles of a CALC that starts in cycle ``start``."""
    at = _from_zero(arch, i["groups"], i["taps"], i["planes"], bool(i["residual"]))
    return CalcCycles(
        at.source + start,
        at.write + start,
        None if at.residual is None else at.residual + start,
        at.slot_end + start,
        at.finish + start,
    )


@lru_cache(maxsize=16)
def _from_zero(arch: Arch, groups: int, taps: int, planes: int, residual: bool) -> CalcCycles:
    """The cycles of a CALC that starts in cycle 0."""
    step = latency.calc_interval(arch, taps)
    group = np.arange(groups, dtype=np.int64) * step
    block = np.arange(planes)[:, None, None]
    lane_block = np.arange(arch.pixels) // arch.drain
    last_tap = group[:, None] + step - 1
    drained = last_tap + lane_block * arch.planes + block
    return CalcCycles(
        group[:, None] + latency.calc_lead(arch, taps) + np.arange(taps),
        drained + latency.calc_write(arch),
        drained + latency.calc_residual(arch) if residual else None,
        groups * step,
        latency.calc_finish(arch, groups, taps),
    )


class Calendar:
    """Cycles in which CALC takes a port; they are known at least ``known_ahead`` cycles before."""

    def __init__(self, known_ahead: int) -> None:
        self.known_ahead = known_ahead
        self._bytes = bytearray(1 << 12)
        """One for each cycle that is taken: bytes are searched faster than arrays."""
        self._taken: npt.NDArray[np.bool_] = np.frombuffer(self._bytes, np.bool_)

    def _reach(self, last: int) -> None:
        if last >= len(self._bytes):
            size = max(2 * len(self._bytes), last + 1)
            self._bytes = self._bytes.ljust(size, b"\0")
            self._taken = np.frombuffer(self._bytes, np.bool_)

    def book(self, cycles: IntArray) -> int | None:
        """Take the cycles; the first that was already taken, or None."""
        if not len(cycles):
            return None
        self._reach(int(cycles.max()))
        taken = self._taken[cycles]
        self._taken[cycles] = True
        return int(cycles[taken].min()) if taken.any() else None

    def first_free(self, cycle: int) -> int:
        """The first cycle from ``cycle`` on that is not taken."""
        found = self._bytes.find(0, cycle)
        return found if found >= 0 else max(cycle, len(self._bytes))
