"""Where each map lies: region and first row, by the time from its first write to its last read.

Regions are chosen by a beam search over maps in order of time. Which maps had better lie apart is a
list of pairs with weights, about the cycles lost; rows are the lowest or highest that are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from codesign.arch import Arch
from codesign.compiler.layout import Storage
from codesign.compiler.network import Network
from codesign.compiler.tile import Pass
from codesign.errors import CapacityError

Key = tuple[str, int | None]
"""A map and the sample it is of; None for the 1 by 1 maps, which hold the whole batch."""

_BEAM = 48
NEVER = 1 << 40
"""Weight of a pair that cannot share a region: one port cannot read two pixels in a cycle."""
FENCE = 60
"""Cycles lost when a CALC must wait for the residual reads of the one before."""
LOADING = 200
"""Cycles lost when CALC writes to the region that LOAD fills."""
SAVING = 20
"""Cycles lost when CALC reads from the region that SAVE empties."""


@dataclass(frozen=True)
class Life:
    """Steps (indices of passes) from the first write to the last access, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True)
class Place:
    region: int
    row: int


@dataclass(frozen=True)
class Lives:
    """Lifetimes of all maps; ``loads`` tells before which pass an input is loaded."""

    of: Mapping[Key, Life]
    loads: Mapping[Key, int]


def key(network: Network, tensor: str, sample: int | None) -> Key:
    return tensor, None if network.is_vector(tensor) else sample


class Prefetch(IntEnum):
    """When the input of a batch's later samples is loaded, the earliest last."""

    NONE = 0
    """Just before its first reader."""
    BEHIND = 1
    """As soon as the sample before has been read: in its place."""
    BESIDE = 2
    """While the sample before is read: in another place."""


def lives(network: Network, order: Sequence[Pass], prefetch: Prefetch) -> Lives:
    """Lifetimes of all maps in that order of passes."""
    first: dict[Key, int] = {}
    last: dict[Key, int] = {}
    for step, at in enumerate(order):
        target = key(network, at.layer.target, at.sample)
        first.setdefault(target, step)
        last[target] = step
        for tensor in at.layer.reads:
            last[key(network, tensor, at.sample)] = step
            first.setdefault(key(network, tensor, at.sample), step)
    loads = _loads(network, first, last, prefetch)
    first.update(loads)
    for output in network.outputs:
        for sample in _samples(network, output.tensor):
            name = output.tensor, sample
            if sample is None or output.tensor in network.inputs:
                last[name] = len(order)  # saved at the end
            else:
                last[name] += 1  # saved while the next pass runs
    return Lives({name: Life(at, last[name]) for name, at in first.items()}, loads)


def _samples(network: Network, tensor: str) -> Sequence[int | None]:
    return (None,) if network.is_vector(tensor) else range(network.batch)


def _loads(
    network: Network, first: Mapping[Key, int], last: dict[Key, int], prefetch: Prefetch
) -> dict[Key, int]:
    loads: dict[Key, int] = {}
    for tensor in network.inputs:
        for sample in _samples(network, tensor):
            name = tensor, sample
            last.setdefault(name, 0)
            reader = first.get(name, 0)
            if not sample:
                loads[name] = 0
            elif prefetch is Prefetch.NONE:
                loads[name] = reader
            elif prefetch is Prefetch.BEHIND:
                loads[name] = min(reader, last[tensor, sample - 1] + 1)
            else:
                loads[name] = min(reader, first.get((tensor, sample - 1), 0))
    return loads


def apart(
    network: Network, order: Sequence[Pass], lifetimes: Lives
) -> Iterator[tuple[Key, Key, int]]:
    """Pairs of maps that should lie in different regions, with their weights."""
    for step, at in enumerate(order):
        source = key(network, at.layer.source, at.sample)
        target = key(network, at.layer.target, at.sample)
        if at.layer.residual:
            residual = key(network, at.layer.residual.tensor, at.sample)
            yield source, residual, NEVER
            if step + 1 < len(order):
                following = order[step + 1]
                yield residual, key(network, following.layer.source, following.sample), FENCE
        for name, load in lifetimes.loads.items():
            if load <= step <= max(load, lifetimes.of[name].first) or source == name:
                yield name, target, LOADING
        for output in network.outputs:
            done = key(network, output.tensor, at.sample)
            if done == target and step + 1 < len(order):
                following = order[step + 1]
                yield done, key(network, following.layer.source, following.sample), SAVING


