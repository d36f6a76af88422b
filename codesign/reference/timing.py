"""When things happen: the DRAM, the ports of ACT, and the pipeline of CALC, in clock cycles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign import latency
from codesign.arch import Arch
from codesign.isa import Instruction
from codesign.reference.memory import IntArray

GAP = 1
"""From the end of a CALC's slot to the next one's start."""
FENCE = 1
"""From the last write of a result to the start of a CALC with a fence."""
RETIRE = 1
"""From a CALC's last write to its completion."""
TOKEN = 1
"""From a completion to the first cycle in which its tokens can be taken."""


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
    """Cycles in which a CALC's words move, counted where a source read counts as its tap's issue.

    A read of cycle c sees what was written up to cycle c - 1.

    Attributes
    ----------
    source:
        [groups, taps].
    write, residual:
        [planes, groups, P].
    slot_end:
        First cycle in which another instruction's taps could issue.
    """

    source: IntArray
    write: IntArray
    residual: IntArray | None
    slot_end: int


def calc_write(arch: Arch) -> int:
    """From the issue of a group's last tap to lane block 0's results in ACT."""
    return latency.ACT_READ + latency.array(arch) + latency.post(arch)


def residual_read(arch: Arch) -> int:
    """From the issue of a group's last tap to the read of lane block 0's residual words."""
    return latency.array(arch) + latency.residual(arch)


def interval(arch: Arch, taps: int) -> int:
    """Cycles from one group to the next."""
    return max(taps, arch.drain_steps)


def calc_cycles(arch: Arch, i: Instruction, start: int) -> CalcCycles:
    """The cycles of a CALC whose first tap issues in cycle ``start``."""
    step = interval(arch, i["taps"])
    group = start + np.arange(i["groups"], dtype=np.int64) * step
    block = np.arange(i["planes"])[:, None, None]
    lane_block = np.arange(arch.pixels) // arch.drain
    finished = group[:, None] + i["taps"] - 1 + lane_block * arch.planes + block
    return CalcCycles(
        group[:, None] + np.arange(i["taps"]),
        finished + calc_write(arch),
        finished + residual_read(arch) if i["residual"] else None,
        start + i["groups"] * step,
    )


class Calendar:
    """Cycles in which a port is taken."""

    def __init__(self) -> None:
        self._taken: npt.NDArray[np.bool_] = np.zeros(1 << 12, np.bool_)

    def _reach(self, last: int) -> None:
        if last >= len(self._taken):
            size = max(2 * len(self._taken), last + 1)
            self._taken = np.concatenate([self._taken, np.zeros(size - len(self._taken), np.bool_)])

    def book(self, cycles: IntArray) -> int | None:
        """Take the cycles; the first that was already taken, or None."""
        self._reach(int(cycles.max()))
        taken = self._taken[cycles]
        self._taken[cycles] = True
        return int(cycles[taken][0]) if taken.any() else None

    def pass_through(self, wanted: IntArray) -> IntArray:
        """When requests get the port that want it in these cycles, ascending, one after another.

        Each takes the first free cycle that no earlier request has; nothing is booked.
        """
        first, last = int(wanted[0]), int(wanted[-1])
        margin = len(wanted)
        while True:
            self._reach(last + margin)
            free = first + np.flatnonzero(~self._taken[first : last + margin + 1])
            at = np.searchsorted(free, wanted)
            order = np.arange(len(wanted))
            slot = order + np.maximum.accumulate(at - order)
            if slot[-1] < len(free):
                return np.asarray(free[slot])
            margin *= 2
