"""Evolution of whole populations as arrays: for evaluations that cost little.

NSGA-II: K. Deb et al., "A fast and elitist multiobjective genetic algorithm", IEEE Transactions on
Evolutionary Computation 6(2), 2002. NSGA-III: K. Deb, H. Jain, the same 18(4), 2014. Their
selection is that of pymoo and moocore; a point is a row of an array from one end to the other,
since an object for each (pymoo's own loop) takes longer than a closed form takes to judge it.

A generation is ``population`` told points, half as many for the first, whichever they are and
however many a call brings; whoever asks before it is complete gets more children of the one before.
So a search that is first told good points goes on from them. The numbers that a
proposal is drawn from follow from the seed and from how many points were told and asked for since:
so a sampler that is told a history again goes on alike.
"""

from __future__ import annotations

import math
from typing import Protocol

import moocore
import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
from pymoo.config import Config
from pymoo.core.population import Population
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.ref_dirs import get_reference_directions

from codesign.explore.search.sampler import FloatArray, check_told
from codesign.explore.space import IntArray, Space

Config.warnings["not_compiled"] = False  # pymoo without its compiled parts is as right, and says so

ATTEMPTS = 10
"""How often new points are tried for where what comes is known already."""
CROSSOVER = 0.9
"""Share of children that have two parents, as in the papers."""


