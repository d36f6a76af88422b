"""Cycles of LOAD, SAVE and FETCH between bus and memories, burst by burst.

Distances are those of ``codesign.latency``; tests compare the outcome to simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codesign import latency
from codesign.reference.dma import Burst, ReadChannel, Requests, WriteChannel, cut
from codesign.reference.memory import IntArray, Transfer
from codesign.reference.timing import Calendar

_PIECE = 8
"""Beats of LOAD that are taken as one event."""
_ARRIVE_FETCH = 2
"""Likewise for FETCH."""
_WALK = 3
"""From a LOAD's turn, or the last word before it, to the earliest cycle of its first word."""
_SHORT_ROW = 3
"""Cycles that a walk over words spends at least on each row."""
_GRANT = 3
"""From the start of a SAVE to its first read of ACT."""
_SAVE_BEAT = 8
"""From the read of a beat's last word to the beat on the bus."""
_JUDGE = 2
"""From the last beat of an instruction to its verdict."""
_SENT = 2
"""From a burst's last beat in SAVE to the next address that it makes room for."""


def ascending(wanted: IntArray, earliest: int) -> IntArray:
    """Cycles of events in order, at most one a cycle, none before ``wanted`` or ``earliest``."""
    order = np.arange(len(wanted))
    slack: IntArray = np.maximum.accumulate(np.maximum(wanted, earliest) - order)
    return slack + order


@dataclass
class LoadJob:
    """A LOAD in execution."""

    transfer: Transfer
    start: int
    beats_left: int
    port: Calendar | None
    taken: int | None = None
    end: int = 0


