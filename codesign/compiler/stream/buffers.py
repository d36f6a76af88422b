"""Where the maps of a group lie on chip while a strip runs.

Maps that come from DRAM have two copies, so that a strip is loaded while the one before is
computed. Of maps that are written and saved, or passed on, plane by plane a few planes are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from codesign.compiler.allocate import Place
from codesign.compiler.by_line import runs
from codesign.compiler.layout import PHASES, Storage, grid_width
from codesign.compiler.network import Layer
from codesign.compiler.stream.work import Strip, Work
from codesign.compiler.tile import groups
from codesign.isa import Mode
from codesign.latency import calc_interval

_BEAM = 12
_AT_ONCE = 16.0
"""How much worse it is to want a port at once than by turns."""
_PASSED = 2
"""Blocks of a map that the next layer reads plane by plane."""


@dataclass(frozen=True)
class Buffer:
    """Room for a strip of a map: ``kept`` of its planes, plane p in place of p mod ``kept``."""

    name: str
    storage: Storage
    kept: int
    copies: int

    @property
    def rows(self) -> int:
        return self.kept * self.storage.plane_rows


@dataclass(frozen=True)
class Demand:
    """Cycles in a group in which a map's buffers are read and written by CALC, and by DMA."""

    read: int
    write: int


Placement = Mapping[tuple[str, int], Place]
"""Of each copy of each buffer."""


def buffers(
    work: Work, strips: Sequence[Strip], copies: int, blocks: int, by_block: int
) -> tuple[Buffer, ...]:
    """What a group needs. ``blocks``: as many of a map that is saved, or loaded, plane by plane are
    kept. ``by_block``: all strips of so many samples run for a block before the next block does, so
    that every strip of a source has its own copy, and results are kept for a few blocks only."""
    names = (*work.external, *(layer.target for layer in work.layers))
    found = []
    for name in names:
        lines = max(
            (strip_lines(work, strip, name) for strip in strips if name in strip), default=0
        )
        if not lines:
            continue
        storage, lanes = work.storages[name], work.arch.pixels
        storage = replace(storage, phase_rows=storage.phase_rows_of(lines, lanes))
        kept = _kept(work, name, blocks)
        number = copies if name in work.external and kept == storage.planes else 1
        found.append(Buffer(name, storage, kept, len(strips) * by_block or number))
    return tuple(found)


