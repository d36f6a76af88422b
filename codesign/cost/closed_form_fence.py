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
from codesign.cost.closed_form_calc import Calcs, interval
from codesign.cost.closed_form_maps import Places
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape, Part
from codesign.cost.per_arch import per_arch
from codesign.isa import Mode


@dataclass(frozen=True, eq=False)
class Done:
    """A layer whose CALCs have ended in slot ``end`` (exclusive), counted as ``order`` counts."""

    layer: LayerShape
    calcs: Calcs
    end: IntArray


@dataclass(frozen=True, eq=False)
class Fence:
    """Whether an instruction of the layer has one, and the slots that the layer's instructions
    before it take."""

    needed: BoolArray
    before: IntArray


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
        _, _, lane = self._written(done, *self._last_pixel(done.layer))
        return self._cycle(done, np.zeros_like(lane), lane)

    def finish(self, end: IntArray) -> IntArray:
        """``latency.calc_finish`` of an instruction whose slots end there."""
        return end + self.archs.drain_steps - 2 + self.write

    def before(self, layer: LayerShape, calcs: Calcs, writer: Done, start: IntArray) -> Fence:
        """The fence of a layer that would start in cycle ``start``, its source made by
        ``writer``."""
        late = self._lateness(layer, calcs, writer, start)
        none = np.zeros_like(start)
        if layer.mode is Mode.DENSE:
            return Fence(late >= 0, none)
        # block b reads plane b alone: the writer's last one is read by the last
        one = calcs.slots // calcs.instructions
        blocks = calcs.instructions - 1
        planes = self.archs.planes if writer.layer.mode is Mode.DENSE else 1
        ahead = (writer.calcs.instructions - 1) * (writer.calcs.slots // writer.calcs.instructions)
        first, last = late - np.where(blocks > 0, ahead, 0), late - blocks * one
        step = writer.calcs.slots // writer.calcs.instructions // planes - one
        number = np.where(first >= 0, 0, np.clip(-(first // np.maximum(step, 1)), 0, blocks))
        return Fence((first >= 0) | (last >= 0), number * one)

    def _lateness(self, layer: LayerShape, calcs: Calcs, writer: Done, start: IntArray) -> IntArray:
        """Cycles, at most, from a read of the writer's last block to its write; negative where all
        reads come later."""
        part = layer.parts[0]
        slots = interval(self.archs, calcs.first)
        taps = np.minimum(len(part.offsets), calcs.first)
        worst: IntArray | None = None
        for number in _chosen(part):
            offset = part.offsets[number]
            issue = slots - np.maximum(taps - number, 1)
            for y, x in self._meetings(layer, calcs, part, offset):
                group = (y * calcs.width + x) // self.archs.pixels
                reads = start + group * slots + issue
                at_y, at_x = layer.strides[0] * y + offset[0], layer.strides[1] * x + offset[1]
                back, _, lane = self._written(writer, at_y, at_x)
                late = self._cycle(writer, back, lane) - reads
                worst = late if worst is None else np.maximum(worst, late)
        if worst is None:
            raise AssertionError("a part has taps")
        return worst

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

    def _written(self, done: Done, y: IntArray, x: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Groups from that of a pixel to the last one, the group, and the pixel's lane."""
        step = done.layer.out_stride
        pixel = (np.maximum(y, 0) // step) * done.calcs.width + np.maximum(x, 0) // step
        group = pixel // self.archs.pixels
        return np.maximum(done.calcs.groups - 1 - group, 0), group, pixel % self.archs.pixels

    def _cycle(self, done: Done, back: IntArray, lane: IntArray) -> IntArray:
        """When the last instruction writes a pixel ``back`` groups before its last one."""
        leaves = lane // self.archs.drain * self.archs.planes + done.calcs.planes - 1
        slots = interval(self.archs, done.calcs.last)
        return np.asarray(done.end - back * slots - 1 + leaves + self.write)


def _chosen(part: Part) -> list[int]:
    """Numbers of the taps that are looked at: of large kernels the corners and the middle."""
    rows = sorted({y for y, _ in part.offsets})
    columns = sorted({x for _, x in part.offsets})
    some_rows = {rows[0], rows[len(rows) // 2], rows[-1]}
    some_columns = {columns[0], columns[len(columns) // 2], columns[-1]}
    return [
        number for number, (y, x) in enumerate(part.offsets) if y in some_rows and x in some_columns
    ]
