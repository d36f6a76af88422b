"""What a network takes of the memories on chip, for many architectures at once: whether it fits as
a whole.

WGT, PARAM, TAP and TABLE are counted as ``compiler.resident`` lays them out. Maps are placed one
after another, each in the region where it costs least, where the compiler searches more widely.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from codesign.compiler.allocate import FENCE, LOADING, NEVER, SAVING
from codesign.cost.archs import Archs
from codesign.cost.closed_form_calc import part_taps, tap_words
from codesign.cost.closed_form_maps import Places, ceil_div
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape, Part
from codesign.cost.per_arch import per_arch
from codesign.cost.workload import Workload
from codesign.isa import Mode


class Reason(IntEnum):
    """What a network does not fit in; NONE where it does."""

    NONE = 0
    WGT = 1
    PARAM = 2
    TAP = 3
    TABLE = 4
    ACT = 5
    ACCUMULATOR = 6

    @property
    def what(self) -> str:
        """What there is too little of."""
        return _WHAT[self]


_WHAT = {
    Reason.NONE: "",
    Reason.WGT: "WGT words",
    Reason.PARAM: "PARAM words",
    Reason.TAP: "TAP words",
    Reason.TABLE: "tables",
    Reason.ACT: "ACT rows at one time",
    Reason.ACCUMULATOR: "bits to an accumulator",
}


@dataclass(frozen=True, eq=False)
class Memory:
    """Words of the memories that a network takes, all [A].

    ``too_small`` is the first of them that has not as many (``Reason``), ``needed`` of ``limit``;
    ``regions`` is where each map lies.
    """

    wgt: IntArray
    param: IntArray
    tap: IntArray
    too_small: IntArray
    needed: IntArray
    limit: IntArray
    regions: dict[str, IntArray]


def memory(places: Places) -> Memory:
    """What a network takes that stays on chip as a whole."""
    archs, layers = places.archs, places.workload.layers
    wgt = param = tap = np.zeros(len(archs), np.int64)
    sequences: list[_Sequence] = []
    for layer in layers:
        for part in layer.parts:
            wgt = wgt + _weights(archs, layer, part)
            tap = tap + _entries(places, layer, part, sequences)
        param = param + _parameters(archs, layer)
    tables = len({layer.table for layer in layers} - {None})
    regions, placed = _place(places)
    bits = max(layer.reach for layer in layers).bit_length() + 1
    rows, columns = _most_rows(places), np.broadcast_to
    limits = (
        (Reason.WGT, wgt, archs.wgt_depth, wgt > archs.wgt_depth),
        (Reason.PARAM, param, archs.param_depth, param > archs.param_depth),
        (Reason.TAP, tap, archs.tap_depth, tap > archs.tap_depth),
        (Reason.TABLE, columns(tables, len(archs)), archs.tables, tables > archs.tables),
        (Reason.ACT, rows, archs.regions * archs.act_depth, ~placed),
        (Reason.ACCUMULATOR, columns(bits, len(archs)), archs.acc_bits, bits > archs.acc_bits),
    )
    too_small = needed = limit = np.zeros(len(archs), np.int64)
    for reason, words, depth, exceeded in reversed(limits):
        too_small = np.where(exceeded, int(reason), too_small)
        needed, limit = np.where(exceeded, words, needed), np.where(exceeded, depth, limit)
    return Memory(wgt, param, tap, too_small, needed, limit, regions)


def _most_rows(places: Places) -> IntArray:
    """Rows that the maps take that are alive at one time, at most."""
    lives = _lives(places.workload)
    most = np.zeros(len(places.archs), np.int64)
    for step in range(len(places.workload.layers)):
        alive = [name for name, (first, last) in lives.items() if first <= step <= last]
        most = np.maximum(most, sum((places.of[name].rows for name in alive), 0 * most))
    return most


def _weights(archs: Archs, layer: LayerShape, part: Part) -> IntArray:
    """Words of WGT of a part."""
    taps = part_taps(archs, layer, part)
    if layer.mode is Mode.DENSE:
        return taps.total
    if layer.mode is Mode.MAX:
        return np.zeros(len(archs), np.int64)
    words = ceil_div(taps.first, archs.out_channels)
    return words * (_distinct(archs, layer) if layer.uniform else taps.blocks)


def _distinct(archs: Archs, layer: LayerShape) -> IntArray:
    """Different contents of blocks whose channels are all treated alike: of whole planes, and of a
    last one that is not."""
    channels = np.broadcast_to(layer.out_channels, len(archs))
    whole, rest = np.divmod(channels, archs.in_channels)
    return np.minimum(whole, 1) + (rest > 0)


def _parameters(archs: Archs, layer: LayerShape) -> IntArray:
    """Words of PARAM of a layer; its phases have the same ones."""
    if layer.uniform:
        return _distinct(archs, layer)
    return ceil_div(np.broadcast_to(layer.out_channels, len(archs)), archs.in_channels)


@dataclass(frozen=True, eq=False)
class _Sequence:
    """Taps that a part's blocks share; equal ones are stored once."""

    key: object
    columns: tuple[IntArray, ...]


