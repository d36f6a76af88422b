"""Cycles of the units that move data over the AXI4 port: bursts, latencies, shared channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from codesign.reference.memory import IntArray, Transfer
from codesign.reference.timing import Calendar, Dram

BOUNDARY = 4096
"""No AXI4 burst crosses a multiple of it (AMBA AXI4, IHI 0022, A3.4.1)."""
BURST_BEATS = 64
LOAD_ROOM = 256
"""Beats that LOAD may have asked for and not yet written."""
START = 3
"""From a unit's start to its first request."""
WRITE = 2
"""From a read beat on the bus to its word at a memory's write port."""
READ = 6
"""From a word's read request to its bytes on the bus."""
FINISH = 2
"""From the last word or response to the end of the instruction."""
FETCH_START = 3
"""From the doorbell to FETCH's first request."""
FETCH_BURST = 8
"""Instructions that FETCH asks for at once."""
FETCH_ROOM = 16
"""Instructions that FETCH may have asked for and not yet handed out."""
DECODE = 2
"""From an instruction's last beat to its unit's queue."""
QUEUE = 8
"""Instructions that wait in a unit's queue."""
DONE = 2
"""From the end of the last instruction to done."""


class ReadChannel:
    """AR and R: what LOAD and FETCH share."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._asked = -1
        self._ends: list[int] = []
        self.beats = 0

    def burst(self, cycle: int, beats: int) -> int:
        """Ask for a burst in that cycle or the first possible one; the cycle of its first beat."""
        cycle = max(cycle, self._asked + 1)
        limit = self._dram.reads_outstanding
        if len(self._ends) >= limit:
            cycle = max(cycle, self._ends[-limit] + 1)
        self._asked = cycle
        first = cycle + self._dram.read_latency
        if self._ends:
            first = max(first, self._ends[-1] + 1)
        self._ends.append(first + beats - 1)
        self.beats += beats
        return first


class WriteChannel:
    """AW, W and B: SAVE's own."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._last_beat = -1
        self._answers: list[int] = []
        self.beats = 0

    def burst(self, ready: IntArray) -> int:
        """Send a burst whose beats are ready in these cycles; the cycle of its response."""
        limit = self._dram.writes_outstanding
        first = max(int(ready[0]), self._last_beat + 1)
        if len(self._answers) >= limit:
            first = max(first, self._answers[-limit] + 1)
        order = np.arange(len(ready))
        self._last_beat = int(np.max(np.maximum(ready, first) + len(ready) - 1 - order))
        self._answers.append(self._last_beat + self._dram.write_latency)
        self.beats += len(ready)
        return self._answers[-1]


@dataclass(frozen=True)
class Burst:
    """``beats`` beats of transfer row ``row`` from its beat ``first`` on."""

    row: int
    first: int
    beats: int


