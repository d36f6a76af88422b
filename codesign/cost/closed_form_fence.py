"""Where CALC waits for its own results, for many architectures at once.

``compiler.order`` fences an instruction that reads a pixel before it is written, every instruction
starting as early as it can. Here the pixels are those at which that happens first, if anywhere: the
last one of the map, the last one of the reader's group before, and those that its first group
reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from codesign import latency
from codesign.cost.closed_form_calc import Calcs, tail_slots
from codesign.cost.closed_form_maps import Places, ceil_div
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape, Number, Part
from codesign.cost.per_arch import per_arch
from codesign.ir import Pair
from codesign.isa import Mode

_NEVER = -(1 << 40)
_BLOCKS = 6
"""Blocks of a reader that are looked at where each reads other planes."""
_LARGEST = 128, 128, 16
"""Above M, N and the planes of a block."""


@dataclass(frozen=True, eq=False)
class Done:
    """A layer whose CALCs have ended in slot ``end`` (exclusive), counted as ``order`` counts.

    ``groups`` are those of its last instruction, ``slots`` of one of them, ``planes`` those that it
    writes; where the layer runs in tiles, as many groups of the last tile's last block follow on
    those of the tile before, ``between`` slots behind.
    """

    layer: LayerShape
    calcs: Calcs
    end: IntArray
    slots: IntArray
    groups: IntArray
    between: IntArray


@dataclass(frozen=True, eq=False)
class _Pair:
    """A reader's block and the writer's last one, [A] each."""

    pixels: IntArray
    drain: IntArray
    planes: IntArray
    write: IntArray
    start: IntArray
    reader_width: IntArray
    reader_slots: IntArray
    writer_width: IntArray
    writer_slots: IntArray
    writer_groups: IntArray
    all_groups: IntArray
    between: IntArray
    end: IntArray

    def take(self, rows: npt.NDArray[np.intp]) -> _Pair:
        return _Pair(**{at.name: getattr(self, at.name)[rows] for at in fields(self)})

    def late(self, step: int, y: Number, x: Number, reads: IntArray) -> IntArray:
        """Cycles from the read of the writer's pixel (y, x) to its write."""
        pixel = y // step * self.writer_width + x // step
        group, lane = np.divmod(pixel, self.pixels)
        back = np.maximum(self.all_groups - 1 - group, 0)
        before = np.where(back >= self.writer_groups, self.between, 0)
        leaves = lane // self.drain * self.planes - 1
        writes = self.end - back * self.writer_slots - before + leaves + self.write
        return np.asarray(writes - reads)


