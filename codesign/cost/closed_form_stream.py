"""Cycles of networks that do not fit on the chip as a whole, for many architectures at once.

An approximation: each layer is taken alone, its maps come over the bus for as many strips as they
take, its weights once or for each strip, and the longest of computing, reading and writing counts.
The compiler also keeps maps of some layers on chip, so that many networks take less: what is told
is 0.68 to 1.7 times the cycles of the compiled program, measured over ResNet-8 and the demo's
network on random architectures with small memories (a slow test of tests/cost/test_closed_form.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codesign.arch import PARAM_RECORD_BITS
from codesign.cost.archs import Archs
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
    strips = _strips(places, layer)
    offsets = [y for part in layer.parts for y, _ in part.offsets]
    around = (max(offsets) - min(offsets)) // layer.stride
    lines = places.of[layer.source].lines
    maps = _bytes(places, layer.source) * (lines + (strips - 1) * around) // lines
    rows = strips * places.of[layer.source].planes * places.of[layer.source].phases
    for name in layer.reads[1:]:
        maps = maps + _bytes(places, name)
        rows = rows + strips * places.of[name].planes * places.of[name].phases
    block = _words_of_block(archs, layer)
    weights = weight_bytes(places, layer)
    weights = weights * np.where(weights > archs.wgt_bytes, strips * samples, 1)
    written = samples * _bytes(places, layer.target)
    reading = samples * (maps // beat + LOAD_ROW * rows)
    loading = weights // beat
    compute = samples * work.slots
    # weights can be loaded beside the block that is computed, and a strip beside another
    behind = np.where(2 * block > archs.wgt_depth, loading, 0)
    beside = np.where(strips > 1, 0, reading)
    together = np.maximum(compute + behind + reading - beside, reading + loading)
    longest = np.maximum(together, written // beat)
    cycles = longest + strips * pipeline + load_latency()
    return Streamed(np.asarray(cycles), samples * maps + weights, written)


def _strips(places: Places, layer: LayerShape) -> IntArray:
    """Strips, about, of which the maps of one fit on the chip."""
    archs = places.archs
    rows = sum((places.of[name].rows for name in layer.reads), places.of[layer.target].rows)
    strips = ceil_div(rows, archs.regions * archs.act_depth)
    return np.minimum(strips, places.of[layer.target].lines)


def _words_of_block(archs: Archs, layer: LayerShape) -> IntArray:
    """Words of WGT that an instruction needs, at most."""
    most = np.zeros(len(archs), np.int64)
    if layer.mode is Mode.MAX:
        return most
    for part in layer.parts:
        taps = part_taps(archs, layer, part)
        words = np.maximum(taps.first, taps.last)
        if layer.mode is Mode.DEPTHWISE:
            words = ceil_div(words, archs.out_channels)
        most = np.maximum(most, words)
    return most


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
    """Whether the lowest strip of a layer fits in the regions, the lines that one of its outputs
    needs and it, and what one instruction needs in the other memories."""
    archs = places.archs
    taps = [part_taps(archs, layer, part).first for part in layer.parts]
    others = np.max(taps, axis=0) <= archs.tap_depth
    others &= _words_of_block(archs, layer) <= archs.wgt_depth
    others &= archs.planes <= archs.param_depth
    needed = np.zeros(len(archs), np.int64)
    highest = np.zeros(len(archs), np.int64)
    offsets = [y for part in layer.parts for y, _ in part.offsets]
    reach = (max(offsets) - min(offsets)) // layer.stride + 1
    for name in (*layer.reads, layer.target):
        at = places.of[name]
        lines = min(at.lines, reach if name == layer.source else 1)
        some = name != layer.source or layer.mode is not Mode.DENSE
        planes = np.minimum(at.planes, 2 * archs.planes) if some else at.planes
        rows = planes * at.phases * ceil_div(lines * at.pitch + at.skew, archs.pixels)
        needed, highest = needed + rows, np.maximum(highest, rows)
    fits = (needed <= archs.regions * archs.act_depth) & (highest <= archs.act_depth)
    return np.asarray(fits & others)


def _bytes(places: Places, name: str) -> IntArray:
    at = places.of[name]
    return at.planes * (at.height * at.width) * places.archs.act_word_bytes
