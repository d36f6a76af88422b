"""A group of layers that runs depth-first in strips, and the lines of its maps that a strip needs.

As in patch-based inference (Lin et al., "MCUNetV2", NeurIPS 2021, arXiv 2110.15352): for each strip
of the group's result the lines that every layer needs are followed backwards; lines that two strips
need are computed twice, so that no map between the layers leaves the chip. Columns are cut likewise
(``panels``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from codesign.arch import Arch
from codesign.compiler.layout import PHASES, Storage
from codesign.compiler.network import Layer, Network
from codesign.compiler.tile import line_unit
from codesign.isa import Mode

Lines = tuple[int, int]
"""Lines, or columns, [first, last) of a map."""
Strip = Mapping[str, Lines]
"""Lines of each map, read or written, that are on chip during a strip."""


@dataclass(frozen=True)
class Axis:
    """Along which maps are cut (0: lines, 1: columns): their extents, and the multiples at which a
    cut begins."""

    number: int
    extents: Mapping[str, int]
    steps: Mapping[str, int]

    def offsets(self, layer: Layer) -> list[int]:
        """How far along it a layer's taps read."""
        taps = [tap for block in layer.blocks for tap in block.taps]
        return [tap.ox if self.number else tap.oy for tap in taps]


@dataclass(frozen=True, eq=False)
class Work:
    """Layers that follow each other. ``saved``: maps written here and read elsewhere, or outputs.

    ``network`` has the batch that the layers take at once: 1 where samples follow each other.
    ``columns``: those of each map where the group runs on a panel of them, the one of that number;
    network, storages and layers are then those of the panel, in columns of their own.
    """

    network: Network
    arch: Arch
    storages: Mapping[str, Storage]
    layers: tuple[Layer, ...]
    saved: frozenset[str]
    columns: Mapping[str, Lines] | None = None
    panel: int = 0

    def first_column(self, name: str) -> int:
        """Column of a map at which the group's begins."""
        return self.columns[name][0] if self.columns else 0

    def samples(self, batch: int) -> int:
        """How often the group runs for a batch."""
        return 1 if self.network.together(self.layers[0]) else batch

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All maps that the group reads or writes."""
        return *self.external, *(layer.target for layer in self.layers)

    @cached_property
    def external(self) -> tuple[str, ...]:
        """Maps that come from DRAM."""
        written = {layer.target for layer in self.layers}
        reads = (name for layer in self.layers for name in layer.reads)
        return tuple(dict.fromkeys(name for name in reads if name not in written))

    @cached_property
    def sources(self) -> frozenset[str]:
        return frozenset(layer.source for layer in self.layers)

    def height(self, name: str) -> int:
        return self.storages[name].height

    @cached_property
    def steps(self) -> Mapping[str, int]:
        """Multiples of lines at which a strip of a map begins."""
        return {name: self._step(name) for name in self.names}

    def _step(self, name: str) -> int:
        storage = self.storages[name]
        lines = 2 if storage.split else 1
        moved = name in self.saved or name in self.external
        if moved and not self.network.is_vector(name) and not self.columns:
            lines *= line_unit(self.arch, storage)
        return lines

    @cached_property
    def phases(self) -> Mapping[str, tuple[int, ...]]:
        """Phase planes of each map from DRAM that taps read; the only plane where it is linear."""
        found = {}
        for name in self.external:
            phases = {
                2 * (tap.oy % layer.stride) + tap.ox % layer.stride
                for layer in self.layers
                if layer.source == name
                for block in layer.blocks
                for tap in block.taps
            }
            added = any(name in layer.reads[1:] for layer in self.layers)
            split = range(PHASES if self.storages[name].split else 1)
            found[name] = tuple(split) if added else tuple(sorted(phases))
        return found

    @cached_property
    def passing(self) -> frozenset[str]:
        """Maps of which a few planes at a time are on chip: the next layer reads plane by plane."""
        return frozenset(
            layer.target
            for layer, after in zip(self.layers, self.layers[1:], strict=False)
            if layer.target not in self.saved
            and layer.target == after.source
            and after.mode is not Mode.DENSE
            and not layer.step
            and not after.step
            and layer.target not in [name for at in self.layers for name in at.reads[1:]]
            and sum(at.source == layer.target for at in self.layers) == 1
            and layer.source not in self._passed(layer)
        )

    def _passed(self, layer: Layer) -> set[str]:
        """The source, if it may pass itself: plane by plane is done for two layers at a time."""
        number = self.layers.index(layer)
        if number == 0 or layer.mode is Mode.DENSE:
            return set()
        return {self.layers[number - 1].target}


def strips(work: Work, height: int) -> tuple[Strip, ...]:
    """The strips, cut every ``height`` lines of the last layer's result."""
    heights = {name: work.height(name) for name in work.names}
    return cuts(work, Axis(0, heights, work.steps), height)


def cuts(work: Work, axis: Axis, size: int) -> tuple[Strip, ...]:
    """What each stretch of ``size`` of the last layer's result needs of every map."""
    whole = axis.extents[work.layers[-1].target]
    covered = dict.fromkeys(work.saved, 0)
    return tuple(
        _stretch(work, axis, min(whole, first + size), covered) for first in range(0, whole, size)
    )


def _stretch(work: Work, axis: Axis, end: int, covered: dict[str, int]) -> Strip:
    """The stretch up to ``end``; ``covered`` tells how far saved maps are done."""
    whole = axis.extents[work.layers[-1].target]
    needs: dict[str, Lines] = {}
    for layer in reversed(work.layers):
        name = layer.target
        if name in work.saved:
            extent = axis.extents[name]
            share = end if name == work.layers[-1].target else -(-extent * end // whole)
            if name in needs:
                share = 0
            _need(axis, needs, name, covered[name], extent if end == whole else share)
        if name not in needs:
            continue
        if name in work.saved:
            covered[name] = max(covered[name], needs[name][1])
        first, last = needs[name]
        _need(axis, needs, layer.source, *_source(axis, layer, first, last))
        if layer.residual:
            _need(axis, needs, layer.residual.tensor, first, last)
    return needs


def _need(axis: Axis, needs: dict[str, Lines], name: str, first: int, last: int) -> None:
    """Add to what is needed of a map, rounded to where it can begin and end."""
    step, extent = axis.steps[name], axis.extents[name]
    if name in needs:
        first, last = min(first, needs[name][0]), max(last, needs[name][1])
    if last > first:
        needs[name] = first // step * step, min(extent, -(-last // step) * step)


def _source(axis: Axis, layer: Layer, first: int, last: int) -> Lines:
    """What taps read, and the line that an instruction's source begins with."""
    offsets, stride = axis.offsets(layer), layer.strides[axis.number]
    extent = axis.extents[layer.source]
    low = min(max(0, stride * first + min(0, *offsets)), extent - 1)
    return low, max(low + 1, min(extent, stride * (last - 1) + max(offsets) + 1))