class Fences:
    """Finds the fences of layers that follow each other."""

    def __init__(self, places: Places) -> None:
        archs = places.archs
        self.places, self.archs = places, archs
        keys = archs.in_channels * (1 << 16) + archs.drain_steps
        self.write = per_arch(archs, keys, latency.calc_write)
        """``latency.calc_write``."""
        self.planes, self.drain_steps = archs.planes, archs.drain_steps

    def done(
        self, layer: LayerShape, calcs: Calcs, end: IntArray, last_tile: IntArray | None = None
    ) -> Done:
        """A layer that has ended; ``last_tile``: groups of its last tile."""
        slots = np.maximum(calcs.last, self.drain_steps)
        groups = calcs.groups if last_tile is None else last_tile
        between = (calcs.instructions - 1) * groups * (calcs.per_group // calcs.instructions)
        return Done(layer, calcs, end, slots, groups, between)

    def results(self, done: Done) -> IntArray:
        """Cycle in which the last pixel of a layer is written."""
        at = self.places.of[done.layer.target]
        step = done.layer.out_stride
        pixel = (at.height - 1) // step * done.calcs.width + (at.width - 1) // step
        leaves = pixel % self.archs.pixels // self.archs.drain * self.planes
        return np.asarray(done.end - 1 + leaves + self.write + done.calcs.planes - 1)

    def finish(self, end: IntArray) -> IntArray:
        """``latency.calc_finish`` of an instruction whose slots end there."""
        return end + self.drain_steps - 2 + self.write

    def wait(self) -> IntArray:
        """Cycles that a fence keeps CALC after the last slot of the instruction before."""
        return self.finish(np.zeros_like(self.write)) + latency.CALC_FENCE

    def needed(self, layer: LayerShape, calcs: Calcs, writer: Done, start: IntArray) -> BoolArray:
        """Whether an instruction of a layer has a fence that would start in cycle ``start``, its
        source made by ``writer``."""
        found = np.zeros(len(start), np.bool_)
        slots = np.maximum(calcs.first, self.drain_steps)
        pair = _Pair(
            self.archs.pixels, self.archs.drain, self.planes, self.write, start, calcs.width,
            slots, writer.calcs.width, writer.slots, writer.groups, writer.calcs.groups,
            writer.between, writer.end,
        )  # fmt: skip
        rows = np.flatnonzero(self._possible(layer, calcs, pair))
        if not len(rows):
            return found
        close = pair.take(rows)
        one, count = _of_one(calcs)[rows], calcs.instructions[rows]
        part, step = layer.parts[0], writer.layer.out_stride
        if layer.mode is not Mode.DENSE:
            # block b reads plane b: the writer's first planes, or its last ones, are too late
            late = self._late(layer, part, close, step, [len(part.offsets)] * len(part.offsets))
            ahead = (writer.calcs.instructions - 1)[rows] * _of_one(writer.calcs)[rows]
            planes = np.broadcast_to(writer.calcs.planes, len(start))[rows]
            several = np.maximum(late - ahead, late - np.maximum(count - planes, 0) * one)
            found[rows] = np.where(count == 1, late, several) >= 0
            return found
        worst = np.full(len(rows), _NEVER)
        for block in range(1 if part.nonzero is None else _BLOCKS):
            tail = self._tail(layer, part, calcs, writer, block, rows)
            late = self._late(layer, part, close, step, tail) - block * one
            worst = np.maximum(worst, np.where(block < count, late, _NEVER))
        found[rows] = worst >= 0
        return found

    def _possible(self, layer: LayerShape, calcs: Calcs, pair: _Pair) -> BoolArray:
        """Whether any pixel is both written so late and read so early that it may need a fence."""
        depth = pair.write + self.drain_steps + self.planes - (pair.start - pair.end)
        if layer.step:
            return depth >= 0
        low, high = (
            pick(y for part in layer.parts for y, _ in part.offsets) for pick in (min, max)
        )
        ahead = (high - min(low, 0)) // layer.stride * calcs.width + calcs.width
        close = pair.pixels * (depth // pair.reader_slots + depth // pair.writer_slots + 4)
        height, width = layer.grid(layer.parts[0])
        pixels = (height - 1) * calcs.width + width
        return (depth >= 0) & (pixels <= close + ahead)

    def _late(
        self, layer: LayerShape, part: Part, pair: _Pair, step: int, tail: Sequence[Number]
    ) -> IntArray:
        """Cycles, at most, from a read of what the writer's last block makes to its write; negative
        where all reads come later. ``tail``: slots from the reads at each kernel position to the
        end of a group, those at position 0 told; 0 where there are none.
        ``step``: ``out_stride`` of the writer."""
        worst = np.full(len(pair.start), _NEVER)
        for number in _chosen(part):
            offset = part.offsets[number]
            back = np.asarray(tail[number])
            if part.nonzero is None:
                back = np.maximum(back - number, 1)
            for y, x in self._meetings(layer, part, pair, offset):
                group = (y * pair.reader_width + x) // pair.pixels
                reads = pair.start + (group + 1) * pair.reader_slots - back
                at_y, at_x = layer.strides[0] * y + offset[0], layer.strides[1] * x + offset[1]
                late = pair.late(step, at_y, at_x, reads)
                inside = (back > 0) & (at_y >= 0) & (at_x >= 0)
                worst = np.maximum(worst, np.where(inside, late, _NEVER))
        return worst

    def _tail(
        self, layer: LayerShape, part: Part, calcs: Calcs, writer: Done, block: int,
        rows: npt.NDArray[np.intp],
    ) -> Sequence[Number]:  # fmt: skip
        """Slots from the first read of the writer's last block to the end of a group, at each
        position; of a part without blocks of zeros those of position 0."""
        positions = len(part.offsets)
        planes = np.broadcast_to(writer.calcs.planes, len(self.archs))[rows]
        m, n = self.archs.in_channels[rows], self.archs.out_channels[rows]
        if part.nonzero is None:
            channels = np.broadcast_to(layer.in_channels, len(self.archs))[rows]
            taps = positions * ceil_div(channels, m)
            return [ceil_div(planes * positions * calcs.first[rows], taps)] * positions
        found = np.zeros((positions, len(rows)), np.int64)
        keys = np.ravel_multi_index((m, n, planes), _LARGEST)
        for key in np.unique(keys):
            grain = (int(at) for at in np.unravel_index(key, _LARGEST))
            found[:, keys == key] = tail_slots(part, block, *grain)[:, None]
        return list(found)

    def _meetings(
        self, layer: LayerShape, part: Part, pair: _Pair, offset: Pair
    ) -> Iterator[tuple[Number, Number]]:
        """Grid pixels whose tap reads the last line and column that it ever reads; the last one of
        the group before; and the last one of the first group."""
        height, width = layer.grid(part)
        if self.places.together(layer):
            height, width = 1, self.places.workload.batch
        source = self.places.of[layer.source]
        y = max(0, min(height - 1, (source.height - 1 - offset[0]) // layer.strides[0]))
        x = max(0, min(width - 1, (source.width - 1 - offset[1]) // layer.strides[1]))
        yield y, x
        before = (y * pair.reader_width + x) // pair.pixels * pair.pixels - 1
        for pixel in (np.maximum(before, 0), pair.pixels - 1):
            line, column = np.divmod(pixel, pair.reader_width)
            yield np.minimum(line, y), np.minimum(np.where(line > y, x, column), x)


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
