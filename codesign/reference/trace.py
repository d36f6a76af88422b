"""Trace records: what they say, how they lie in DRAM, and how the machine writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codesign import latency
from codesign.isa import Unit
from codesign.reference.dma import WriteBurst, WriteChannel
from codesign.reference.memory import ByteArray
from codesign.registers import TRACE_RECORD_BYTES


@dataclass(frozen=True)
class TraceRecord:
    """When an instruction took its tokens and began, and when it completed and gave its own."""

    unit: Unit
    index: int
    start: int
    end: int


class Recorder:
    """Writes records one by one; one per unit is held until there is room in the queue.

    ``kept`` are the records that find room, in the order of their writing.
    """

    def __init__(self, beat_bytes: int, channel: WriteChannel) -> None:
        self._beats, self._channel = TRACE_RECORD_BYTES // beat_bytes, channel
        self._coming: list[TraceRecord] = []
        self._held: dict[Unit, TraceRecord] = {}
        self._queue: deque[tuple[int, TraceRecord]] = deque()
        self._cycle = 0
        """All before it has been looked at."""
        self._idle = 0
        self._offer: int | None = None
        self._burst: WriteBurst | None = None
        self._sent = 0
        self.kept: list[TraceRecord] = []
        self.dropped = 0

    def add(self, record: TraceRecord) -> None:
        """An instruction completes."""
        self._coming.append(record)
        self._coming.sort(key=lambda r: (r.end, r.unit))

    @property
    def idle(self) -> int:
        """Once ``next_cycle`` is None: from when on nothing is to be written."""
        return self._idle

    @property
    def beats(self) -> int:
        """Beats of the records that are kept."""
        return len(self.kept) * self._beats

    def next_cycle(self) -> int | None:
        """When ``step`` has something to do; None while there is nothing."""
        if self._offer is not None:
            return self.ask_cycle()
        if self._burst is not None:
            return self._send_cycle(self._burst)
        if self._queue:
            return max(self._idle, self._queue[0][0])
        if self._held:
            return max(self._idle, self._cycle + 1)
        first = latency.TRACE_HOLD + 1
        return max(self._idle, self._coming[0].end + first) if self._coming else None

    def ask_cycle(self) -> int | None:
        """When a record's address is accepted, SAVE permitting."""
        if self._offer is None or self._channel.free is None:
            return None
        return max(self._offer + latency.TRACE_CHOICE, self._channel.free)

    def step(self, cycle: int) -> None:
        """Take a record from the queue, request its burst or send a beat of it."""
        if self._offer is not None:
            self._burst = self._channel.request(cycle, self._beats, self)
            self._offer, self._sent = None, cycle
        elif self._burst is not None:
            self._sent, answer = self._channel.send(self._burst, self._sent + 1)
            if answer is not None:
                self._burst, self._idle = None, answer + latency.TRACE_COUNT
        else:
            self._catch(cycle)
            self.kept.append(self._queue.popleft()[1])
            self._offer = cycle + latency.TRACE_OFFER

    def _send_cycle(self, burst: WriteBurst) -> int | None:
        if not self._channel.turn(burst):
            return None
        return self._channel.send_cycle(self._sent + 1)

    def _catch(self, last: int) -> None:
        """Hold completed records and put them into the queue, up to cycle ``last``."""
        while self._cycle <= last:
            cycle = self._cycle
            moved = min(self._held, default=None) if self._room else None
            if moved is not None:
                self._queue.append((cycle + 1, self._held.pop(moved)))
            while self._coming and self._coming[0].end + latency.TRACE_HOLD <= cycle + 1:
                record = self._coming.pop(0)
                if record.unit in self._held:
                    self.dropped += 1
                else:
                    self._held[record.unit] = record
            self._cycle += 1
            if not (self._held and self._room):
                coming = self._coming[0].end if self._coming else last + 1
                self._cycle = min(max(self._cycle, coming), last + 1)

    @property
    def _room(self) -> bool:
        return len(self._queue) < latency.TRACE_DEPTH


def encode(records: Iterable[TraceRecord]) -> ByteArray:
    """Records as they lie in DRAM (``registers.TRACE_RECORD_BYTES``)."""
    words = [(r.start, r.end, r.index | int(r.unit) << 24, 0) for r in records]
    return np.array(words, "<u4").reshape(-1).view(np.uint8)
