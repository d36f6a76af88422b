"""Cycles of LOAD and FETCH between bus and memories, burst by burst.

Distances are those of ``codesign.latency``; tests compare the outcome to simulation.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codesign import latency
from codesign.reference.dma import Burst, ReadChannel, Requests, cut
from codesign.reference.memory import IntArray, Transfer
from codesign.reference.timing import Calendar

BoolArray = npt.NDArray[np.bool_]


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


class _Unit(NamedTuple):
    """A word, or a beat's share of a wide one, on its way into ACT.

    ``come``: when its beat can be taken. ``complete``: the word is. ``pop``: its beat is used up.
    ``turns``: it begins the last word of a row, and other rows follow.
    """

    come: int
    complete: bool
    pop: bool
    turns: bool


class Load:
    """LOAD: requests bursts up to LOAD_JOBS instructions ahead of the one whose words it writes."""

    def __init__(self, beat_bytes: int, channel: ReadChannel) -> None:
        self._beat_bytes, self._channel = beat_bytes, channel
        self._requests = Requests()
        self._jobs: list[LoadJob] = []
        self._writing = 0
        self._arriving: deque[tuple[int, Burst]] = deque()
        self._units: deque[_Unit] = deque()
        self._retry = 0
        self._in_register = False
        self._asked = 0
        self._pops: list[int] = []
        self._turn = self._fired = self._written = -1
        self._supplied_to = 0
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

    def goes_first(self, cycle: int) -> bool:
        """Whether LOAD's burst is accepted in that cycle if FETCH's could be, too.

        The arbiter chooses a cycle ahead: it prefers FETCH, but not twice while LOAD offers one.
        """
        offer, again = self._offer(), self._channel.last not in (None, self)
        return again and offer is not None and offer < cycle

    def _offer(self) -> int | None:
        """When the next burst is offered: it is cut, and there is room for it."""
        if self._requests.head is None:
            return None
        needed = self._asked + latency.BURST_BEATS - latency.LOAD_FIFO_BEATS
        if needed > len(self._pops):
            return None
        freed = self._pops[needed - 1] + latency.LOAD_CREDIT if needed > 0 else 0
        return max(self._requests.offer, freed)

    def _ask_cycle(self) -> int | None:
        offer = self._offer()
        return None if offer is None else max(offer, self._channel.free)

    def _take_cycle(self) -> int | None:
        if self._units:
            return self._retry
        return max(self._arriving[0][0], self._written) if self._arriving else None

    def step(self, cycle: int, quiet: int = 0) -> LoadJob | None:
        """Request a burst or take one in; the instruction that this completes.

        No CALC starts before cycle ``quiet``, this one at least.
        """
        ask, take = self._ask_cycle(), self._take_cycle()
        head = self._requests.head
        if ask is not None and head is not None and (take is None or ask <= take):
            first = self._channel.request(ask, head.beats, self)
            self._arriving.append((first, self._requests.accepted(ask)))
            self._asked += head.beats
            return None
        job = self._jobs[self._writing]
        if not self._units:
            self._take_in(job, *self._arriving.popleft())
        if job.port is not None:
            self._write(job.port, max(cycle, quiet))
        if self._units or job.beats_left:
            return None
        self._writing += 1
        job.end = self._written + 1
        return job

    def _take_in(self, job: LoadJob, first: int, burst: Burst) -> None:
        """A burst whose first beat is on the bus in that cycle: its words are to be written."""
        if job.taken is None:
            job.taken = self._turn = max(job.start, self._written) + 1
            self._fired = job.taken + latency.LOAD_WALK - 1
        job.beats_left -= burst.beats
        come = first + latency.load_take() + np.arange(burst.beats)
        size, wide = job.transfer.word_bytes, self._beat_bytes
        rows, words = job.transfer.words.shape
        per, lanes = max(1, wide // size), max(1, size // wide)
        numbers = np.arange(
            burst.first * per, min((burst.first + burst.beats) * per, words * lanes)
        )
        beat = numbers // per - burst.first
        complete = (numbers + 1) % lanes == 0
        pop = np.append(np.diff(beat) > 0, True)
        come, last = come[beat], (words - 1) * lanes - burst.first * per
        turns = 0 <= last < len(numbers) and burst.row < rows - 1
        if job.port is None:
            self._write_freely(come, complete, pop, last if turns else None)
        else:
            turn = [turns and n == last for n in range(len(numbers))]
            self._units.extend(map(_Unit, come.tolist(), complete.tolist(), pop.tolist(), turn))

    def _row_turns(self, come: int) -> int:
        """When the first share of a row's last word is taken: the next row must be known."""
        self._turn = max(self._fired, self._turn + latency.ROW_WALK)
        return max(come, self._turn + 1)

    def _write_freely(
        self, come: IntArray, complete: BoolArray, pop: BoolArray, turn: int | None
    ) -> None:
        """Write a burst's words into a memory whose port nobody else uses."""
        fired = ascending(come[:turn], self._fired + 1)
        if turn is not None:
            self._fired = int(fired[-1]) if turn else self._fired
            earliest = self._row_turns(int(come[turn]))
            rest = ascending(come[turn:], max(earliest, self._fired + 1))
            fired = np.append(fired, rest)
        self._fired = int(fired[-1])
        self._pops += fired[pop].tolist()
        after = fired + 1 + complete
        begin = np.maximum(come, np.append(self._supplied_to, after[:-1]))
        self.supplied += int((after - begin).sum())
        self._supplied_to = int(after[-1])
        if complete.any():
            self._written = int(fired[complete][-1]) + 1

    def _write(self, port: Calendar, quiet: int) -> None:
        """Write words into ACT as far as CALC's use of the port is known."""
        while self._units:
            unit = self._units[0]
            if not self._in_register:
                want = self._row_turns(unit.come) if unit.turns else unit.come
                fired = max(want, self._fired + 1, self._written)
                self.supplied += fired + 1 - max(unit.come, self._supplied_to)
                self._fired, self._supplied_to = fired, fired + 1
                if unit.pop:
                    self._pops.append(fired)
            if unit.complete:
                at_port = port.first_free(self._fired + 1 + latency.LOAD_PORT)
                self._in_register = at_port >= quiet + port.known_ahead
                if self._in_register:
                    self._retry = at_port - port.known_ahead + 1
                    return
                written = at_port - latency.LOAD_PORT
                self.waits_port += written - self._fired - 1
                self.supplied += written - self._fired
                self._written, self._supplied_to = written, written + 1
            self._units.popleft()


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
        self._here += range(first + latency.FETCH_TAKE, first + latency.FETCH_TAKE + head.beats)
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
        return self._pops[last - 1] + latency.FETCH_JUDGE if len(self._pops) >= last else None

    def hand_out(self, cycle: int) -> int:
        """Hand out the next instruction; its index. FETCH goes on in the cycle after."""
        self.next_index += 1
        self._resume = cycle + 1
        self._collect()
        return self.next_index - 1
