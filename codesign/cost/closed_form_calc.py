"""What CALC does for each layer: instructions, groups, taps, slots, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codesign.cost.archs import Archs
from codesign.cost.closed_form_maps import Places, ceil_div
from codesign.cost.layer_shape import GRAIN, BoolArray, IntArray, LayerShape, Number, Part
from codesign.cost.sparsity import kept_taps
from codesign.isa import Mode


@dataclass(frozen=True, eq=False)
class Taps:
    """Taps of the blocks of a part: their number, and over the blocks the sums of taps and of
    intervals (``latency.calc_interval``); those of the first block and of the last."""

    blocks: IntArray
    total: IntArray
    intervals: IntArray
    first: IntArray
    last: IntArray


@dataclass(frozen=True, eq=False)
class Calcs:
    """The CALCs of a layer, one pass for one sample; [A] each.

    Attributes
    ----------
    width:
        Columns of the grid.
    instructions:
        Their number.
    slots:
        Cycles that they keep the array.
    active:
        Slots with a tap.
    drained:
        Groups times planes: drain steps, but for the P/D that each takes.
    planes:
        Of the last instruction.
    first, last:
        Taps of the first and the last instruction.
    groups:
        Of the last instruction.
    per_group:
        ``slots`` where every instruction had one group: what a tile of some groups takes.
    """

    width: IntArray
    instructions: IntArray
    slots: IntArray
    active: IntArray
    drained: IntArray
    planes: IntArray
    first: IntArray
    last: IntArray
    groups: IntArray
    per_group: IntArray


def calcs(places: Places, layer: LayerShape) -> Calcs:
    """The CALCs of a layer."""
    archs = places.archs
    width = np.broadcast_to(places.grid_width(layer), len(archs))
    none = np.zeros(len(archs), np.int64)
    instructions = slots = active = drained = per_group = none
    first = last = groups = none
    outputs = np.broadcast_to(layer.out_channels, len(archs))
    all_planes = ceil_div(outputs, archs.in_channels)
    for number, part in enumerate(layer.parts):
        taps = part_taps(archs, layer, part)
        for repeat, groups in _runs(places, layer, part, width):
            instructions = instructions + repeat * taps.blocks
            slots = slots + repeat * groups * taps.intervals
            active = active + repeat * groups * taps.total
            drained = drained + repeat * groups * all_planes
        per_group = per_group + taps.intervals
        first = taps.first if number == 0 else first
        last = taps.last
    if layer.mode is Mode.DENSE:
        rest = outputs - (ceil_div(outputs, archs.out_channels) - 1) * archs.out_channels
        planes = ceil_div(rest, archs.in_channels)
    else:
        planes = none + 1
    return Calcs(
        width, instructions, slots, active, drained, planes, first, last, groups, per_group
    )


def _runs(
    places: Places, layer: LayerShape, part: Part, width: IntArray
) -> Iterator[tuple[Number, IntArray]]:
    """Groups of the instructions of a block: how many have as many."""
    archs = places.archs
    if not layer.step:
        yield 1, places.groups(layer, part, width)
        return
    height, columns = layer.out_size
    top, bottom = part.lines or (0, height)
    left, right = part.columns or (0, columns)
    every = ceil_div(archs.drain, layer.step[1])
    for phase in range(int(every.max())):
        first = np.maximum(0, ceil_div(left - phase, every))
        last = ceil_div(right - phase, every)
        pixels = (last - first - 1) * every * layer.step[1] + 1
        used = (phase < every) & (last > first)
        yield (bottom - top) * used.astype(np.int64), ceil_div(pixels, archs.pixels)


def part_taps(archs: Archs, layer: LayerShape, part: Part) -> Taps:
    """Taps of the blocks of a part."""
    if part.nonzero is not None:
        return _counted(archs, layer.mode, part, part.nonzero)
    dense = layer.mode is Mode.DENSE
    channels = np.broadcast_to(layer.out_channels, len(archs))
    blocks = ceil_div(channels, archs.out_channels if dense else archs.in_channels)
    taps = np.full(len(archs), len(part.offsets), np.int64)
    if dense:
        taps = taps * ceil_div(layer.in_channels, archs.in_channels)
        if np.any(np.asarray(layer.sparsity) > 0):
            taps = kept_taps(taps, layer.sparsity)
    interval = np.maximum(taps, archs.drain_steps)
    return Taps(blocks, blocks * taps, blocks * interval, taps, taps)


def _counted(archs: Archs, mode: Mode, part: Part, nonzero: BoolArray) -> Taps:
    """Taps where some blocks of weights are left out."""
    found = np.zeros((5, len(archs)), np.int64)
    grains = archs.in_channels * (1 << 16) + archs.out_channels
    for grain in np.unique(grains):
        rows = grains == grain
        m, n = divmod(int(grain), 1 << 16)
        taps = tap_counts(part, mode, m, n)
        steps = archs.drain_steps[rows]
        table = np.maximum(taps[:, None], np.arange(steps.max() + 1)).sum(axis=0)
        for row, value in enumerate((len(taps), taps.sum(), table[steps], taps[0], taps[-1])):
            found[row, rows] = value
    return Taps(*found)


@lru_cache(maxsize=4096)
def tap_counts(part: Part, mode: Mode, in_channels: int, out_channels: int) -> IntArray:
    """Taps of each block of a part some of whose blocks of weights are all zero.

    Raises
    ------
    ValueError
        The part has no such blocks.
    """
    if part.nonzero is None:
        raise ValueError("no block of this part is all zero")
    used = _merged(part.nonzero, 1, in_channels // GRAIN)
    if mode is Mode.DENSE:
        used = _merged(used, 2, out_channels // GRAIN).sum(axis=1)
    counts: IntArray = np.maximum(1, used.sum(axis=0))
    return counts


@lru_cache(maxsize=4096)
def tap_words(part: Part, mode: Mode, in_channels: int, out_channels: int) -> int:
    """Entries of TAP of a part some of whose blocks of weights are all zero: blocks of equal taps,
    counted from the first plane that they read, share theirs."""
    if part.nonzero is None:
        raise ValueError("no block of this part is all zero")
    used = _merged(part.nonzero, 1, in_channels // GRAIN)
    if mode is not Mode.DENSE:
        return sum(sum(column) or 1 for column in {tuple(at.tolist()) for at in used.T})
    blocks = _merged(used, 2, out_channels // GRAIN)
    patterns = set()
    for block in range(blocks.shape[2]):
        planes = blocks[:, :, block].T
        first = int(planes.any(axis=1).argmax())
        patterns.add(tuple(np.flatnonzero(planes[first:]).tolist()))
    return sum(len(pattern) or 1 for pattern in patterns)


@lru_cache(maxsize=4096)
def tail_slots(
    part: Part, block: int, in_channels: int, out_channels: int, planes: int
) -> IntArray:
    """Slots from a block's first read of the last ``planes`` input planes to its last tap,
    inclusive, at each kernel position of a dense part some of whose blocks are all zero; 0 where it
    does not read them."""
    if part.nonzero is None:
        raise ValueError("no block of this part is all zero")
    used = _merged(part.nonzero, 1, in_channels // GRAIN)
    blocks = _merged(used, 2, out_channels // GRAIN)
    first = blocks[:, :, min(block, blocks.shape[2] - 1)]
    after: IntArray = np.cumsum(first.T[::-1, ::-1])[::-1].reshape(first.shape[::-1])
    after = np.where(first.T, after, 0)  # [planes, positions]
    return np.asarray(after[-planes:].max(axis=0))


def _merged(used: BoolArray, axis: int, count: int) -> BoolArray:
    """Whether any of ``count`` neighbours along an axis is used."""
    starts: Sequence[int] = range(0, used.shape[axis], count)
    return np.asarray(np.logical_or.reduceat(used, starts, axis=axis))
