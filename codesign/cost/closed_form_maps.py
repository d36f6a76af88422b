"""Where pixels lie, for many architectures at once: what ``compiler.layout`` decides, as columns.

A test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from codesign.cost.archs import Archs
from codesign.cost.layer_shape import IntArray, LayerShape, Number, Part
from codesign.cost.workload import Workload


def ceil_div(value: Number, by: Number) -> IntArray:
    """The quotient, rounded up."""
    return np.asarray(-(-value // by))


@dataclass(frozen=True, eq=False)
class Place:
    """``compiler.layout.Storage`` as columns: [A], or ints where all architectures agree."""

    factor: int
    lines: int
    columns: int
    height: int
    width: int
    planes: IntArray
    pitch: IntArray
    phase_rows: IntArray
    skew: IntArray

    @property
    def phases(self) -> int:
        return self.factor**2

    @property
    def rows(self) -> IntArray:
        """Rows of a region that the map takes."""
        return self.planes * self.phase_rows * self.phases


@dataclass(frozen=True, eq=False)
class Places:
    """The storage of every map of a workload, and the widths of its layers' grids."""

    workload: Workload
    archs: Archs
    of: Mapping[str, Place]

    @classmethod
    def plan(cls, workload: Workload, archs: Archs) -> Places:
        """Lines as short as all readers' grids allow."""
        planner = _Planner(workload, archs)
        return cls(workload, archs, planner.places())

    def grid_width(self, layer: LayerShape) -> IntArray:
        """Columns of a layer's grid."""
        source = self.of[layer.source]
        vector = self.workload.maps[layer.source].is_vector
        if source.lines == 1 or vector:
            pitches = {name: at.pitch for name, at in self.of.items()}
            return _Planner(self.workload, self.archs).grid_columns(pitches, layer)
        return source.pitch

    def groups(self, layer: LayerShape, part: Part, width: IntArray) -> IntArray:
        """Groups of P grid pixels that hold a part of a layer."""
        height, columns = layer.grid(part)
        if self.together(layer):
            height, columns = 1, self.workload.batch
        return ceil_div((height - 1) * width + columns, self.archs.pixels)

    def together(self, layer: LayerShape) -> bool:
        """All samples of the batch in one pass."""
        maps = self.workload.maps
        return maps[layer.source].is_vector and maps[layer.target].is_vector


class _Planner:
    """Finds the pitches: they only grow, until the grids of all readers find room."""

    def __init__(self, workload: Workload, archs: Archs) -> None:
        self.workload, self.archs = workload, archs
        self.factors = _factors(workload)
        self.skew = archs.phase_skew
        self.several = bool((archs.drain > 1).any())

    def places(self) -> dict[str, Place]:
        return {name: self._place(name, pitch) for name, pitch in self._pitches().items()}

    def _lines(self, name: str) -> int:
        at = self.workload.maps[name]
        return 1 if at.is_vector else -(-at.height // self.factors[name])

    def _columns(self, name: str) -> int:
        at = self.workload.maps[name]
        return self.workload.batch if at.is_vector else -(-at.width // self.factors[name])

    def _pitches(self) -> dict[str, IntArray]:
        one = np.ones(len(self.archs), np.int64)
        pitches = {name: one * self._columns(name) for name in self.workload.maps}
        readers = [at for at in self.workload.layers if self._lines(at.source) > 1]
        while True:
            before = dict(pitches)
            steps: dict[str, IntArray] = {}
            for layer in readers:
                name, step = layer.source, self._step(layer)
                pitches[name] = np.maximum(pitches[name], self.grid_columns(before, layer))
                if step is not None:
                    steps[name] = np.maximum(steps.get(name, one), step)
            for name, step in steps.items():
                pitches[name] = ceil_div(pitches[name], step) * step
            if not self.several or all((pitches[at] == before[at]).all() for at in pitches):
                return pitches

    def _step(self, layer: LayerShape) -> IntArray | None:
        """What the columns of a layer's grid are a multiple of; None for 1."""
        touched = (layer.target, *layer.reads[1:])
        splits = any(self.factors[name] > layer.out_stride for name in touched)
        return self.archs.drain if splits and not layer.step else None

    def grid_columns(self, pitches: Mapping[str, IntArray], layer: LayerShape) -> IntArray:
        """``compiler.layout.grid_columns``."""
        one = np.ones(len(self.archs), np.int64)
        if layer.step:
            return one
        maps = self.workload.maps
        if maps[layer.source].is_vector and maps[layer.target].is_vector:
            columns = self.workload.batch
        else:
            columns = max(layer.grid(part)[1] for part in layer.parts)
        least = np.maximum(columns * one, self.archs.drain)
        step = self._step(layer)
        wide = least
        if self._lines(layer.target) > 1:
            for name in (layer.target, *layer.reads[1:]):
                wide = np.where(self.archs.drain > 1, np.maximum(wide, pitches[name]), wide)
        if step is None:
            return wide
        return np.where(step > 1, ceil_div(least, step) * step, wide)

    def _place(self, name: str, pitch: IntArray) -> Place:
        shape, archs = self.workload.maps[name], self.archs
        planes, factor = ceil_div(shape.channels, archs.in_channels), self.factors[name]
        lines, columns = self._lines(name), self._columns(name)
        if shape.is_vector:
            batch = self.workload.batch
            rows = ceil_div(batch, archs.pixels)
            none = np.zeros_like(rows)
            return Place(1, 1, batch, 1, batch, planes, pitch * 0 + batch, rows, none)
        skew = np.zeros_like(pitch) if factor % 2 else self.skew
        rows = ceil_div(lines * pitch + skew, archs.pixels)
        return Place(factor, lines, columns, shape.height, shape.width, planes, pitch, rows, skew)


def _factors(workload: Workload) -> dict[str, int]:
    """``compiler.layout.factors``."""
    found = dict.fromkeys(workload.maps, 1)
    for layer in workload.layers:
        for name in (layer.target, *layer.reads[1:]):
            found[name] = max(found[name], layer.out_stride)
    found |= {layer.source: layer.stride for layer in workload.layers}
    return found | {name: 1 for name, at in workload.maps.items() if at.is_vector}
