"""A group of layers that runs depth-first in strips, and the lines of its maps that a strip needs.

As in patch-based inference (Lin et al., "MCUNetV2", NeurIPS 2021, arXiv 2110.15352): for each strip
of the group's result the lines that every layer needs are followed backwards; lines that two strips
need are computed twice, so that no map between the layers leaves the chip.
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
"""Lines [first, last) of a map."""
Strip = Mapping[str, Lines]
"""Lines of each map, read or written, that are on chip during a strip."""


@dataclass(frozen=True, eq=False)
class Work:
    """Layers that follow each other. ``saved``: maps written here and read elsewhere, or outputs.

    ``network`` has the batch that the layers take at once: 1 where samples follow each other.
    """

    network: Network
    arch: Arch
    storages: Mapping[str, Storage]
    layers: tuple[Layer, ...]
    saved: frozenset[str]

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
        names = (*self.external, *(layer.target for layer in self.layers))
        return {name: self._step(name) for name in names}

    def _step(self, name: str) -> int:
        storage = self.storages[name]
        lines = 2 if storage.split else 1
        if (name in self.saved or name in self.external) and not self.network.is_vector(name):
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
    whole = work.height(work.layers[-1].target)
    covered = dict.fromkeys(work.saved, 0)
    return tuple(
        _strip(work, min(whole, first + height), covered) for first in range(0, whole, height)
    )


def _strip(work: Work, end: int, covered: dict[str, int]) -> Strip:
    """Lines of the strip that ends at ``end``; ``covered`` tells how far saved maps are done."""
    whole = work.height(work.layers[-1].target)
    needs: dict[str, Lines] = {}
    for layer in reversed(work.layers):
        name = layer.target
        if name in work.saved:
            height = work.height(name)
            share = end if name == work.layers[-1].target else -(-height * end // whole)
            if name in needs:
                share = 0
            _need(work, needs, name, covered[name], height if end == whole else share)
        if name not in needs:
            continue
        if name in work.saved:
            covered[name] = max(covered[name], needs[name][1])
        first, last = needs[name]
        _need(work, needs, layer.source, *_source_lines(work, layer, first, last))
        if layer.residual:
            _need(work, needs, layer.residual.tensor, first, last)
    return needs


def _need(work: Work, needs: dict[str, Lines], name: str, first: int, last: int) -> None:
    """Add lines to those of a map, rounded to where a strip can begin and end."""
    step, height = work.steps[name], work.height(name)
    if name in needs:
        first, last = min(first, needs[name][0]), max(last, needs[name][1])
    if last > first:
        needs[name] = first // step * step, min(height, -(-last // step) * step)


def _source_lines(work: Work, layer: Layer, first: int, last: int) -> Lines:
    """Lines that taps read, and the one that an instruction's source begins with."""
    offsets = [tap.oy for block in layer.blocks for tap in block.taps]
    height = work.height(layer.source)
    low = min(max(0, layer.stride * first + min(0, *offsets)), height - 1)
    return low, max(low + 1, min(height, layer.stride * (last - 1) + max(offsets) + 1))