def allocate(
    network: Network,
    arch: Arch,
    storages: Mapping[str, Storage],
    lifetimes: Lives,
    pairs: Sequence[tuple[Key, Key, int]],
) -> dict[Key, Place]:
    """Place every map.

    Raises
    ------
    CapacityError
        The maps that are alive at one time do not fit.
    """
    names = sorted(lifetimes.of, key=lambda name: (lifetimes.of[name].first, str(name)))
    weights: dict[Key, dict[Key, int]] = {name: {} for name in names}
    for one, other, weight in pairs:
        if one != other:
            weights[one][other] = max(weights[one].get(other, 0), weight)
            weights[other][one] = weights[one][other]
    beam = [_State(0.0, [], None)]
    for name in names:
        rows, now = storages[name[0]].rows, lifetimes.of[name].first
        grown: list[tuple[float, _State, Place]] = []
        for state in beam:
            alive = [at for at in state.alive if at.last >= now]
            state = replace(state, alive=alive)
            for region in range(arch.regions):
                beside = [at for at in alive if at.place.region == region]
                extra = sum(weights[name].get(at.name, 0) for at in beside)
                if extra < NEVER:
                    for row in _rows(arch, beside, rows):
                        height = (row + rows) / arch.act_depth
                        grown.append((state.cost + extra + height, state, Place(region, row)))
        if not grown:
            raise CapacityError(_too_large(network, arch, storages, lifetimes.of, name))
        best = sorted(grown, key=lambda at: at[0])[:_BEAM]
        last = lifetimes.of[name].last
        beam = [
            _State(
                cost,
                [*state.alive, _Alive(name, place, place.row + rows, last)],
                (name, place, state.past),
            )
            for cost, state, place in best
        ]
    return dict(beam[0].decisions())


class _Alive(NamedTuple):
    """A map with its place, the row behind it and the last step that accesses it."""

    name: Key
    place: Place
    end: int
    last: int


_Past = tuple[Key, Place, "_Past | None"]
"""The latest decision, and those before."""


@dataclass(frozen=True)
class _State:
    """A partial allocation: places of the maps alive, and all decisions that led to it."""

    cost: float
    alive: list[_Alive]
    past: _Past | None

    def decisions(self) -> Iterator[tuple[Key, Place]]:
        past = self.past
        while past is not None:
            name, place, past = past
            yield name, place


def _rows(arch: Arch, beside: Sequence[_Alive], rows: int) -> Iterator[int]:
    """The lowest and the highest free rows of a region that hold a map of ``rows``."""
    low = high = None
    free = 0
    taken = sorted((at.place.row, at.end) for at in beside)
    for first, last in (*taken, (arch.act_depth, arch.act_depth)):
        if first - free >= rows:
            low, high = free if low is None else low, first - rows
        free = max(free, last)
    if low is not None and high is not None:
        yield low
        if high != low:
            yield high


def _too_large(
    network: Network,
    arch: Arch,
    storages: Mapping[str, Storage],
    life: Mapping[Key, Life],
    name: Key,
) -> str:
    alive = {
        other: storages[other[0]].rows
        for other in life
        if other != name and life[other].first <= life[name].first <= life[other].last
    }
    shape, rows = network.shapes[name[0]], storages[name[0]].rows
    others = ", ".join(f"{other[0]!r} {count}" for other, count in alive.items()) or "none"
    return (
        f"map {name[0]!r} of {shape} needs {rows} rows of {arch.pixels} pixels; {arch.regions} "
        f"regions have {arch.act_depth} rows each, and maps alive at the same time need: {others}; "
        "raise act_depth or make the maps smaller"
    )
