"""Cycles of the AXI4 port: bursts, the channels that units share, and the DRAM behind them.

Distances are those of ``codesign.latency``; tests compare the outcome to simulation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codesign import latency
from codesign.reference.memory import Transfer
from codesign.reference.timing import Dram


@dataclass(frozen=True)
class Burst:
    """``beats`` beats of transfer row ``row`` from its beat ``first`` on."""

    row: int
    first: int
    beats: int


def cut(row: int, address: int, beats: int, beat_bytes: int, longest: int) -> Iterator[Burst]:
    """The bursts of ``beats`` beats from a DRAM address: each ends at a multiple of ``longest``."""
    done = 0
    while done < beats:
        room = longest - (address // beat_bytes + done) % longest
        count = min(beats - done, room)
        yield Burst(row, done, count)
        done += count


def bursts(transfer: Transfer, address: int, beat_bytes: int) -> Iterator[Burst]:
    """The bursts of a transfer whose buffer begins at a DRAM address."""
    beats = -(-transfer.row_bytes // beat_bytes)
    for row in range(len(transfer.words)):
        start = address + transfer.offset + row * transfer.stride
        yield from cut(row, start, beats, beat_bytes, latency.BURST_BEATS)


class Requests:
    """When a unit's bursts are requested: rows and bursts follow each other at fixed distances."""

    def __init__(self) -> None:
        self._todo: deque[Burst] = deque()
        self._rows_waiting = 0
        self._row_offer = 0
        self._row_done = True
        self._cut_idle = 0
        self._rows_idle = 0
        self.offer = 0
        """When the next burst is requested, room for it permitting."""

    def begin(self, cycle: int, todo: Iterable[Burst]) -> None:
        """Take a transfer in that cycle, one from ``free`` on."""
        more = list(todo)
        self._todo.extend(more)
        self._rows_waiting = sum(burst.first == 0 for burst in more)
        self._row_offer = cycle + latency.ROW_OFFER
        if self._row_done:
            self._enter_row()

    @property
    def free(self) -> int | None:
        """First cycle in which another transfer can be taken; None while it is not known."""
        return None if self._rows_waiting else self._rows_idle

    @property
    def head(self) -> Burst | None:
        """The next burst to request."""
        return self._todo[0] if self._todo else None

    def accepted(self, cycle: int) -> Burst:
        """The next burst's request has been accepted."""
        burst = self._todo.popleft()
        if self._todo and self._todo[0].first:
            self.offer = cycle + latency.BURST_OFFER
            return burst
        self._cut_idle = cycle + 1
        self._row_done = True
        if self._todo:
            self._enter_row()
        return burst

    def _enter_row(self) -> None:
        start = max(self._row_offer, self._cut_idle)
        self._row_done = False
        self._rows_waiting -= 1
        self._row_offer = start + latency.ROW_OFFER
        self._rows_idle = start + 1
        self.offer = start + latency.BURST_OFFER


class ReadChannel:
    """AR and R, which LOAD and FETCH share."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._ends: list[int] = []
        self.free = 0
        """First cycle in which another request can be accepted."""
        self.last: object = None
        """Who made the last request."""
        self.beats = 0

    def request(self, cycle: int, beats: int, source: object) -> int:
        """Accept a request, in a cycle from ``free`` on; the cycle of its first beat."""
        handshake = cycle + latency.REQUEST
        limit = self._dram.reads_outstanding
        if len(self._ends) >= limit:
            handshake = max(handshake, self._ends[-limit] + 1)
        first = handshake + self._dram.read_latency
        if self._ends:
            first = max(first, self._ends[-1] + 1)
        self.free, self.last = handshake + 1, source
        self._ends.append(first + beats - 1)
        self.beats += beats
        return first


@dataclass
class WriteBurst:
    """A write burst whose address has been accepted; ``left`` beats are to be sent."""

    number: int
    accepted: int
    left: int


class WriteChannel:
    """AW, W and B, which SAVE and the trace share. Data follow in the order of the addresses."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._bursts: list[WriteBurst] = []
        self._answers: list[int] = []
        self._sent = -1
        self._beats = [-1, -1]
        """Cycles of the last two beats on the bus: two more can wait for it."""
        self.last: object = None
        """Who made the last request."""
        self.beats = 0

    @property
    def free(self) -> int | None:
        """First cycle in which another address can be accepted; None if it is not known yet."""
        if not self._bursts:
            return 0
        handshake = self._handshake(self._bursts[-1])
        return None if handshake is None else handshake + 1

    def _handshake(self, burst: WriteBurst) -> int | None:
        """When the DRAM takes a burst's address; None if that waits for an answer to come."""
        offered = burst.accepted + latency.REQUEST
        before = burst.number - self._dram.writes_outstanding
        if before < 0:
            return offered
        return max(offered, self._answers[before] + 1) if before < len(self._answers) else None

    def request(self, cycle: int, beats: int, source: object) -> WriteBurst:
        """Accept a burst's address, in a cycle from ``free`` on."""
        self._bursts.append(WriteBurst(len(self._bursts), cycle, beats))
        self.last = source
        self.beats += beats
        return self._bursts[-1]

    def turn(self, burst: WriteBurst) -> bool:
        """Whether all data of the bursts before have been sent."""
        return burst.number == len(self._answers)

    def send_cycle(self, offered: int) -> int:
        """When a beat leaves its unit that is offered from that cycle on."""
        return max(offered, self._sent + 1, self._beats[0] + 1)

    def send(self, burst: WriteBurst, offered: int) -> tuple[int, int | None]:
        """Send a burst's next beat: when it leaves its unit, and of its last the response."""
        self._sent = self.send_cycle(offered)
        open_from = (self._handshake(burst) or 0) + 1
        beat = max(self._sent + 1, self._beats[1] + 1, open_from)
        self._beats = [self._beats[1], beat]
        burst.left -= 1
        if burst.left:
            return self._sent, None
        answer = beat + self._dram.write_latency
        if self._answers:
            answer = max(answer, self._answers[-1] + 1)
        self._answers.append(answer)
        return self._sent, answer
