"""What a unit has before it, in hand and behind it during a run."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from codesign import latency
from codesign.isa import Instruction
from codesign.reference.hazards import Clock


@dataclass
class Queued:
    """An instruction in its unit's queue or in execution."""

    index: int
    instruction: Instruction
    arrival: int
    number: int = 0
    start: int = 0
    ready: int = 0
    """Checked, and all its tokens there."""
    checked: tuple[int, int] = (0, 0)
    clock: Clock = field(default_factory=dict)


@dataclass
class UnitState:
    """A unit: what waits for it, what it does, what it did."""

    queue: deque[Queued] = field(default_factory=deque)
    active: deque[Queued] = field(default_factory=deque)
    arrivals: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    busy: list[tuple[int, int]] = field(default_factory=list)
    """Cycles [first, after the last) with an instruction that lacks nothing."""
    running: list[tuple[int, int]] = field(default_factory=list)
    """Likewise, with an instruction in execution."""
    lacks: list[tuple[int, int]] = field(default_factory=list)
    """Likewise with an instruction that lacks a token."""

    def accepted(self, number: int) -> int | None:
        """When the unit takes its ``number``-th instruction from the queue; None if unknown."""
        if number > len(self.starts):
            return None
        before = self.starts[number - 1] + latency.CALC_ACCEPT if number else 0
        return max(self.arrivals[number], before)

    def levels(self, cycles: int) -> tuple[int, int, int]:
        """Of so many cycles those busy, those in execution, and those outside the latter that lack
        a token."""
        busy, running, lacks = np.zeros((3, cycles + 1), np.bool_)
        for level, spans in ((busy, self.busy), (running, self.running), (lacks, self.lacks)):
            for first, end in spans:
                level[first:end] = True
        return int(busy.sum()), int(running.sum()), int((lacks & ~running).sum())