def bursts(transfer: Transfer, address: int, beat_bytes: int) -> Iterator[Burst]:
    """The bursts of a transfer whose buffer begins at a DRAM address."""
    beats = -(-transfer.row_bytes // beat_bytes)
    for row in range(len(transfer.words)):
        start = address + transfer.offset + row * transfer.stride
        done = 0
        while done < beats:
            room = (BOUNDARY - (start + done * beat_bytes) % BOUNDARY) // beat_bytes
            count = min(beats - done, BURST_BEATS, room)
            yield Burst(row, done, count)
            done += count


@dataclass
class Load:
    """A LOAD in execution. ``step`` asks for a burst or takes one in, whichever comes first."""

    transfer: Transfer
    beat_bytes: int
    port: Calendar | None
    todo: list[Burst]
    start: int
    arriving: list[tuple[int, Burst]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    asked: int = 0
    last_write: int = 0
    waits_dram: int = 0
    waits_port: int = 0

    def next_cycle(self) -> int:
        """When ``step`` has something to do."""
        ask = self._ask_cycle()
        take = self.arriving[0][0] if self.arriving else None
        return min(c for c in (ask, take) if c is not None)

    def _ask_cycle(self) -> int | None:
        if not self.todo:
            return None
        needed = self.asked + self.todo[0].beats - LOAD_ROOM
        earliest = self.start + START
        if needed <= 0:
            return earliest
        return max(earliest, self.taken[needed - 1]) if needed <= len(self.taken) else None

    def step(self, channel: ReadChannel) -> int | None:
        """Do the next thing; the end of the instruction when all is done."""
        ask, now = self._ask_cycle(), self.next_cycle()
        if ask == now:
            burst = self.todo.pop(0)
            self.asked += burst.beats
            self.arriving.append((channel.burst(now, burst.beats), burst))
            return None
        first, burst = self.arriving.pop(0)
        self._take(first + np.arange(burst.beats) + WRITE, burst)
        return None if self.todo or self.arriving else self.last_write + FINISH

    def _take(self, beats: IntArray, burst: Burst) -> None:
        size = self.transfer.word_bytes
        low, high = burst.first * self.beat_bytes, (burst.first + burst.beats) * self.beat_bytes
        words = np.arange(low // size, min(high, self.transfer.row_bytes) // size)
        if not len(words):
            self.taken += [int(c) for c in beats]
            return
        source = ((words + 1) * size - 1) // self.beat_bytes - burst.first
        wanted = np.maximum(beats[source], self.last_write + 1 + np.arange(len(words)))
        written = wanted if self.port is None else self.port.pass_through(wanted)
        self.waits_port += int(written[-1] - wanted[-1])
        self.last_write = int(written[-1])
        late = np.full(burst.beats, self.last_write)
        np.minimum.at(late, source, written)
        self.taken += [int(c) for c in np.maximum(beats, np.minimum(late, self.last_write))]


@dataclass
class Save:
    """A SAVE in execution; ``step`` sends one burst."""

    transfer: Transfer
    beat_bytes: int
    port: Calendar
    todo: list[Burst]
    start: int
    read: int = field(init=False)
    waits_port: int = 0

    def __post_init__(self) -> None:
        self.read = self.start + START

    def next_cycle(self) -> int:
        """When ``step`` has something to do."""
        return self.read

    def step(self, channel: WriteChannel) -> int | None:
        """Read the next burst's words and send them; the end of the instruction after the last."""
        burst, size = self.todo.pop(0), self.transfer.word_bytes
        low, high = burst.first * self.beat_bytes, (burst.first + burst.beats) * self.beat_bytes
        last = min(high, self.transfer.row_bytes)
        words = np.arange(-(-low // size) if low else 0, -(-last // size))
        if len(words):
            wanted = self.read + np.arange(len(words))
            granted = self.port.pass_through(wanted)
            self.waits_port += int(granted[-1] - wanted[-1])
            self.read = int(granted[-1]) + 1
        else:
            granted = np.array([self.read])
        beats = burst.first + np.arange(burst.beats)
        needed = np.minimum((beats + 1) * self.beat_bytes, last) - 1
        source = np.clip(needed // size - (words[0] if len(words) else 0), 0, len(granted) - 1)
        response = channel.burst(granted[source] + READ)
        return None if self.todo else response + FINISH


class Fetch:
    """FETCH: reads instructions ahead in bursts and hands them out in order."""

    def __init__(self, count: int, beats: int) -> None:
        self._count, self._beats = count, beats
        self._asked = 0
        self._here: list[int] = []
        self._dispatched: list[int] = []

    @property
    def beats(self) -> int:
        """Beats asked for so far."""
        return self._asked * self._beats

    @property
    def next_index(self) -> int:
        """The instruction that is handed out next."""
        return len(self._dispatched)

    def ask_cycle(self) -> int | None:
        """When the next burst is asked for; None while there is no room or nothing left."""
        if self._asked >= self._count:
            return None
        needed = min(self._asked + FETCH_BURST, self._count) - FETCH_ROOM
        if needed > len(self._dispatched):
            return None
        return FETCH_START if needed <= 0 else self._dispatched[needed - 1] + 1

    def ask(self, cycle: int, channel: ReadChannel) -> None:
        """Ask for a burst of instructions."""
        count = min(FETCH_BURST, self._count - self._asked)
        first = channel.burst(cycle, count * self._beats)
        self._here += [first + (n + 1) * self._beats - 1 for n in range(count)]
        self._asked += count

    def dispatch_cycle(self) -> int | None:
        """When the next instruction could be handed out; None if it was not asked for yet."""
        index = self.next_index
        if index >= len(self._here):
            return None
        here = self._here[index] + DECODE
        return max(here, self._dispatched[-1] + 1) if self._dispatched else here

    def dispatch(self, cycle: int) -> int:
        """Hand out the next instruction; its index."""
        self._dispatched.append(cycle)
        return len(self._dispatched) - 1
