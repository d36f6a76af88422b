"""The first layers of a workload as the host's folding of its inputs makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from codesign.compiler import fold
from codesign.compiler.network import PLAIN
from codesign.cost.archs import Archs
from codesign.cost.layer_shape import BoolArray, Foldable, MapShape
from codesign.cost.workload import Workload
from codesign.ir import Pair, Shape


def folded(workload: Workload, archs: Archs) -> Sequence[tuple[BoolArray, Workload]]:
    """The workload as the host folds its inputs, and the rows where it does so alike."""
    groups = [(np.ones(len(archs), np.bool_), workload)]
    for number, layer in enumerate(workload.layers):
        if layer.fold:
            groups = [
                (rows, one)
                for rows_before, before in groups
                for rows, one in _variants(before, number, archs, rows_before)
            ]
    return groups


@lru_cache(maxsize=1 << 12)
def _choose(at: Foldable, source: Shape, grain: Pair) -> fold.Folding:
    return fold.choose(at.axes, at.dilation, at.by_line, source, grain)


def _variants(
    workload: Workload, number: int, archs: Archs, among: BoolArray
) -> Sequence[tuple[BoolArray, Workload]]:
    layer = workload.layers[number]
    at = layer.fold
    if at is None or not isinstance(layer.in_channels, int):
        return [(among, workload)]
    found: dict[object, tuple[BoolArray, Workload]] = {}
    keys = archs.in_channels * (1 << 16) + archs.drain_steps
    source = (layer.in_channels, *layer.in_size)
    for key in np.unique(keys[among]):
        grain = divmod(int(key), 1 << 16)
        chosen = _choose(at, source, grain)
        rows = among & (keys == key)
        name = chosen.fold, chosen.step, tuple(chosen.rows.items()), tuple(chosen.columns.items())
        if name in found:
            before, folded = found[name]
            found[name] = before | rows, folded
        else:
            found[name] = rows, _with_fold(workload, number, chosen)
    return list(found.values())


def _with_fold(workload: Workload, number: int, folding: fold.Folding) -> Workload:
    layer = workload.layers[number]
    if folding.fold == PLAIN:
        return workload
    size = folding.size((0, *layer.in_size))
    channels = layer.in_channels * len(folding.fold)
    (part,) = layer.parts
    step_y, step_x = folding.step
    offsets = dict.fromkeys(
        (row // step_y, column // step_x)
        for row in folding.rows.values()
        for column in folding.columns.values()
    )
    step = None if layer.step == folding.step else layer.step
    changed = replace(
        layer, in_channels=channels, in_size=size, step=step, sparsity=0.0,
        parts=(replace(part, offsets=tuple(offsets), nonzero=None),),
    )  # fmt: skip
    layers = (*workload.layers[:number], changed, *workload.layers[number + 1 :])
    maps = {**workload.maps, layer.source: MapShape(channels, *size)}
    return replace(workload, layers=layers, maps=maps)
