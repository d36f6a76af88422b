"""When the lines of the first map are there, for many architectures at once.

The first two tiles are loaded before CALC begins: ``first_load`` tells when they are there, once
for all architectures whose LOADs are alike. Those that follow are spread among the CALCs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign import latency
from codesign.compiler.tile import DRAM_ALIGNMENT
from codesign.cost.archs import Archs
from codesign.cost.closed_form_maps import Place, ceil_div
from codesign.cost.closed_form_tiles import Tiles, alike
from codesign.cost.first_load import FirstLoads, ready
from codesign.cost.layer_shape import IntArray
from codesign.isa import INSTRUCTION_BYTES
from codesign.reference.timing import Dram

TOKEN = 3
"""From the cycle that takes a LOAD's last word to the start of a CALC that waits for it."""
_FIRST_TILES = 2


@dataclass(frozen=True, eq=False)
class First:
    """``ready``: from when on CALCs of the first tiles can start, [2, A] (of a single tile twice);
    ``offered``: when the instruction behind their LOADs is, [A]."""

    ready: IntArray
    offered: IntArray


def first_tiles(
    archs: Archs, place: Place, cut: Tiles, setup: int, ahead: IntArray, count: IntArray, dram: Dram
) -> First:
    """The first tiles' LOADs.

    Parameters
    ----------
    setup:
        Instructions of part ``setup``.
    ahead, count:
        Instructions that FETCH hands out before the first CALC starts, and reads: [A].
    """
    lines = cut.lines[:_FIRST_TILES]
    second = lines[1] if len(lines) > 1 else np.zeros_like(lines[0])
    skewed = place.skew > 0
    rows = np.broadcast_to(place.planes * place.phases, len(archs))
    columns = (
        lines[0], second, np.broadcast_to(place.pitch, len(archs)), rows, archs.in_channels,
        archs.beat_bytes, ahead, count - ahead, skewed.astype(np.int64),
    )  # fmt: skip
    some, inverse = alike(columns)
    found = np.zeros((3, len(some)), np.int64)
    for number, row in enumerate(some):
        at = [int(column[row]) for column in columns]
        found[:, number] = _first(place.lines, setup, dram, *at)
    return First(found[:2, inverse], found[2, inverse])


def _first(
    lines: int, setup: int, dram: Dram, first: int, second: int, pitch: int, rows: int,
    word_bytes: int, beat_bytes: int, ahead: int, more: int, skewed: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Of one architecture: when two tiles' lines are there, and the next instruction is offered."""
    loads = 2 if skewed else 1  # phase planes of even columns, then of odd ones
    words = tuple(tile * pitch for tile in (first, second) if tile for _ in range(loads))
    stride = -(-lines * pitch * word_bytes // DRAM_ALIGNMENT) * DRAM_ALIGNMENT
    at, offered = ready(
        FirstLoads(
            words, rows // loads, loads * stride, loads, word_bytes, beat_bytes, setup, ahead,
            ahead + more, dram,
        )
    )  # fmt: skip
    return at[loads - 1], at[-1], offered


def row_cycles(archs: Archs, words: IntArray, dram: Dram) -> IntArray:
    """Cycles of LOAD's stream for a row of ACT words: a beat each, or a word where several share a
    beat; and no more bursts on their way than the DRAM takes."""
    return np.asarray(np.maximum(words, _bus_cycles(archs, words, dram)))


def _bus_cycles(archs: Archs, words: IntArray, dram: Dram) -> IntArray:
    """Cycles that the bus is busy with a row."""
    beats = ceil_div(words * archs.act_word_bytes, archs.beat_bytes)
    bursts = np.maximum(1, ceil_div(beats, latency.BURST_BEATS))
    answer = latency.REQUEST + dram.read_latency + np.minimum(beats, latency.BURST_BEATS) - 1
    least = np.maximum(latency.ROW_OFFER, ceil_div(answer, dram.reads_outstanding)) * bursts
    return np.asarray(np.maximum(beats, least) * (words > 0))


def tile_cycles(
    archs: Archs, place: Place, words: IntArray, instructions: IntArray, dram: Dram
) -> IntArray:
    """Cycles from the last word of a tile to that of the next one, rows of ``words``.

    Whichever takes longer: the words, where each LOAD's first one comes a walk behind the last of
    the LOAD before; or the bus, over which ``instructions`` come as well.
    """
    rows = place.planes * place.phases
    walks = np.where(place.skew > 0, 2, 1) * (1 + latency.LOAD_WALK) * (words > 0)
    bus = _bus_cycles(archs, words, dram) * rows + fetched(archs, instructions)
    return np.asarray(np.maximum(words * rows + walks, bus))


def lead(dram: Dram) -> int:
    """From the offer of a LOAD to the start of a CALC that waits for it, less its stream."""
    first = latency.DECODE + latency.load_request() + dram.read_latency + latency.load_take()
    return first - 1 + TOKEN


def fetched(archs: Archs, instructions: IntArray) -> IntArray:
    """Beats of instructions."""
    return instructions * INSTRUCTION_BYTES // archs.beat_bytes
