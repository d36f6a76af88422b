"""Which layers run as a group, in strips of how many lines, on panels of how many columns: the
quickest by closed forms.

Dynamic programming over runs of layers that follow each other; of plans that take about equal time
the one that moves fewer bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, lcm

from codesign.arch import Arch
from codesign.compiler.layout import Storage, grid_width
from codesign.compiler.network import Layer, Network
from codesign.compiler.stream.buffers import (
    Placement,
    buffers,
    demand,
    layer_groups,
    map_words,
    place,
    slots,
    strip_lines,
)
from codesign.compiler.stream.panels import can_be_cut, panels, step
from codesign.compiler.stream.tasks import SAVE_BEATS, Group
from codesign.compiler.stream.turn import turned
from codesign.compiler.stream.work import Strip, Work, strips
from codesign.cost.cycles import fetch_cycles, load_latency, pipeline_cycles, save_cycles
from codesign.errors import CapacityError
from codesign.isa import Mode
from codesign.reference.memory import depthwise_words

_MOST_LAYERS = 6
_COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 19, 23, 28, 37, 56, 112)
"""Numbers of strips that are tried, besides strips of as few lines as there can be."""
_TRIED = 3
"""Heights of strips that are weighed, of those that fit: the highest."""
_KEPT = (4, 2)
"""Blocks that are kept of a map that is saved, or loaded, plane by plane."""
_ROW = 8
"""About the cycles lost to a row of a transfer."""
_PANELS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
"""Numbers of panels that are tried."""
_MOST_IN_PANELS = 3
"""Layers of a group that is tried on panels where it does not fit on whole lines."""
_SLOW = 1.3
"""How many times its least cycles a group may take before it is tried on panels."""
_MOST_AT_ONCE = 8
"""Strips of all samples that run block by block."""
_RESIDENT = 0.95
"""Share of the weight memory that a group's weights may fill to stay there: a ring has a rest."""

_BEAT = 1 / 64
"""Cycles that a beat is worth while the bus is free: plans of about equal time differ in traffic,
and in what closed forms do not see of it."""

Cost = tuple[float, int]
"""Cycles, and beats of DRAM traffic."""


def _rank(cost: Cost) -> float:
    return cost[0] + cost[1] * _BEAT


@dataclass(frozen=True)
class Context:
    """What the choice is about. Layers on 1 by 1 maps take the ``whole`` batch at once."""

    arch: Arch
    single: Network
    whole: Network
    single_storages: Mapping[str, Storage]
    whole_storages: Mapping[str, Storage]
    kept: frozenset[str]
    """Maps that must be saved whoever reads them."""

    def work(self, first: int, last: int) -> Work | None:
        """Layers [first, last), None where they cannot be a group."""
        layers = self.whole.layers[first:last]
        together = {self.whole.together(layer) for layer in layers}
        if len(together) > 1:
            return None
        later = {name for layer in self.whole.layers[last:] for name in layer.reads}
        saved = frozenset(
            layer.target for layer in layers if layer.target in later or layer.target in self.kept
        )
        if True in together:
            return Work(self.whole, self.arch, self.whole_storages, layers, saved)
        return Work(self.single, self.arch, self.single_storages, layers, saved)


def choose(context: Context) -> tuple[Group, ...]:
    """The groups, in order.

    Raises
    ------
    CapacityError
        A layer's smallest strip does not fit on the chip.
    """
    count = len(context.whole.layers)
    best: list[tuple[Cost, tuple[Group, ...]] | None] = [((0.0, 0), ())]
    best += [None] * count
    refused: Work | None = None
    for first in range(count):
        before = best[first]
        if before is None:
            continue
        for last in range(first + 1, min(count, first + _MOST_LAYERS) + 1):
            work = context.work(first, last)
            if work is None:
                break
            found = min(_ways(context, work), key=lambda at: _rank(at[0]), default=None)
            if found is None:
                refused = refused or (work if last == first + 1 else None)
                continue
            (cycles, beats), groups = found
            total = before[0][0] + cycles, before[0][1] + beats
            known = best[last]
            if known is None or _rank(total) < _rank(known[0]):
                best[last] = total, (*before[1], *groups)
    chosen = best[count]
    if chosen is None:
        if refused is None:
            raise AssertionError("every layer is a group of its own, or has been refused")
        raise CapacityError(_too_large(refused))
    return turned(context.arch, chosen[1], context.whole.batch)