class Load:
    """LOAD: requests bursts up to LOAD_JOBS instructions ahead of the one whose words it writes."""

    def __init__(self, beat_bytes: int, channel: ReadChannel) -> None:
        self._beat_bytes, self._channel = beat_bytes, channel
        self._requests = Requests()
        self._jobs: list[LoadJob] = []
        self._writing = 0
        self._arriving: deque[tuple[int, Burst]] = deque()
        self._asked = 0
        self._pops: list[int] = []
        self._written = -1
        self.waits_port = 0
        self.supplied = 0
        """Cycles in which read data waited or was written."""

    def free(self) -> int | None:
        """First cycle in which an instruction can start; None if it is not known yet."""
        cycle = self._requests.free
        if cycle is None or len(self._jobs) < latency.LOAD_JOBS:
            return cycle
        taken = self._jobs[-latency.LOAD_JOBS].taken
        return None if taken is None else max(cycle, taken + 1)

    def start(
        self, cycle: int, transfer: Transfer, todo: list[Burst], port: Calendar | None
    ) -> None:
        """Start an instruction whose words go through a port of ACT, or into another memory."""
        self._jobs.append(LoadJob(transfer, cycle, sum(burst.beats for burst in todo), port))
        self._requests.begin(cycle, todo)

    def next_cycle(self) -> int | None:
        """When ``step`` has something to do; None while there is nothing."""
        cycles = [c for c in (self._ask_cycle(), self._take_cycle()) if c is not None]
        return min(cycles, default=None)

    def _ask_cycle(self) -> int | None:
        if self._requests.head is None:
            return None
        needed = self._asked + latency.BURST_BEATS - latency.LOAD_FIFO_BEATS
        if needed > len(self._pops):
            return None
        freed = self._pops[needed - 1] + latency.LOAD_CREDIT if needed > 0 else 0
        return max(self._requests.offer, freed, self._channel.free)

    def _take_cycle(self) -> int | None:
        return max(self._arriving[0][0], self._written) if self._arriving else None

    def step(self) -> LoadJob | None:
        """Request a burst or take one in; the instruction that this completes."""
        ask, take = self._ask_cycle(), self._take_cycle()
        head = self._requests.head
        if ask is not None and head is not None and (take is None or ask <= take):
            first = self._channel.request(ask, head.beats, self)
            self._arriving.extend(_pieces(first, self._requests.accepted(ask)))
            self._asked += head.beats
            return None
        first, burst = self._arriving.popleft()
        job, before = self._jobs[self._writing], self._written
        if job.taken is None:
            job.taken = max(job.start, self._written) + 1
        self._take(job, burst, first + latency.load_take() + np.arange(burst.beats))
        self.supplied += self._written - max(first + latency.load_take() - 1, before)
        job.beats_left -= burst.beats
        if job.beats_left:
            return None
        self._writing += 1
        job.end = self._written + 1
        return job

    def _take(self, job: LoadJob, burst: Burst, beats: IntArray) -> None:
        """Write the words of a burst whose beats can be taken in these cycles."""
        size, wide = job.transfer.word_bytes, self._beat_bytes
        earliest = max((job.taken or 0) + _WALK - 1, self._written)
        if size < wide:  # words share beats
            first, last = burst.first * wide // size, (burst.first + burst.beats) * wide // size
            words = np.arange(first, min(last, job.transfer.words.shape[1]))
            beat = words * size // wide - burst.first
            taken = ascending(beats[beat], earliest)
            complete = np.ones(len(words), np.bool_)
            pops = np.append(np.flatnonzero(np.diff(beat)), len(words) - 1)
        else:
            taken = ascending(beats, earliest)
            complete = (burst.first + 1 + np.arange(burst.beats)) % (size // wide) == 0
            pops = np.arange(burst.beats)
        if burst.first == 0 and job.transfer.words.shape[1] < _SHORT_ROW:
            taken += max(0, self._written + _SHORT_ROW - 1 - int(taken[-1])) if burst.row else 0
        self._pops += [int(cycle) for cycle in taken[pops]]
        wanted = taken[complete] + 1
        if len(wanted):
            written = wanted if job.port is None else job.port.pass_through(wanted)
            self.waits_port += int(written[-1] - wanted[-1])
            self._written = int(written[-1])


def _pieces(first: int, burst: Burst) -> Iterator[tuple[int, Burst]]:
    """Short stretches of a burst, with the cycles of their first beats: CALC may come between."""
    for done in range(0, burst.beats, _PIECE):
        beats = min(_PIECE, burst.beats - done)
        yield first + done, Burst(burst.row, burst.first + done, beats)


class Save:
    """SAVE: one instruction at a time, its bursts' addresses ahead of their data."""

    def __init__(self, beat_bytes: int, channel: WriteChannel) -> None:
        self._beat_bytes, self._channel = beat_bytes, channel
        self._requests = Requests()
        self._read = 0
        self._last_beats: list[int] = [-1]
        self._transfer: Transfer | None = None
        self._port: Calendar | None = None
        self._free = 0
        self.waits_port = 0

    def free(self) -> int | None:
        """First cycle in which an instruction can start; None while one is in execution."""
        return self._free if self._transfer is None else None

    def start(self, cycle: int, transfer: Transfer, todo: list[Burst], port: Calendar) -> None:
        """Start an instruction whose words come through a port of ACT."""
        self._transfer, self._port = transfer, port
        self._requests.begin(cycle, todo)
        self._read = cycle + _GRANT

    def next_cycle(self) -> int | None:
        """When ``step`` has something to do; None while there is nothing."""
        return None if self._transfer is None else max(self._read, self._requests.offer)

    def step(self) -> int | None:
        """Send a burst; the end of the instruction if it was the last."""
        burst, transfer, port = self._requests.head, self._transfer, self._port
        if burst is None or transfer is None or port is None:
            raise AssertionError("SAVE has nothing to do")
        offer = self._requests.offer
        if len(self._last_beats) > latency.SAVE_LENGTHS:
            offer = max(offer, self._last_beats[-latency.SAVE_LENGTHS] + _SENT - 1)
        accepted, handshake = self._channel.request(offer)
        self._requests.accepted(accepted)
        ready = self._read_words(burst, transfer, port) + _SAVE_BEAT
        beats = ascending(ready, max(handshake, self._last_beats[-1]) + 1)
        self._last_beats.append(int(beats[-1]))
        answer = self._channel.answer(int(beats[-1]), burst.beats)
        if self._requests.head is not None:
            return None
        self._transfer, self._free = None, answer + latency.save_retire()
        return self._free

    def _read_words(self, burst: Burst, transfer: Transfer, port: Calendar) -> IntArray:
        """Cycles in which the last words of the burst's beats are read."""
        size, wide = transfer.word_bytes, self._beat_bytes
        row = transfer.row_bytes
        beats = burst.first + np.arange(burst.beats)
        last = (np.minimum((beats + 1) * wide, row) - 1) // size
        first = -(-burst.first * wide // size)
        count = int(last[-1]) + 1 - first
        if not count:  # the rest of a word that the burst before began
            return np.full(burst.beats, self._read - 1)
        wanted = self._read + np.arange(count)
        granted = port.pass_through(wanted)
        self.waits_port += int(granted[-1] - wanted[-1])
        self._read = int(granted[-1]) + 1
        if transfer.words.shape[1] < _SHORT_ROW:
            self._read += _SHORT_ROW - transfer.words.shape[1]
        cycles: IntArray = granted[np.maximum(last - first, 0)]
        return cycles


class Fetch:
    """FETCH: reads instructions ahead and hands them out, one after another.

    It starts in cycle ``start`` with ``count`` instructions of ``beats`` beats at a DRAM address.
    """

    def __init__(
        self,
        start: int,
        count: int,
        beats: int,
        address: int,
        beat_bytes: int,
        channel: ReadChannel,
    ) -> None:
        self._beats, self._channel = beats, channel
        self._requests = Requests()
        self._requests.begin(
            start, cut(0, address, count * beats, beat_bytes, latency.FETCH_BURST_BEATS)
        )
        self._here: list[int] = []
        self._pops: list[int] = []
        self._resume = start + 1
        self.next_index = 0
        """The instruction that is handed out next."""

    @property
    def beats(self) -> int:
        """Beats requested so far."""
        return len(self._here)

    def ask_cycle(self) -> int | None:
        """When the next burst is requested; None while there is no room or nothing left."""
        if self._requests.head is None:
            return None
        needed = len(self._here) + latency.FETCH_BURST_BEATS - latency.FETCH_FIFO_BEATS
        if needed > len(self._pops):
            return None
        freed = self._pops[needed - 1] + latency.CREDIT if needed > 0 else 0
        return max(
            self._requests.offer + latency.FETCH_CHOICE,
            freed + latency.FETCH_CHOICE,
            self._channel.free,
        )

    def ask(self) -> None:
        """Request a burst of instructions."""
        cycle, head = self.ask_cycle(), self._requests.head
        if cycle is None or head is None:
            raise AssertionError("FETCH has nothing to request")
        first = self._channel.request(cycle, head.beats, self)
        self._requests.accepted(cycle)
        self._here += range(first + _ARRIVE_FETCH, first + _ARRIVE_FETCH + head.beats)
        self._collect()

    def _collect(self) -> None:
        """Take the beats of the next instruction that have been requested."""
        last = min(len(self._here), (self.next_index + 1) * self._beats)
        for beat in range(len(self._pops), last):
            before = self._pops[-1] + 1 if self._pops else 0
            self._pops.append(max(self._here[beat], self._resume, before))

    def judge_cycle(self) -> int | None:
        """When the next instruction is ready to be handed out; None if it is not requested yet."""
        last = (self.next_index + 1) * self._beats
        return self._pops[last - 1] + _JUDGE if len(self._pops) >= last else None

    def hand_out(self, cycle: int) -> int:
        """Hand out the next instruction; its index. FETCH goes on in the cycle after."""
        self.next_index += 1
        self._resume = cycle + 1
        self._collect()
        return self.next_index - 1