def strip_lines(work: Work, strip: Strip, name: str) -> int:
    """Lines of a map that are on chip during a strip, of a phase plane where it is split."""
    first, last = strip[name]
    return -(-last // 2) - first // 2 if work.storages[name].split else last - first


def _kept(work: Work, name: str, blocks: int) -> int:
    """Planes of a map that are on chip at a time."""
    planes, unit = work.storages[name].planes, work.arch.planes
    if name in work.passing:
        return min(planes, _PASSED * unit)
    readers = [layer for layer in work.layers if name in layer.reads]
    if name in work.external:
        by_plane = all(at.source != name or at.mode is not Mode.DENSE for at in readers)
        return min(planes, blocks * unit) if by_plane and len(readers) == 1 else planes
    return planes if readers else min(planes, blocks * unit)


def place(work: Work, strips: Sequence[Strip], wanted: Sequence[Buffer]) -> Placement | None:
    """Regions and rows for all buffers, so that units seldom want a port at once; None where they
    do not fit."""
    demands = demand(work, strips)
    items = sorted(
        ((at, copy) for at in wanted for copy in range(at.copies)), key=lambda item: -item[0].rows
    )
    lives = _lives(work, len(strips) > 1)
    rivals = {
        frozenset((layer.source, layer.residual.tensor)) for layer in work.layers if layer.residual
    }
    at_once = _at_once(work, {at.name for at in wanted if at.kept < at.storage.planes}, demands)
    nothing = (0.0,) * work.arch.regions
    beam = [_State(0.0, 0.0, {}, nothing, nothing)]
    for item in items:
        grown = [
            after
            for state in beam
            for after in _grow(work, state, item, lives, rivals, at_once, demands)
        ]
        beam = sorted(grown, key=lambda state: state.cost)[:_BEAM]
        if not beam:
            return None
    return {(at.name, copy): place for (at, copy), place in beam[0].places.items()}


@dataclass(frozen=True)
class _State:
    cost: float
    clashes: float
    places: Mapping[tuple[Buffer, int], Place]
    reads: tuple[float, ...]
    writes: tuple[float, ...]


def _grow(
    work: Work,
    state: _State,
    item: tuple[Buffer, int],
    lives: Mapping[str, tuple[int, int]],
    rivals: set[frozenset[str]],
    at_once: Mapping[frozenset[str], float],
    demands: Mapping[str, Demand],
) -> Iterator[_State]:
    buffer, _ = item
    for region in range(work.arch.regions):
        inside = [(at, place) for (at, _), place in state.places.items() if place.region == region]
        if any(frozenset((buffer.name, at.name)) in rivals for at, _ in inside):
            continue
        life = lives[buffer.name]
        taken = sorted(
            (place.row, place.row + at.rows)
            for at, place in inside
            if lives[at.name][0] <= life[1] and life[0] <= lives[at.name][1]
        )
        free = 0
        for first, last in (*taken, (work.arch.act_depth, 0)):
            if first - free >= buffer.rows:
                break
            free = max(free, last)
        else:
            continue
        share = demands[buffer.name]
        reads, writes = list(state.reads), list(state.writes)
        reads[region] += share.read / buffer.copies
        writes[region] += share.write / buffer.copies
        clashes = state.clashes + sum(
            at_once.get(frozenset((buffer.name, at.name)), 0.0) / buffer.copies / at.copies
            for at, _ in inside
        )
        places = {**state.places, item: Place(region, free)}
        cost = _cost(reads, writes) + clashes
        yield _State(cost, clashes, places, tuple(reads), tuple(writes))


def _at_once(
    work: Work, partly: set[str], demands: Mapping[str, Demand]
) -> Mapping[frozenset[str], float]:
    """What it costs that two maps share a region: those that are loaded and written, or read and
    saved, while the same layer runs, for a few planes of one are on chip only."""
    found: dict[frozenset[str], float] = {}
    for number, layer in enumerate(work.layers):
        sources = [layer.source]
        if number and work.layers[number - 1].target in work.passing:
            sources.append(work.layers[number - 1].source)
        if layer.target in work.saved & partly:
            for source in sources:
                weight = _AT_ONCE * demands[source].read * demands[layer.target].read
                found[frozenset((source, layer.target))] = weight
        for name in partly.intersection(layer.reads) & set(work.external):
            weight = _AT_ONCE * demands[name].write * demands[layer.target].write
            found[frozenset((name, layer.target))] = weight
    return found


def _cost(reads: Sequence[float], writes: Sequence[float]) -> float:
    """Squares: ports that are wanted by turns cost less than one that is wanted always."""
    return sum(value * value for value in (*reads, *writes))


def _lives(work: Work, several: bool) -> Mapping[str, tuple[int, int]]:
    """Layers from the first to the last during which a map must stay; where there are several
    strips, a map is saved while the next strip begins."""
    last = len(work.layers)
    lives: dict[str, tuple[int, int]] = dict.fromkeys(work.external, (-1, last))
    for number, layer in enumerate(work.layers):
        end = max((i for i, at in enumerate(work.layers) if layer.target in at.reads), default=last)
        if layer.target in work.passing:
            lives[layer.target] = number, end
        else:
            saved = layer.target in work.saved
            lives[layer.target] = -1 if saved and several else number, last if saved else end
    return _interleaved(work, lives)


def _interleaved(work: Work, lives: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
    """Layers that pass planes on run at once: what one needs must outlive the other."""
    partner = {
        number: number + 1
        for number, layer in enumerate(work.layers)
        if layer.target in work.passing
    }
    back = {after: before for before, after in partner.items()}
    return {
        name: (back.get(first, first), partner.get(last, last))
        for name, (first, last) in lives.items()
    }


def demand(work: Work, strips: Sequence[Strip]) -> Mapping[str, Demand]:
    """Cycles in which the ports of a map's buffers are wanted, over all strips."""
    read: dict[str, int] = {}
    write: dict[str, int] = {}
    for strip in strips:
        for layer in work.layers:
            if layer.target in strip:
                count = layer_groups(work, layer, strip)
                taps = sum({at.plane: len(at.taps) for at in layer.blocks}.values())
                pixels = count * work.arch.pixels * work.storages[layer.target].planes
                read[layer.source] = read.get(layer.source, 0) + count * taps
                write[layer.target] = write.get(layer.target, 0) + pixels // work.arch.drain
                if layer.residual:
                    name = layer.residual.tensor
                    read[name] = read.get(name, 0) + pixels // work.arch.drain
        for name in work.external:
            write[name] = write.get(name, 0) + map_words(work, strip, name)
        for name in work.saved:
            read[name] = read.get(name, 0) + map_words(work, strip, name)
    names = {*read, *write}
    return {name: Demand(read.get(name, 0), write.get(name, 0)) for name in names}


def layer_groups(work: Work, layer: Layer, strip: Strip) -> int:
    """Groups of all blocks of a layer in a strip that have the same planes."""
    first, last = strip[layer.target]
    if layer.step:
        width = work.network.shapes[layer.target][2]
        whole = replace(layer.blocks[0], lines=None, columns=None)
        line = runs(work.arch, layer, whole, (first, first + 1), width)
        return (last - first) * sum(run.groups(work.arch) for run in line)
    together = work.network.together(layer)
    columns = work.network.batch if together else work.network.shapes[layer.target][2]
    pitch = grid_width(work.network, work.arch, work.storages, layer)
    return groups(work.arch, last - first, columns, pitch)


def slots(work: Work, layer: Layer) -> int:
    """Cycles that a group of all blocks of a layer takes, those of the same planes counted once."""
    by_plane = {block.plane: len(block.taps) for block in layer.blocks}
    return sum(calc_interval(work.arch, taps) for taps in by_plane.values())


def map_words(work: Work, strip: Strip, name: str) -> int:
    """Words that a transfer of a strip of a map moves."""
    if name not in strip:
        return 0
    storage = work.storages[name]
    phases = PHASES if storage.split else 1
    if name in work.external:
        phases = len(work.phases[name])
    return storage.planes * phases * strip_lines(work, strip, name) * storage.pitch