def too_wide(network: Network, arch: Arch, storages: Mapping[str, Storage]) -> frozenset[str]:
    """Maps of layers of which not even the lowest strip fits. ``network``: of one sample."""
    found = set[str]()
    for layer in network.layers:
        if not network.together(layer):
            work = Work(network, arch, storages, (layer,), frozenset({layer.target}))
            if _placed(work, _lowest(work), 1, _KEPT[-1], 0) is None:
                found |= {name for name in work.names if not network.is_vector(name)}
    return frozenset(found)


def _lowest(work: Work) -> tuple[Strip, ...]:
    """Strips of as few lines as there can be."""
    target = work.layers[-1].target
    return strips(work, min(work.steps[target], work.height(target)))


def _ways(context: Context, work: Work) -> Iterator[tuple[Cost, tuple[Group, ...]]]:
    """Ways to run layers as a group, each with its cost: on whole lines, or on panels."""
    least = None
    for cost, group in _candidates(context, work):
        least = cost[0] if least is None else min(least, cost[0])
        yield cost, (group,)
    if _worth_panels(work, least):
        yield from _by_panels(context, work)


def _worth_panels(work: Work, cycles: float | None) -> bool:
    """Whether panels are weighed. They add transfers, so that they pay where lines do not fit, or
    where strips are so low that the lines around them are loaded and computed many times."""
    if not can_be_cut(work):
        return False
    if cycles is None:
        return len(work.layers) <= _MOST_IN_PANELS
    target = work.layers[-1].target
    whole = {name: (0, work.height(name)) for name in work.names}
    least = sum(layer_groups(work, layer, whole) * slots(work, layer) for layer in work.layers)
    return work.storages[target].lines > 1 and cycles > _SLOW * least


