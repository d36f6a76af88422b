"""Cycles of networks that do not fit on the chip as a whole, for many architectures at once.

An approximation: each layer is taken alone, its maps and weights come over the bus once, and the
longest of computing, reading and writing counts. The compiler also keeps maps of some layers on
chip, and reads lines around strips more than once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.arch import PARAM_RECORD_BITS
from codesign.cost.closed_form_calc import Calcs, part_taps
from codesign.cost.closed_form_maps import Places, ceil_div
from codesign.cost.cycles import LOAD_ROW, load_latency
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape
from codesign.isa import Mode


@dataclass(frozen=True, eq=False)
class Streamed:
    """A layer whose maps lie in DRAM, all samples: cycles, and bytes read and written, [A]."""

    cycles: IntArray
    read: IntArray
    written: IntArray


def streamed(places: Places, layer: LayerShape, work: Calcs, pipeline: IntArray) -> Streamed:
    """A layer on its own; ``pipeline``: cycles from the last slot to the next layer's first."""
    archs, batch = places.archs, places.workload.batch
    samples = 1 if places.together(layer) else batch
    beat = archs.beat_bytes
    maps = [_bytes(places, name) for name in layer.reads]
    read = samples * sum(maps, np.zeros(len(archs), np.int64))
    rows = sum(places.of[name].planes * places.of[name].phases for name in layer.reads)
    weights = weight_bytes(places, layer)
    written = samples * _bytes(places, layer.target)
    reading = (read + weights) // beat + samples * LOAD_ROW * rows
    compute = samples * work.slots
    longest = np.maximum(np.maximum(compute, reading), written // beat)
    return Streamed(longest + load_latency() + pipeline, read + weights, written)


def weight_bytes(places: Places, layer: LayerShape) -> IntArray:
    """Bytes of weights and parameters of a layer."""
    archs = places.archs
    size = np.zeros(len(archs), np.int64)
    for part in layer.parts:
        taps = part_taps(archs, layer, part)
        if layer.mode is Mode.DENSE:
            size = size + taps.total * archs.wgt_word_bytes
        elif layer.mode is Mode.DEPTHWISE:
            words = ceil_div(taps.first, archs.out_channels)
            size = size + taps.blocks * words * archs.wgt_word_bytes
    channels = np.broadcast_to(layer.out_channels, len(archs))
    planes = ceil_div(channels, archs.in_channels)
    return size + planes * archs.in_channels * (PARAM_RECORD_BITS // 8)


def strip_fits(places: Places, layer: LayerShape) -> BoolArray:
    """Whether the lowest strip of a layer fits in the regions: the lines that one of its outputs
    needs, and it."""
    archs = places.archs
    needed = np.zeros(len(archs), np.int64)
    highest = np.zeros(len(archs), np.int64)
    offsets = [y for part in layer.parts for y, _ in part.offsets]
    reach = (max(offsets) - min(offsets)) // layer.stride + 1
    for name in (*layer.reads, layer.target):
        at = places.of[name]
        lines = min(at.lines, reach if name == layer.source else 1)
        planes = np.minimum(at.planes, 2) if name != layer.source else at.planes
        rows = planes * at.phases * ceil_div(lines * at.pitch + at.skew, archs.pixels)
        needed, highest = needed + rows, np.maximum(highest, rows)
    return (needed <= archs.regions * archs.act_depth) & (highest <= archs.act_depth)


def _bytes(places: Places, name: str) -> IntArray:
    at = places.of[name]
    return at.planes * (at.height * at.width) * places.archs.act_word_bytes