class EvolutionSampler:
    """NSGA-II or NSGA-III; a point is proposed once, as long as others are found.

    Parameters
    ----------
    reference:
        NSGA-III, which keeps to directions spread over the objectives, rather than NSGA-II.
    """

    def __init__(
        self, space: Space, objectives: int, seed: int, population: int, reference: bool = False
    ) -> None:
        self._space, self._objectives = space, objectives
        self._seed, self._size = seed, population
        self._selection: _Selection = _Niches(objectives, population) if reference else _Crowding()
        self._ordered = np.array([at.ordered for at in space.parameters], np.bool_)
        self._known: set[bytes] = set()
        self._parents = _Generation.empty(space, objectives)
        self._rank, self._room = np.empty(0), np.empty(0)
        self._waiting: list[_Generation] = []  # told since the last generation
        self._told = self._asked = 0

    def ask(self, count: int) -> IntArray:
        """Children of the last generation; before there is one, random points."""
        generator = np.random.default_rng((self._seed, self._told, self._asked))
        self._asked += count
        found = np.empty((0, len(self._space)), np.int64)
        if len(self._parents):
            found = self._new(found, count, self._children, generator)
        found = self._new(found, count, self._space.draw, generator)
        return np.concatenate([found, self._space.draw(count - len(found), generator)])

    def tell(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        """Each ``population`` told points make a generation."""
        self._space.check(points)
        check_told(points, values, violation, self._objectives)
        self._known.update(map(bytes, np.ascontiguousarray(points)))
        told = _Generation(points, values, violation)
        while len(told):
            size = self._size if len(self._parents) else (self._size + 1) // 2
            missing = size - sum(map(len, self._waiting))
            self._waiting.append(told.take(slice(missing)))
            self._told += len(self._waiting[-1])
            told = told.take(slice(missing, None))
            if sum(map(len, self._waiting)) == size:
                self._advance()
        self._asked = 0

    def _advance(self) -> None:
        """The best of the last generation and of those told since are the next one."""
        merged = _Generation.merged([self._parents, *self._waiting])
        self._waiting.clear()
        feasible = np.flatnonzero(merged.violation == 0)
        kept, rank, room = self._selection(
            merged.values[feasible],
            min(self._size, len(feasible)),
            np.random.default_rng((self._seed, self._told)),
        )
        others = np.flatnonzero(merged.violation > 0)
        others = others[np.argsort(merged.violation[others], kind="stable")]
        others = others[: self._size - len(kept)]
        self._parents = merged.take(np.concatenate([feasible[kept], others]))
        self._rank = np.concatenate([rank, np.full(len(others), np.inf)])
        self._room = np.concatenate([room, np.zeros(len(others))])

    def _new(
        self, found: IntArray, count: int, make: _Make, generator: np.random.Generator
    ) -> IntArray:
        """``found`` and, as long as ``make`` finds some, points that nobody knew, up to count."""
        rows = [found]
        for _ in range(ATTEMPTS):
            missing = count - sum(map(len, rows))
            if not missing:
                break
            made = make(missing, generator)
            kept = []
            for row, key in enumerate(map(bytes, made)):
                if key not in self._known:
                    self._known.add(key)
                    kept.append(row)
            rows.append(made[kept])
        return np.concatenate(rows)

    def _children(self, count: int, generator: np.random.Generator) -> IntArray:
        """Each value from one of two parents that won a comparison each, then mutated."""
        pairs = generator.integers(0, len(self._parents), (2 * count, 2))
        winners = self._parents.points[self._better(pairs, generator)].reshape(
            2, count, len(self._space)
        )
        crossed = generator.random((count, 1)) < CROSSOVER
        other = crossed & (generator.random(winners.shape[1:]) < 0.5)
        return self._space.repair(self._mutated(np.where(other, winners[1], winners[0]), generator))

    def _better(self, pairs: IntArray, generator: np.random.Generator) -> IntArray:
        """Of each pair the one of less violation, of lower rank, with more room, or either."""
        keys = (-self._room, self._rank, self._parents.violation)
        first = generator.random(len(pairs)) < 0.5
        for key in keys:  # from the least to the most important
            left, right = key[pairs[:, 0]], key[pairs[:, 1]]
            first = np.where(left == right, first, left < right)
        return np.where(first, pairs[:, 0], pairs[:, 1])

    def _mutated(self, points: IntArray, generator: np.random.Generator) -> IntArray:
        """About one parameter of each changed: an ordered one by a two-sided geometric step, about
        an eighth of its range, any other to a random value.

        Source of the step: G. Rudolph, "An evolutionary algorithm for integer programming", PPSN
        III, 1994.
        """
        sizes, last, shape = self._space.sizes, self._space.sizes - 1, points.shape
        free = sizes > 1
        chosen = (generator.random(shape) < 1 / max(1, free.sum())) & free
        chance = np.broadcast_to(1 / (1 + sizes / 8), shape)[chosen]
        step = generator.geometric(chance) - generator.geometric(chance)
        step = np.where(step == 0, generator.choice((-1, 1), len(step)), step)
        most = np.broadcast_to(last, shape)[chosen]
        moved = np.abs(points[chosen] + step)  # reflected at 0, and at the last
        moved = np.clip(np.where(moved > most, 2 * most - moved, moved), 0, most)
        drawn = (generator.random(len(step)) * (most + 1)).astype(np.int64)
        mutated: IntArray = points.copy()
        mutated[chosen] = np.where(np.broadcast_to(self._ordered, shape)[chosen], moved, drawn)
        return mutated


class _Make(Protocol):
    def __call__(self, count: int, generator: np.random.Generator, /) -> IntArray: ...


class _Generation:
    """Points [n, K], their values [n, objectives] and violations [n]."""

    def __init__(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        self.points, self.values, self.violation = points, values, violation

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def empty(cls, space: Space, objectives: int) -> _Generation:
        return cls(np.empty((0, len(space)), np.int64), np.empty((0, objectives)), np.empty(0))

    @classmethod
    def merged(cls, parts: list[_Generation]) -> _Generation:
        return cls(
            np.concatenate([at.points for at in parts]),
            np.concatenate([at.values for at in parts]),
            np.concatenate([at.violation for at in parts]),
        )

    def take(self, rows: slice | npt.NDArray[np.intp]) -> _Generation:
        return _Generation(self.points[rows], self.values[rows], self.violation[rows])


class _Selection(Protocol):
    def __call__(
        self, values: FloatArray, count: int, generator: np.random.Generator, /
    ) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray]:
        """Which ``count`` rows survive; their rank, the less the better, and the room around."""
        ...


class _Crowding:
    """NSGA-II's: by rank, in the last that fits by the distance to the neighbours."""

    def __call__(
        self, values: FloatArray, count: int, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray]:
        if not count:
            return np.empty(0, np.intp), np.empty(0), np.empty(0)
        rank = moocore.pareto_rank(values)
        room = np.empty(len(values))
        for front in range(int(rank.max()) + 1):
            rows = np.flatnonzero(rank == front)
            room[rows] = calc_crowding_distance(values[rows]) if len(rows) > 2 else np.inf
        kept = np.lexsort((-room, rank))[:count]
        return kept, rank[kept].astype(np.float64), room[kept]


class _Niches:
    """NSGA-III's: by rank, in the last that fits those near the directions that have fewest."""

    def __init__(self, objectives: int, population: int) -> None:
        partitions = 1
        while objectives > 1 and _directions(objectives, partitions + 1) <= population:
            partitions += 1
        directions = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
        self._survival = ReferenceDirectionSurvival(directions)
        self._survival.filter_infeasible = False  # only feasible points come here

    def __call__(
        self, values: FloatArray, count: int, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.intp], FloatArray, FloatArray]:
        if not count:
            return np.empty(0, np.intp), np.empty(0), np.empty(0)
        rows = Population.new("X", np.arange(len(values)), "F", values)
        kept = self._survival.do(None, rows, n_survive=count, random_state=generator)
        rank = np.array([at.get("rank") for at in kept], np.float64)
        return np.array([at.X for at in kept], np.intp), rank, np.zeros(len(kept))


def _directions(objectives: int, partitions: int) -> int:
    """How many directions the grid of I. Das and J. Dennis has."""
    return math.comb(objectives + partitions - 1, partitions)
