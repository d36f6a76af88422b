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

REQUEST_GAP = 2
"""Cycles from one acceptance to the next at best."""


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


class WriteChannel:
    """AW, W and B, of SAVE."""

    def __init__(self, dram: Dram) -> None:
        self._dram = dram
        self._accepted = -REQUEST_GAP
        self._answers: list[int] = []
        self.beats = 0

    def request(self, cycle: int) -> tuple[int, int]:
        """Offer a burst's address from that cycle on: when it is accepted, and its handshake."""
        accepted = max(cycle, self._accepted + REQUEST_GAP)
        handshake = accepted + latency.REQUEST
        limit = self._dram.writes_outstanding
        if len(self._answers) >= limit:
            handshake = max(handshake, self._answers[-limit] + 1)
        self._accepted = handshake - latency.REQUEST
        return accepted, handshake

    def answer(self, last_beat: int, beats: int) -> int:
        """The cycle of the response to a burst whose last beat is taken in that cycle."""
        answer = last_beat + self._dram.write_latency
        if self._answers:
            answer = max(answer, self._answers[-1] + 1)
        self._answers.append(answer)
        self.beats += beats
        return answer
