"""Where each map lies: region and first row, by the time from its first write to its last read.

Regions are chosen by a beam search over maps in order of time. Which maps had better lie apart is a
list of pairs with weights, about the cycles lost; rows are the lowest or highest that are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    beam = [_State(0.0, ((),) * arch.regions, None)]
    for name in names:
        life, rows = lifetimes.of[name], storages[name[0]].rows
        step = _Step(arch, life.first, rows, weights[name])
        grown: list[tuple[float, _State, int, int]] = []
        for state in beam:
            for region, maps in enumerate(state.regions):
                extra, starts = step.of(maps)
                for row in starts if extra < NEVER else ():
                    height = (row + rows) / arch.act_depth
                    grown.append((state.cost + extra + height, state, region, row))
        if not grown:
            raise CapacityError(_too_large(network, arch, storages, lifetimes.of, name))
        best = sorted(grown, key=lambda at: at[0])[:_BEAM]
        beam = [
            _State(
                cost,
                step.with_map(state.regions, region, _Alive(row, row + rows, life.last, name)),
                (name, Place(region, row), state.past),
            )
            for cost, state, region, row in best
        ]
    return dict(beam[0].decisions())


class _Alive(NamedTuple):
    """A map in rows [row, end) of its region, and the last step that accesses it."""

    row: int
    end: int
    last: int
    name: Key


_Maps = tuple[_Alive, ...]
"""What lies in a region, by rows."""


class _Step:
    """Placing one map: what each region offers. States share regions, so each is judged once."""

    def __init__(self, arch: Arch, now: int, rows: int, weights: Mapping[Key, int]) -> None:
        self._arch, self._now, self._rows, self._weights = arch, now, rows, weights
        self._known: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._grown: dict[tuple[int, int], _Maps] = {}

    def of(self, maps: _Maps) -> tuple[int, tuple[int, ...]]:
        """What sharing the region costs, and where the map could begin: the lowest and the highest
        free rows that hold it."""
        if id(maps) not in self._known:
            alive = self._alive(maps)
            extra = sum(self._weights.get(at.name, 0) for at in alive)
            self._known[id(maps)] = extra, self._starts(alive)
        return self._known[id(maps)]

    def with_map(self, regions: tuple[_Maps, ...], region: int, new: _Alive) -> tuple[_Maps, ...]:
        """The regions with the map in one of them, which has forgotten the maps no longer alive."""
        key = id(regions[region]), new.row
        if key not in self._grown:
            self._grown[key] = tuple(sorted((*self._alive(regions[region]), new)))
        return (*regions[:region], self._grown[key], *regions[region + 1 :])

    def _alive(self, maps: _Maps) -> _Maps:
        return tuple(at for at in maps if at.last >= self._now)

    def _starts(self, alive: _Maps) -> tuple[int, ...]:
        found, free = [], 0
        for first, last in (*(at[:2] for at in alive), (self._arch.act_depth,) * 2):
            if first - free >= self._rows:
                found += [free, first - self._rows]
            free = max(free, last)
        return tuple(sorted({found[0], found[-1]})) if found else ()


_Past = tuple[Key, Place, "_Past | None"]
"""The latest decision, and those before."""


@dataclass(frozen=True)
class _State:
    """A partial allocation: what lies in each region, and all decisions that led to it."""

    cost: float
    regions: tuple[_Maps, ...]
    past: _Past | None

    def decisions(self) -> Iterator[tuple[Key, Place]]:
        past = self.past
        while past is not None:
            name, place, past = past
            yield name, place


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