def _entries(places: Places, layer: LayerShape, part: Part, sequences: list[_Sequence]) -> IntArray:
    """Entries of TAP of a part that no part before has."""
    archs, source = places.archs, places.of[layer.source]
    taps = part_taps(archs, layer, part)
    if layer.step:
        every = ceil_div(archs.drain, layer.step[1])
        lines = part.lines or (0, layer.out_size[0])
        return taps.first * every * (lines[1] - lines[0])
    if part.nonzero is not None:
        keys = archs.in_channels * (1 << 16) + archs.out_channels
        return per_arch(
            archs, keys, lambda at: tap_words(part, layer.mode, at.in_channels, at.out_channels)
        )
    if np.any(np.asarray(layer.sparsity) > 0):
        return np.where(np.asarray(layer.sparsity) > 0, taps.total, taps.first)
    key = (
        part.offsets, layer.stride, source.factor, source.lines, source.columns, source.height,
        source.width,
    )  # fmt: skip
    columns = taps.first, places.grid_width(layer), source.phase_rows
    known = np.zeros(len(archs), np.bool_)
    for other in sequences:
        if other.key == key:
            equal = [(a == b) for a, b in zip(columns, other.columns, strict=True)]
            known |= np.logical_and.reduce(equal)
    sequences.append(_Sequence(key, columns))
    return np.where(known, 0, taps.first)


def _place(places: Places) -> tuple[dict[str, IntArray], BoolArray]:
    """A region for every map, and whether all have found one: the emptiest that the compiler would
    like, or where that fails the fullest that has room."""
    wide, wide_placed = _packed(places, emptiest=True)
    if wide_placed.all():
        return wide, wide_placed
    tight, tight_placed = _packed(places, emptiest=False)
    regions = {name: np.where(wide_placed, wide[name], tight[name]) for name in wide}
    return regions, wide_placed | tight_placed


def _packed(places: Places, emptiest: bool) -> tuple[dict[str, IntArray], BoolArray]:
    archs = places.archs
    lives, pairs = _lives(places.workload), _pairs(places.workload)
    number = np.arange(int(archs.regions.max()))[:, None]
    free = np.where(number < archs.regions, archs.act_depth, -1)
    regions: dict[str, IntArray] = {}
    placed = np.ones(len(archs), np.bool_)
    lanes = np.arange(len(archs))
    alive: list[str] = []
    for name in sorted(lives, key=lambda at: (lives[at][0], at)):
        for other in [at for at in alive if lives[at][1] < lives[name][0]]:
            alive.remove(other)
            free[regions[other], lanes] += places.of[other].rows
        rows = np.broadcast_to(places.of[name].rows, len(archs))
        cost = np.where(free >= rows, -free if emptiest else free, _NO_ROOM)
        for other in alive:
            weight = pairs.get(frozenset((name, other)), 0)
            if weight:
                cost[regions[other], lanes] += weight * _ROWS if emptiest else _only(weight)
        chosen = np.argmin(cost, axis=0)
        placed &= cost[chosen, lanes] < _NO_ROOM // 2
        free[chosen, lanes] -= rows
        regions[name] = chosen
        alive.append(name)
    return regions, placed


def _only(weight: int) -> int:
    """A weight that forbids, or none."""
    return _NO_ROOM if weight >= NEVER else 0


def _lives(workload: Workload) -> dict[str, tuple[int, int]]:
    """Of one sample: ``compiler.allocate.lives``."""
    first = dict.fromkeys(workload.inputs, 0)
    last = dict.fromkeys(workload.inputs, 0)
    for step, layer in enumerate(workload.layers):
        first.setdefault(layer.target, step)
        for name in (layer.target, *layer.reads):
            last[name] = step
    for name in workload.outputs:
        stays = workload.maps[name].is_vector or name in workload.inputs
        last[name] = len(workload.layers) if stays else last[name] + 1
    return {name: (first[name], last[name]) for name in first}


def _pairs(workload: Workload) -> dict[frozenset[str], int]:
    """Of one sample: ``compiler.allocate.apart``."""
    found: dict[frozenset[str], int] = {}

    def add(one: str, other: str, weight: int) -> None:
        pair = frozenset((one, other))
        found[pair] = max(found.get(pair, 0), weight)

    for step, layer in enumerate(workload.layers):
        following = workload.layers[step + 1].source if step + 1 < len(workload.layers) else None
        if layer.residual:
            add(layer.source, layer.residual, NEVER)
            if following:
                add(layer.residual, following, FENCE)
        for name in workload.inputs:
            if step == 0 or layer.source == name:
                add(name, layer.target, LOADING)
        if layer.target in workload.outputs and following:
            add(layer.target, following, SAVING)
    return found


_ROWS = 1 << 16
"""Rows that a cycle of a pair's weight is worth: more than there are."""
_NO_ROOM = 1 << 60
