"""When instructions and maps arrive over the bus, for many architectures at once."""

from __future__ import annotations

import numpy as np

from codesign import latency
from codesign.cost.archs import Archs
from codesign.cost.closed_form_maps import Place, ceil_div
from codesign.cost.layer_shape import IntArray, Number
from codesign.isa import INSTRUCTION_BYTES
from codesign.reference.timing import Dram


class Fetch:
    """FETCH hands instructions out at a steady pace, as far ahead as the queues allow.

    ``next``: cycle from which the next instruction is offered to its unit.
    """

    def __init__(self, archs: Archs, dram: Dram) -> None:
        beats = INSTRUCTION_BYTES // archs.beat_bytes
        handed = beats + 2
        burst = latency.FETCH_BURST_BEATS // beats
        there_and_back = (
            latency.CREDIT + latency.FETCH_CHOICE + latency.REQUEST + dram.read_latency
            + latency.FETCH_TAKE
        )  # fmt: skip
        self.period = np.maximum(burst * handed, there_and_back + beats) / burst
        """Cycles from one instruction to the next: a burst's room is free when the burst before
        the last has been used up."""
        begin = latency.fetch_request() + dram.read_latency + latency.fetch_offer()
        self._taken: list[tuple[IntArray, IntArray, IntArray]] = []
        self.next = (begin + beats - 1 + latency.FETCH_BEGIN + handed - 1).astype(np.float64)

    def take(self, count: IntArray, start: IntArray, end: IntArray) -> None:
        """A unit starts ``count`` instructions at equal distances in cycles [start, end)."""
        self._taken.append((count, start, end))
        room = np.full(len(start), latency.QUEUE_DEPTH + 2.0)
        accepted = np.zeros(len(start))
        for number, first, last in reversed(self._taken[-_HISTORY:]):
            share = room / np.maximum(number, 1)
            within = (share > 0) & (share <= 1)
            accepted = np.where(within, last - (last - first) * share, accepted)
            room = room - number
        self.next = np.maximum(self.next + count * self.period, accepted)


_HISTORY = 4
"""Layers, about, whose instructions the queue of a unit holds."""


def load_beats(archs: Archs, place: Place, lines: Number) -> IntArray:
    """Beats of a LOAD."""
    words = lines * place.pitch
    row = ceil_div(words * archs.act_word_bytes, archs.beat_bytes)
    return place.planes * place.phases * row


def save_cycles(archs: Archs, place: Place, dram: Dram) -> IntArray:
    """Cycles of the SAVE of a map, from its start to its end."""
    rows, words = place.planes * place.phases, place.lines * place.pitch
    pieces = np.maximum(1, archs.act_word_bytes // archs.beat_bytes)
    answered = dram.write_latency + latency.save_retire()
    word = latency.SAVE_WALK + latency.SAVE_PORT + latency.SAVE_READ + 3
    stream = (rows - 1) * np.maximum(latency.ROW_WALK, words * pieces) + words * pieces
    by_row = latency.burst_offer() + latency.ROW_OFFER * (rows - 1) + 2 + pieces - 1
    return np.asarray(np.maximum(word + stream - 1, by_row) + answered)


def save_beats(archs: Archs, place: Place) -> IntArray:
    """Beats of the SAVE of a map."""
    row = ceil_div(place.lines * place.pitch * archs.act_word_bytes, archs.beat_bytes)
    return place.planes * place.phases * row
