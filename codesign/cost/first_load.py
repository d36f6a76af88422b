"""The first LOADs of a run, burst by burst: units of the machine reference, without any program.

FETCH reads ahead over the same bus meanwhile, and the DRAM answers both in the order in which they
ask: no closed form tells the outcome. It follows from a few sizes, so that of many architectures
most share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codesign import latency
from codesign.isa import INSTRUCTION_BYTES, Target
from codesign.reference import dma, units
from codesign.reference.execution import FETCH_START
from codesign.reference.memory import Transfer
from codesign.reference.timing import Dram


@dataclass(frozen=True)
class FirstLoads:
    """LOADs that follow the first instruction of a run.

    Attributes
    ----------
    words:
        ACT words of a row, of each LOAD.
    rows, stride:
        Of every LOAD, and bytes from one to the next.
    parts:
        LOADs that together load a tile, their rows in turn.
    word_bytes, beat_bytes:
        Of ACT and of the bus.
    setup:
        Instructions of part ``setup``, behind which those of the run lie.
    ahead:
        Instructions that FETCH hands out before the first CALC starts.
    count:
        Instructions that it reads: no more than there are.
    """

    words: tuple[int, ...]
    rows: int
    stride: int
    parts: int
    word_bytes: int
    beat_bytes: int
    setup: int
    ahead: int
    count: int
    dram: Dram


@lru_cache(maxsize=1 << 15)
def ready(at: FirstLoads) -> tuple[tuple[int, ...], int]:
    """The cycles from which CALCs can start that wait for each LOAD; and when the instruction
    behind the LOADs is offered to its unit."""
    return _Bus(at).run()


class _Bus:
    """LOAD and FETCH on the bus."""

    def __init__(self, at: FirstLoads) -> None:
        self.at = at
        channel = dma.ReadChannel(at.dram)
        self.load = units.Load(at.beat_bytes, channel)
        beats = INSTRUCTION_BYTES // at.beat_bytes
        address = at.setup * INSTRUCTION_BYTES
        self.fetch = units.Fetch(FETCH_START, at.count, beats, address, at.beat_bytes, channel)
        self.decoded: list[int] = []
        """When each LOAD could start."""
        self.started = 0
        self.offered = 0
        self.ready: list[int] = []

    def run(self) -> tuple[tuple[int, ...], int]:
        """Let time pass until everything is loaded."""
        while len(self.ready) < len(self.at.words):
            ask, judge = self.fetch.ask_cycle(), self.fetch.judge_cycle()
            if self.fetch.next_index >= self.at.ahead:
                judge = None
            start, step = self._start_cycle(), self.load.next_cycle()
            first = min(cycle for cycle in (ask, judge, start, step) if cycle is not None)
            if first == ask and not self.load.goes_first(ask):
                self.fetch.ask()
            elif first == judge:
                self._hand_out(judge)
            elif first == start:
                self._start(start)
            elif first == step:
                job = self.load.step(step)
                self.ready += [] if job is None else [job.end + 1]
            else:
                self.fetch.ask()
        return tuple(self.ready), self.offered

    def _hand_out(self, cycle: int) -> None:
        begin = latency.FETCH_BEGIN if self.fetch.next_index == 0 else 0
        index = self.fetch.hand_out(cycle + begin)
        if 1 <= index <= len(self.at.words):
            self.decoded.append(cycle + latency.QUEUE_PASS + latency.DECODE)
        elif index == len(self.at.words) + 1:
            self.offered = cycle + latency.QUEUE_PASS

    def _start_cycle(self) -> int | None:
        free = self.load.free()
        if free is None or self.started == len(self.decoded):
            return None
        return max(free, self.decoded[self.started])

    def _start(self, cycle: int) -> None:
        at, count = self.at, self.at.words[self.started]
        words = np.arange(at.rows * count).reshape(at.rows, count)
        tile, part = divmod(self.started, at.parts)
        offset = sum(at.words[: tile * at.parts : at.parts]) * at.word_bytes
        offset += part * (at.stride // at.parts)
        transfer = Transfer(Target.ACT, 0, words, at.word_bytes, offset, at.stride)
        todo = list(dma.bursts(transfer, 0, at.beat_bytes))
        self.load.start(cycle, transfer, todo, port=None)  # no CALC holds it yet
        self.started += 1
