"""Cycles of SAVE, word by word from the port of ACT to the beats on the bus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign import latency
from codesign.reference.dma import Burst, Requests, WriteBurst, WriteChannel
from codesign.reference.memory import Transfer
from codesign.reference.timing import Calendar


@dataclass(frozen=True)
class _Plan:
    """The moves of a transfer's words into beats: one per word, or per beat of a wide word.

    ``word`` and ``beat`` of each move; ``pop``: it uses up the word, ``full``: it ends the beat.
    ``turn`` of each word: it ends a row, and other rows follow.
    """

    word: list[int]
    beat: list[int]
    pop: list[bool]
    full: list[bool]
    turn: list[bool]

    @classmethod
    def of(cls, transfer: Transfer, beat_bytes: int) -> _Plan:
        rows, words = transfer.words.shape
        size = transfer.word_bytes
        per, pieces = max(1, beat_bytes // size), max(1, size // beat_bytes)
        move = np.arange(words * pieces)
        beat = move // per
        beats = int(beat[-1]) + 1
        row = np.arange(rows)[:, None]
        turn = (np.arange(words) == words - 1) & (row < rows - 1)
        return cls(
            (row * words + move // pieces).ravel().tolist(),
            (row * beats + beat).ravel().tolist(),
            np.tile((move + 1) % pieces == 0, rows).tolist(),
            np.tile(np.append(np.diff(beat) > 0, True), rows).tolist(),
            turn.ravel().tolist(),
        )


class _Job:
    """A SAVE in execution: when its words were asked for, read and packed, its beats sent."""

    def __init__(self, start: int, transfer: Transfer, port: Calendar, beat_bytes: int) -> None:
        self.port = port
        self.plan = _Plan.of(transfer, beat_bytes)
        self.turn = start
        self.asked = start + latency.SAVE_WALK - 1
        self.granted: list[int] = []
        self.pops: list[int] = []
        self.moved: list[int] = []
        """Cycle of each move into a beat."""
        self.full: list[int] = []
        """From when on each beat is offered."""
        self.sent: list[int] = []
        self.bursts: list[WriteBurst] = []
        self.ended: list[int] = []
        """When each burst's last beat was sent."""