def _by_panels(context: Context, work: Work) -> Iterator[tuple[Cost, tuple[Group, ...]]]:
    """The group on panels of several widths, the widest that fit; a single one has shorter lines on
    the chip than in DRAM, where they begin at what a transfer can start at."""
    width, unit = work.storages[work.layers[-1].target].width, step(work)
    tried = set[int]()
    fitting = 0
    for count in _PANELS:
        size = min(width, -(-width // (count * unit)) * unit)
        if size in tried:
            continue
        tried.add(size)
        found = _on_panels(context, panels(work, size))
        if found:
            yield found
            fitting += 1
        if fitting == _TRIED:
            return


def _on_panels(context: Context, works: Sequence[Work]) -> tuple[Cost, tuple[Group, ...]] | None:
    """The best groups of all panels; those of one shape are alike."""
    cycles, beats = 0.0, 0
    groups: list[Group] = []
    known: dict[object, tuple[Cost, Group] | None] = {}
    for work in works:
        shape = bool(work.panel), _shape(work)
        if shape not in known:
            ways = _candidates(context, work)
            known[shape] = min(ways, key=lambda at: _rank(at[0]), default=None)
        found = known[shape]
        if found is None:
            return None
        cost, group = found
        cycles, beats = cycles + cost[0], beats + cost[1]
        groups.append(replace(group, work=work))
    return ((cycles, beats), tuple(groups)) if groups else None


def _shape(work: Work) -> object:
    """What the strips of a panel and their places follow from."""
    columns = work.columns or {}
    widths = tuple((name, last - first) for name, (first, last) in columns.items())
    offsets = tuple((layer.blocks[0].taps[0].ox) for layer in work.layers)
    return widths, offsets


def _candidates(context: Context, work: Work) -> Iterator[tuple[Cost, Group]]:
    """Heights of strips for a group, each with its cost."""
    found = 0
    for height in _heights(work):
        cut = strips(work, height)
        several = len(cut) * context.whole.batch > 1 or work.columns is not None
        for copies, kept in product((2, 1) if several else (1,), _KEPT):
            group = _placed(work, cut, copies, kept, 0)
            if group:
                found += 1
                yield _cost(context, group, copies), _used(context, group)
                break
        for at_once in _at_once(context, work, len(cut)):
            group = _placed(work, cut, 1, _KEPT[0], at_once)
            if group:
                yield _cost(context, group, 1), group
        if found == _TRIED:
            return


def _at_once(context: Context, work: Work, count: int) -> Iterator[int]:
    """Numbers of samples whose strips, ``count`` each, are tried block by block: weights are then
    loaded once for all of them."""
    if len(work.layers) > 1:
        return
    yield from (1,) if 1 < count <= work.arch.regions else ()
    if not _stays(work):
        most = min(work.samples(context.whole.batch), _MOST_AT_ONCE // count)
        yield from range(2, most + 1)


def _stays(work: Work) -> bool:
    """Whether a group's weights fit on the chip."""
    return _weights(work)[0] * work.arch.beat_bytes <= _RESIDENT * work.arch.wgt_bytes


def _used(context: Context, group: Group) -> Group:
    """A group without the second copies that a single strip does not use: on a panel, there was
    room for them so that the next panel can be loaded meanwhile."""
    if len(group.strips) * context.whole.batch > 1:
        return group
    buffers = tuple(replace(at, copies=1) for at in group.buffers)
    places: Placement = {key: place for key, place in group.places.items() if not key[1]}
    return replace(group, buffers=buffers, places=places)


def _placed(
    work: Work, cut: tuple[Strip, ...], copies: int, kept: int, by_block: int
) -> Group | None:
    wanted = buffers(work, cut, copies, kept, by_block)
    rows = sum(at.rows * at.copies for at in wanted)
    passing = sum(at.rows for at in wanted if at.name in work.passing)
    least = max((at.rows for at in wanted), default=0)
    if least > work.arch.act_depth or (
        len(work.layers) <= 2 and rows - passing > work.arch.regions * work.arch.act_depth
    ):
        return None
    places = place(work, cut, wanted)
    return None if places is None else Group(work, cut, wanted, places, by_block)


def _heights(work: Work) -> Iterator[int]:
    """Lines of a strip, the most first: all of them, multiples that leave no lane idle, any."""
    layer = work.layers[-1]
    height, step = work.height(layer.target), work.steps[layer.target]
    pitch = grid_width(work.network, work.arch, work.storages, layer)
    full = lcm(step, work.arch.pixels // gcd(work.arch.pixels, pitch))
    tried = set[int]()
    for count in _COUNTS:
        for unit in (full, step):
            lines = -(-height // (count * unit)) * unit
            tried.add(min(height, lines))
            lines = height // count // unit * unit
            if lines:
                tried.add(lines)
    yield from sorted(tried | {min(height, step)}, reverse=True)


def _cost(context: Context, group: Group, copies: int) -> Cost:
    """Cycles: of each strip the longest of computing, reading and writing, where a second copy of
    its maps lets them go on at once."""
    work, arch = group.work, group.work.arch
    samples = work.samples(context.whole.batch)
    instances = len(group.strips) * samples
    weights, instructions = _weights(work)
    loaded = weights
    if _stays(work):
        loaded = 0 if work.panel else weights  # the panel before has loaded them
    elif group.by_block:
        loaded *= -(-samples // group.by_block)
    else:
        loaded *= instances
    blocks = sum(len(layer.blocks) for layer in work.layers)
    saves = sum(len(layer.blocks) for layer in work.layers if layer.target in work.saved)
    fetched = fetch_cycles(arch, blocks + saves + 2)
    cycles = traffic = 0.0
    for strip in group.strips:
        compute = sum(
            _layer_cycles(group, layer, strip) for layer in work.layers if layer.target in strip
        )
        reads, writes = _moved(work, strip)
        traffic += samples * (reads + writes)
        reads += int(loaded / instances) + fetched + _ROW * (instructions // instances)
        alone = copies == 1 and not group.by_block and (instances > 1 or work.columns is not None)
        longest = max(compute + reads, writes) if alone else max(compute, reads, writes)
        cycles += samples * longest
    cycles = max(cycles, _ports(group, samples))
    source = work.storages[work.layers[0].source]
    first = map_words(work, group.strips[0], work.layers[0].source)
    fill = load_latency() + pipeline_cycles(arch)
    if instances == 1:
        fill += min(first, 2 * first // source.planes + _ROW)
    return cycles + fill, int(traffic) + loaded


def _layer_cycles(group: Group, layer: Layer, strip: Strip) -> int:
    """Cycles of a layer in a strip: it waits for maps of which a few planes at a time are on chip
    to be loaded or saved."""
    work = group.work
    partly = {at.name for at in group.buffers if at.kept < at.storage.planes}
    cycles = layer_groups(work, layer, strip) * slots(work, layer)
    for name in partly.intersection(layer.reads) & set(work.external):
        cycles = max(cycles, _beats(work, strip, name) + _ROW * _rows(work, strip, name))
    if layer.target in work.saved & partly:
        beats = _beats(work, strip, layer.target)
        saves = min(len(layer.blocks), 1 + beats // SAVE_BEATS)
        cycles = max(cycles, beats + saves * save_cycles(work.arch, 0, 0))
    return cycles


def _beats(work: Work, strip: Strip, name: str) -> int:
    words = map_words(work, strip, name) * work.arch.act_word_bytes
    return -(-words // work.arch.beat_bytes)


def _moved(work: Work, strip: Strip) -> tuple[int, int]:
    """Beats of maps read and written in a strip."""
    reads = sum(
        _beats(work, strip, name) + _ROW * _rows(work, strip, name) for name in work.external
    )
    return reads, sum(_beats(work, strip, name) for name in work.saved)


def _rows(work: Work, strip: Strip, name: str) -> int:
    """Rows of the transfers that load a strip of a map."""
    rows = work.storages[name].planes * len(work.phases[name])
    if work.columns and name in strip:
        rows *= strip_lines(work, strip, name)
    return rows


def _weights(work: Work) -> tuple[int, int]:
    """Beats of weights and parameters of a group, and the LOADs that bring them."""
    arch = work.arch
    size = 0
    for layer in work.layers:
        for block in layer.blocks:
            words = len(block.taps) if layer.mode is Mode.DENSE else 0
            if layer.mode is Mode.DEPTHWISE:
                words = depthwise_words(arch, len(block.taps))
            size += words * arch.wgt_word_bytes + block.planes * arch.param_word_bytes
    return size // arch.beat_bytes, 2 + size // 4096


def _ports(group: Group, samples: int) -> float:
    """Cycles in which the busiest port is wanted."""
    demands = demand(group.work, group.strips)
    reads = [0.0] * group.work.arch.regions
    writes = [0.0] * group.work.arch.regions
    for at in group.buffers:
        share = demands[at.name]
        for copy in range(at.copies):
            region = group.places[at.name, copy].region
            reads[region] += share.read / at.copies
            writes[region] += share.write / at.copies
    return samples * max(*reads, *writes)


def _too_large(work: Work) -> str:
    (layer,) = work.layers
    narrow = panels(work, step(work)) if can_be_cut(work) else ()
    work = narrow[len(narrow) // 2] if narrow else work
    wanted = buffers(work, _lowest(work), 1, _KEPT[-1], 0)
    needs = ", ".join(f"{at.name!r} {at.rows}" for at in wanted)
    lines = work.steps[layer.target]
    unit = "one line" if lines == 1 else f"{lines} lines"
    if work.columns:
        first, last = work.columns[layer.target]
        unit += f" by {last - first} columns"
    arch, batch = work.arch, work.network.batch
    shrink = "make the maps narrower or with fewer channels"
    if batch > 1:
        unit += f" of the {batch} samples of the batch, which 1 by 1 maps take at once,"
        shrink = "compile for a smaller batch"
    return (
        f"{layer.where}: a strip of {unit} needs rows of {arch.pixels} pixels for maps {needs}; "
        f"the architecture has {arch.regions} regions of {arch.act_depth}; raise act_depth to "
        f"{max(at.rows for at in wanted)} or more, or {shrink}"
    )
