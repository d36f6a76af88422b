"""Cutting work into passes: samples of a batch one after another, a first layer into row tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd, lcm

from codesign.arch import Arch
from codesign.compiler.by_line import runs
from codesign.compiler.layout import Storage, grid_width
from codesign.compiler.network import Layer, Network
from codesign.cost.cycles import (
    calc_slots,
    fetch_cycles,
    load_cycles,
    load_latency,
    pipeline_cycles,
    save_cycles,
)

DRAM_ALIGNMENT = 16
"""Offsets and strides of a transfer are multiples of it (``isa``)."""
_MOST_TILES = 6
_GROWTH = (1 / 3, 1 / 2, 2 / 3, 1.0, 1.5, 2.0, 3.0)
"""Ratios of successive tiles that are tried: growing ones suit a LOAD, shrinking ones a SAVE."""


@dataclass(frozen=True)
class Pass:
    """A layer for one sample, or for the whole batch where ``sample`` is None."""

    layer: Layer
    sample: int | None


@dataclass(frozen=True)
class Tile:
    """Grid lines [first, last) of a layer, its output lines but where it upsamples; they need
    source lines (of a phase plane where it is split) up to ``source_last``, exclusive."""

    first: int
    last: int
    source_last: int


def passes(network: Network, chunk: int) -> tuple[Pass, ...]:
    """The order of execution. Layers on maps run for ``chunk`` samples in turn before the next
    layer does, so that no more than a chunk's maps are in memory; layers on 1 by 1 maps take the
    batch at once."""
    order: list[Pass] = []
    stretch: list[Layer] = []

    def unroll() -> None:
        for first in range(0, network.batch, chunk):
            samples = range(first, min(first + chunk, network.batch))
            order.extend(Pass(at, sample) for at in stretch for sample in samples)
        stretch.clear()

    for layer in network.layers:
        if network.together(layer):
            unroll()
            order.append(Pass(layer, None))
        else:
            stretch.append(layer)
    unroll()
    return tuple(order)


def chunks(network: Network, arch: Arch, storages: Mapping[str, Storage]) -> tuple[int, ...]:
    """Numbers of samples to take in turn, best first: with so many, one sample's layer is out of
    the pipeline before the next layer needs it."""
    work = [
        sum(calc_slots(arch, count, len(block.taps)) for block in layer.blocks)
        for layer in network.layers
        if not network.together(layer) and (count := _groups_of(network, arch, storages, layer))
    ]
    if not work:
        return (1,)
    count = min(network.batch, 1 + -(-pipeline_cycles(arch) // min(work)))
    found = [count]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return tuple(found)


def _groups_of(network: Network, arch: Arch, storages: Mapping[str, Storage], layer: Layer) -> int:
    height, width = network.grid(layer)
    if layer.step:
        line = runs(arch, layer, layer.blocks[0], (0, 1), width)
        return height * sum(run.groups(arch) for run in line)
    return groups(arch, height, width, grid_width(network, arch, storages, layer))


def whole(network: Network, storages: Mapping[str, Storage], layer: Layer) -> Tile:
    """All lines of a layer."""
    height = 1 if network.together(layer) else network.grid(layer)[0]
    return Tile(0, height, storages[layer.source].lines)


def groups(arch: Arch, lines: int, columns: int, pitch: int) -> int:
    """Groups of P grid pixels that hold ``lines`` of ``columns`` outputs."""
    return -(-((lines - 1) * pitch + columns) // arch.pixels)


@dataclass(frozen=True)
class _Cutter:
    """Weighs row tiles of one layer: while one is computed, the next is loaded, the last saved."""

    network: Network
    arch: Arch
    source: Storage
    target: Storage
    layer: Layer
    pitch: int
    height: int
    loading: bool
    saving: bool

    @property
    def columns(self) -> int:
        return self.network.grid(self.layer)[1]

    def cut(self, ends: Sequence[int]) -> tuple[Tile, ...]:
        source = self.source
        return tuple(
            Tile(
                first,
                last,
                source.lines
                if last == self.height
                else _needed(self.arch, source, self.layer, last),
            )
            for first, last in zip((0, *ends[:-1]), ends, strict=True)
        )

    def weigh(self, plan: tuple[Tile, ...]) -> int:
        """Cycle in which the layer is done, plus the cycles in which CALC, once it has begun, waits
        for a LOAD: a plan with such waits leans on a DRAM that is as fast as assumed."""
        arch, source = self.arch, self.source
        loaded = load_latency()
        done = saved = lines = waits = 0
        instructions = len(self.layer.blocks) * (2 if self.saving else 1) + 1
        for tile in plan:
            pixels = max(0, tile.source_last - lines) * source.pitch
            rows = source.planes * source.phases
            if self.loading and pixels:
                loaded += load_cycles(arch, rows, pixels) + fetch_cycles(arch, instructions)
            lines = max(lines, tile.source_last)
            waits += max(0, loaded - done) if done else 0
            done = max(done, loaded)
            height = tile.last - tile.first
            count = groups(arch, height, self.columns, self.pitch)
            for block in self.layer.blocks:
                done += calc_slots(arch, count, len(block.taps))
                if self.saving:
                    words = height * self.target.pitch
                    saved = max(saved, done) + save_cycles(arch, block.planes, words)
        return max(done, saved) + waits


def tiles(
    network: Network,
    arch: Arch,
    storages: Mapping[str, Storage],
    layer: Layer,
    *,
    loading: bool,
    saving: bool,
) -> tuple[Tile, ...]:
    """Row tiles of a layer whose source is being loaded or whose result is to be saved: those with
    which it is done first, by the closed forms of ``codesign.cost``; of equal ones the first."""
    source, target = storages[layer.source], storages[layer.target]
    height = whole(network, storages, layer).last
    if layer.step:  # its result may be saved by plane, its source is small where it is not streamed
        return (whole(network, storages, layer),)
    pitch = grid_width(network, arch, storages, layer)
    step = arch.pixels // gcd(arch.pixels, pitch)  # lines that fill whole groups
    if saving:
        step = lcm(step, line_unit(arch, target))
    if 2 * step > height:
        step = line_unit(arch, target) if saving else 1
    cutter = _Cutter(network, arch, source, target, layer, pitch, height, loading, saving)
    plans = dict.fromkeys(cutter.cut(ends) for ends in cuts(height, step))
    return min(plans, key=lambda plan: (cutter.weigh(plan), len(plan)))


def line_unit(arch: Arch, storage: Storage) -> int:
    """Lines of a map after which a transfer can start."""
    line_bytes = storage.pitch * arch.act_word_bytes
    return DRAM_ALIGNMENT // gcd(DRAM_ALIGNMENT, line_bytes)


def cuts(height: int, step: int) -> list[tuple[int, ...]]:
    """Ends of tiles to try: geometric series, cut at multiples of ``step``."""
    found: list[tuple[int, ...]] = [(height,)]
    for count in range(2, _MOST_TILES + 1):
        for growth in _GROWTH:
            weights = [growth**i for i in range(count)]
            ends: list[int] = []
            reach = 0.0
            for weight in weights[:-1]:
                reach += weight * height / sum(weights)
                end = max(1, round(reach / step)) * step
                if end < height and (not ends or end > ends[-1]):
                    ends.append(end)
            found.append((*ends, height))
    return found


def _needed(arch: Arch, source: Storage, layer: Layer, last: int) -> int:
    """Source lines that output lines up to ``last`` need, cut where a LOAD can start."""
    below = max(tap.oy // layer.stride for block in layer.blocks for tap in block.taps)
    unit = line_unit(arch, source)
    lines = max(1, last + below)
    return min(source.lines, -(-lines // unit) * unit)
