"""The best hardware for a network, by the closed form: populations of thousands a second."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np

from codesign.explore.front import non_dominated
from codesign.explore.models import ACCURACY, Costs, FloatArray, Models, hardware_columns
from codesign.explore.problem import Problem
from codesign.explore.search import sampler
from codesign.explore.space import IntArray

EXHAUSTIVE = 4096
"""So many combinations of hardware parameters are all tried."""
KEPT = 64
"""Designs of a network that are kept, spread over its front."""
POOL = 256
"""Architectures that were good for other networks, tried on each."""
_TINY = 1e-12


def mixed_seed(*parts: int | str) -> int:
    """A seed of 32 bits that follows from all parts."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


class HardwareSearch:
    """Finds fronts over the space's hardware parameters, for one network after the other."""

    def __init__(self, problem: Problem, models: Models, seed: int) -> None:
        self._models, self._seed = models, seed
        self._columns = np.flatnonzero(hardware_columns(models.space))
        self._space = models.space.part("hardware")
        self._population = problem.search.population
        self._objectives = [at for at in problem.objectives if at.name != ACCURACY]
        self._every = self._all() if self._space.size <= EXHAUSTIVE else None
        self._pool = np.empty((0, len(self._columns)), np.int64)

    def fronts(self, points: IntArray, number: int, generations: int) -> list[IntArray]:
        """For the network of each design [n, K], feasible designs [m, K] of it, none of them better
        than another.

        Parameters
        ----------
        number:
            Whatever tells this search from others: the seed follows from it.
        generations:
            Of populations; all combinations are tried instead where they are few.
        """
        tried = [self._rows(point, self._known(point)) for point in points]
        if self._every is None and len(self._columns):
            tried = self._evolve(points, tried, number, generations)
        if tried:
            self._models.costs(np.concatenate(tried))  # at once: they are remembered
        return [self._best(np.unique(rows, axis=0)) for rows in tried]

    @property
    def exhaustive(self) -> bool:
        """Whether all combinations are tried for every network."""
        return self._every is not None

    def remember(self, points: IntArray) -> None:
        """Try the hardware of these designs, the first ``POOL`` of it, on the networks to come."""
        rows = points[:, self._columns]
        _, first = np.unique(rows, axis=0, return_index=True)
        self._pool = rows[np.sort(first)[:POOL]]

    def _known(self, point: IntArray) -> IntArray:
        own = point[None, self._columns]
        return self._every if self._every is not None else np.concatenate([own, self._pool])

    def _all(self) -> IntArray:
        ranges = (range(size) for size in self._space.sizes.tolist())
        combinations = list(itertools.product(*ranges))  # one, of nothing, of no parameters
        points = np.array(combinations, np.int64).reshape(len(combinations), len(self._space))
        found: IntArray = np.unique(self._space.repair(points), axis=0)
        return found

    def _rows(self, point: IntArray, hardware: IntArray) -> IntArray:
        """Designs of the point's network on that hardware, but for what its accuracy is bound
        to."""
        rows = np.repeat(point[None], len(hardware), axis=0)
        rows[:, self._columns] = hardware
        bound = self._models.bound(point[None])[0]
        rows[:, bound] = point[bound]
        if bound.any():  # what the bound parameters do not go with has moved away from them
            rows = self._models.space.repair(rows)
            rows = rows[(rows[:, bound] == point[bound]).all(axis=1)]
        return rows

    def _evolve(
        self, points: IntArray, begin: list[IntArray], number: int, generations: int
    ) -> list[IntArray]:
        """All designs that populations for each network try, all networks' in step: a call of the
        closed form takes as long for few designs as for a thousand."""
        count = max(len(self._objectives), 1)
        searches = [
            sampler(
                "nsga2", self._space, count,
                mixed_seed(self._seed, "hardware", number, row), self._population,
            )
            for row in range(len(points))
        ]  # fmt: skip
        found = [[rows] for rows in begin]
        for _ in range(generations):
            self._models.costs(np.concatenate([rows[-1] for rows in found]))
            for point, search, rows in zip(points, searches, found, strict=True):
                costs = self._models.costs(rows[-1])
                search.tell(rows[-1][:, self._columns], self._minimised(costs), costs.violation)
                rows.append(self._rows(point, search.ask(self._population)))
        return [np.concatenate(rows) for rows in found]

    def _minimised(self, costs: Costs) -> FloatArray:
        """[n, objectives] of the hardware's own; a constant where it has none."""
        if not self._objectives:
            return np.zeros((len(costs.violation), 1))
        signs = [-1.0 if at.maximize else 1.0 for at in self._objectives]
        columns = [costs.values[at.name] for at in self._objectives]
        return np.stack(columns, axis=1) * signs

    def _best(self, rows: IntArray) -> IntArray:
        costs = self._models.costs(rows)
        keep = np.flatnonzero(costs.feasible)
        if len(keep):
            keep = keep[non_dominated(self._minimised(costs)[keep])]
            keep = keep[spread(self._minimised(costs)[keep], KEPT)]
        found: IntArray = rows[keep]
        return found


def spread(values: FloatArray, count: int) -> IntArray:
    """Rows of at most ``count`` of the points [n, d], the best in each objective among them, the
    others as far apart as they can be: each is the one farthest from those before.

    T. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985.
    """
    if len(values) <= count:
        return np.arange(len(values))
    extent = np.ptp(values, axis=0)
    scaled = (values - values.min(axis=0)) / np.maximum(extent, _TINY)
    chosen = list(dict.fromkeys(scaled.argmin(axis=0).tolist()))[:count]
    distance = np.min([np.abs(scaled - scaled[row]).max(axis=1) for row in chosen], axis=0)
    while len(chosen) < count:
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, np.abs(scaled - scaled[row]).max(axis=1))
    return np.sort(np.array(chosen, np.int64))
