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
        self.next = (begin + beats - 1 + latency.FETCH_BEGIN + handed - 1).astype(np.float64)

    def take(self, count: Number, start: IntArray, end: IntArray) -> None:
        """A unit starts ``count`` instructions at equal distances in cycles [start, end)."""
        ahead = latency.QUEUE_DEPTH + 1
        share = np.minimum(1.0, ahead / np.maximum(count, 1))
        accepted = end - (end - start) * share
        self.next = np.maximum(self.next + count * self.period, accepted)


def load_stream(archs: Archs, place: Place, lines: IntArray) -> IntArray:
    """Cycles in which a LOAD of so many lines of a map writes, once its data come: a beat each, or
    a word where several share a beat."""
    words = lines * place.pitch
    rows = place.planes * place.phases
    beats = ceil_div(words * archs.act_word_bytes, archs.beat_bytes)
    longest = np.maximum(np.maximum(words, beats), latency.ROW_OFFER)
    return np.asarray(rows * longest * (lines > 0))


def load_lead(dram: Dram) -> int:
    """From the start of a LOAD to the cycle before its first word is taken."""
    return latency.load_request() + dram.read_latency + latency.load_take() - 1


LOAD_TOKEN = 3
"""From the cycle that takes a LOAD's last word to the start of a CALC that waits for it."""


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