class Save:
    """SAVE: one instruction at a time, its bursts' addresses ahead of their data."""

    def __init__(self, beat_bytes: int, channel: WriteChannel) -> None:
        self._beat_bytes, self._channel = beat_bytes, channel
        self._requests = Requests()
        self._job: _Job | None = None
        self._free = 0
        self.waits_port = 0
        self.waits_dram = 0

    def free(self) -> int | None:
        """First cycle in which an instruction can start; None while one is in execution."""
        return self._free if self._job is None else None

    def start(self, cycle: int, transfer: Transfer, todo: list[Burst], port: Calendar) -> None:
        """Start an instruction whose words come through a port of ACT."""
        self._job = _Job(cycle, transfer, port, self._beat_bytes)
        self._requests.begin(cycle, todo)

    def next_cycle(self) -> int | None:
        """When ``step`` has something to do; None while there is nothing."""
        if self._job is None:
            return None
        found = (self._read_cycle(self._job), self.ask_cycle(), self._send_cycle(self._job))
        return min((cycle for cycle in found if cycle is not None), default=None)

    def ask_cycle(self) -> int | None:
        """When the next burst's address is accepted, the trace permitting."""
        offer, free = self._offer(), self._channel.free
        return None if offer is None or free is None else max(offer, free)

    def goes_first(self, cycle: int) -> bool:
        """Whether SAVE's burst is accepted in that cycle if the trace's could be, too."""
        offer, again = self._offer(), self._channel.last not in (None, self)
        return again and offer is not None and offer < cycle

    def _offer(self) -> int | None:
        job = self._job
        if job is None or self._requests.head is None:
            return None
        before = len(job.bursts) - latency.SAVE_LENGTHS
        if before < 0:
            return self._requests.offer
        return max(self._requests.offer, job.ended[before] + 1) if before < len(job.ended) else None

    def step(self, cycle: int) -> int | None:
        """Do what is due in that cycle; the end of the instruction if it is known now."""
        job = self._job
        if job is None:
            raise AssertionError("SAVE has nothing to do")
        if self._send_cycle(job) == cycle:
            return self._send(job)
        if self._read_cycle(job) == cycle:
            self._read(job)
        else:
            head = self._requests.head
            if head is None:
                raise AssertionError("SAVE has nothing to request")
            job.bursts.append(self._channel.request(cycle, head.beats, self))
            self._requests.accepted(cycle)
        return None

    # --- words -----------------------------------------------------------------------------
    def _wanted(self, job: _Job) -> int | None:
        """When the next word is asked for, CALC permitting; None without room for it."""
        number = len(job.granted)
        if number == len(job.plan.turn):
            return None
        room = number - (latency.SAVE_WORDS - 1)
        if room >= len(job.pops):
            return None
        step = job.asked
        if job.plan.turn[number]:
            step = max(step, job.turn + latency.ROW_WALK)
        return max(step + 1, job.pops[room] + 1 if room >= 0 else 0)

    def _asked(self, job: _Job, wanted: int) -> int:
        """Two requests wait for the port, at most."""
        return (
            max(wanted, job.granted[-2] + 1 - latency.SAVE_PORT) if len(job.granted) > 1 else wanted
        )

    def _grant(self, job: _Job, asked: int) -> int:
        """When the word's address is at the memories."""
        return job.port.first_free(
            max(asked + latency.SAVE_PORT, job.granted[-1] if job.granted else 0) + 1
        )

    def _read_cycle(self, job: _Job) -> int | None:
        """When it is known in which cycle the next word is read."""
        wanted = self._wanted(job)
        if wanted is None:
            return None
        return self._grant(job, self._asked(job, wanted)) - job.port.known_ahead + 1

    def _read(self, job: _Job) -> None:
        wanted = self._wanted(job) or 0
        asked = self._asked(job, wanted)
        if job.plan.turn[len(job.granted)]:
            job.turn = max(job.asked, job.turn + latency.ROW_WALK)
        self.waits_port += asked - wanted
        job.granted.append(self._grant(job, asked))
        job.asked = asked
        self._pack(job)

    # --- beats -----------------------------------------------------------------------------
    def _pack(self, job: _Job) -> None:
        """Move words into beats as far as they have been read, and the beats before sent."""
        plan = job.plan
        for move in range(len(job.moved), len(plan.word)):
            word, beat = plan.word[move], plan.beat[move]
            if word >= len(job.granted) or beat > len(job.sent):
                return
            cycle = job.granted[word] + latency.SAVE_READ
            if move:
                cycle = max(cycle, job.moved[-1] + 1)
            if beat:
                cycle = max(cycle, job.sent[beat - 1])
            job.moved.append(cycle)
            if plan.pop[move]:
                job.pops.append(cycle)
            if plan.full[move]:
                job.full.append(cycle + 1)

    def _offered(self, job: _Job) -> int | None:
        """From when on the next beat is offered to the bus."""
        beat, burst = len(job.sent), len(job.ended)
        if beat >= len(job.full) or burst >= len(job.bursts):
            return None
        return max(
            job.full[beat], job.bursts[burst].accepted + 1, job.sent[-1] + 1 if job.sent else 0
        )

    def _send_cycle(self, job: _Job) -> int | None:
        offered = self._offered(job)
        if offered is None or not self._channel.turn(job.bursts[len(job.ended)]):
            return None
        return self._channel.send_cycle(offered)

    def _send(self, job: _Job) -> int | None:
        offered = self._offered(job) or 0
        burst = job.bursts[len(job.ended)]
        cycle, answer = self._channel.send(burst, offered)
        self.waits_dram += cycle - offered
        job.sent.append(cycle)
        self._pack(job)
        if answer is None:
            return None
        job.ended.append(cycle)
        if len(job.sent) <= job.plan.beat[-1]:
            return None
        self._job, self._free = None, answer + latency.save_retire()
        return self._free
