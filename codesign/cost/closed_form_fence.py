"""Where CALC waits for its own results, for many architectures at once.

``compiler.order`` fences an instruction that reads a pixel before it is written, every instruction
starting as early as it can. Here the pixels are those at which that happens first: the last one of
the map, and those that the first group reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign import latency
from codesign.cost.closed_form_calc import Calcs, interval, tail_slots
from codesign.cost.closed_form_maps import Places, ceil_div
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape, Part
from codesign.cost.per_arch import per_arch
from codesign.isa import Mode


@dataclass(frozen=True, eq=False)
class Done:
    """A layer whose CALCs have ended in slot ``end`` (exclusive), counted as ``order`` counts."""

    layer: LayerShape
    calcs: Calcs
    end: IntArray


class Fences:
    """Finds the fences of layers that follow each other."""

    def __init__(self, places: Places) -> None:
        archs = places.archs
        self.places, self.archs = places, archs
        keys = archs.in_channels * (1 << 16) + archs.drain_steps
        self.write = per_arch(archs, keys, latency.calc_write)
        """``latency.calc_write``."""

    def results(self, done: Done) -> IntArray:
        """Cycle in which the last pixel of a layer is written."""
        _, lane = self._written(done, *self._last_pixel(done.layer))
        return self._cycle(done, np.zeros_like(lane), lane) + done.calcs.planes - 1

    def finish(self, end: IntArray) -> IntArray:
        """``latency.calc_finish`` of an instruction whose slots end there."""
        return end + self.archs.drain_steps - 2 + self.write

    def wait(self) -> IntArray:
        """Cycles that a fence keeps CALC after the last slot of the instruction before."""
        return self.finish(np.zeros_like(self.write)) + latency.CALC_FENCE

    def needed(self, layer: LayerShape, calcs: Calcs, writer: Done, start: IntArray) -> BoolArray:
        """Whether an instruction of a layer has a fence that would start in cycle ``start``, its
        source made by ``writer``."""
        late = self._lateness(layer, calcs, writer, start)
        if layer.mode is Mode.DENSE:
            return late >= 0
        # block b reads plane b alone: the writer's first planes, or its last ones, are too late
        ahead = (writer.calcs.instructions - 1) * _of_one(writer.calcs)
        single = calcs.instructions == 1
        last = late - (calcs.instructions - 1) * _of_one(calcs)
        return np.where(single, late, np.maximum(late - ahead, last)) >= 0

    def _lateness(self, layer: LayerShape, calcs: Calcs, writer: Done, start: IntArray) -> IntArray:
        """Cycles, at most, from a read of what the writer's last block makes to its write; negative
        where all reads come later."""
        part = layer.parts[0]
        slots = interval(self.archs, calcs.first)
        chosen = _chosen(part)
        tail = self._tail(layer, part, calcs, writer, chosen)
        worst = np.full_like(start, _NEVER)
        for number, back in zip(chosen, tail, strict=True):
            offset = part.offsets[number]
            for y, x in self._meetings(layer, calcs, part, offset):
                group = (y * calcs.width + x) // self.archs.pixels
                reads = start + (group + 1) * slots - back
                at_y, at_x = layer.strides[0] * y + offset[0], layer.strides[1] * x + offset[1]
                groups, lane = self._written(writer, at_y, at_x)
                late = self._cycle(writer, groups, lane) - reads
                worst = np.maximum(worst, np.where(back > 0, late, _NEVER))
        return worst

    def _tail(
        self, layer: LayerShape, part: Part, calcs: Calcs, writer: Done, chosen: Sequence[int]
    ) -> list[IntArray]:
        """Slots from the first read of the writer's last block, at each of the chosen positions, to
        the end of a group; 0 where there is none."""
        positions = len(part.offsets)
        ones = np.ones_like(calcs.first)
        if layer.mode is not Mode.DENSE:
            return [ones * (positions - number) for number in chosen]
        planes = writer.calcs.planes
        if part.nonzero is None:
            taps = positions * ceil_div(layer.in_channels, self.archs.in_channels)
            kept = ceil_div(planes * positions * calcs.first, taps)
            return [np.maximum(kept - number, 1) for number in chosen]
        found = np.zeros((len(chosen), len(ones)), np.int64)
        keys = np.ravel_multi_index(
            (self.archs.in_channels, self.archs.out_channels, planes * ones), (128, 128, 16)
        )
        for key in np.unique(keys):
            m, n, last = (int(at) for at in np.unravel_index(key, (128, 128, 16)))
            table = tail_slots(part, m, n, last)[chosen]
            found[:, keys == key] = table[:, None]
        return list(found)

    def _meetings(
        self, layer: LayerShape, calcs: Calcs, part: Part, offset: tuple[int, int]
    ) -> Sequence[tuple[IntArray, IntArray]]:
        """Grid pixels whose tap reads the last line and column that it ever reads; and the last
        one of the first group."""
        height, width = layer.grid(part)
        if self.places.together(layer):
            height, width = 1, self.places.workload.batch
        in_height, in_width = (
            self.places.of[layer.source].height,
            self.places.of[layer.source].width,
        )
        (step_y, step_x), (oy, ox) = layer.strides, offset
        y = max(0, min(height - 1, (in_height - 1 - oy) // step_y))
        x = max(0, min(width - 1, (in_width - 1 - ox) // step_x))
        last = np.full(len(self.archs), y), np.full(len(self.archs), x)
        lane = self.archs.pixels - 1
        line = lane // calcs.width
        first = np.minimum(line, y), np.minimum(np.where(line > y, x, lane % calcs.width), x)
        return (last, first)

    def _last_pixel(self, layer: LayerShape) -> tuple[IntArray, IntArray]:
        at = self.places.of[layer.target]
        return np.full(len(self.archs), at.height - 1), np.full(len(self.archs), at.width - 1)

    def _written(self, done: Done, y: IntArray, x: IntArray) -> tuple[IntArray, IntArray]:
        """Groups from that of a pixel to the last one, and the pixel's lane."""
        step = done.layer.out_stride
        pixel = (np.maximum(y, 0) // step) * done.calcs.width + np.maximum(x, 0) // step
        group = pixel // self.archs.pixels
        return np.maximum(done.calcs.groups - 1 - group, 0), pixel % self.archs.pixels

    def _cycle(self, done: Done, back: IntArray, lane: IntArray) -> IntArray:
        """When the last instruction writes a pixel ``back`` groups before its last one, its first
        plane."""
        leaves = lane // self.archs.drain * self.archs.planes
        slots = interval(self.archs, done.calcs.last)
        return np.asarray(done.end - back * slots - 1 + leaves + self.write)


_NEVER = -(1 << 40)


def _of_one(calcs: Calcs) -> IntArray:
    """Slots of an instruction."""
    return calcs.slots // calcs.instructions


def _chosen(part: Part) -> list[int]:
    """Numbers of the taps that are looked at: of large kernels the corners and the middle."""
    rows = sorted({y for y, _ in part.offsets})
    columns = sorted({x for _, x in part.offsets})
    some_rows = {rows[0], rows[len(rows) // 2], rows[-1]}
    some_columns = {columns[0], columns[len(columns) // 2], columns[-1]}
    return [
        number for number, (y, x) in enumerate(part.offsets) if y in some_rows and x in some_columns
    ]
