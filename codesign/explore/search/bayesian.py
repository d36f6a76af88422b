"""Optuna's samplers: for evaluations that cost more than thinking about them.

A model of all that was told proposes the next point (TPE, Gaussian processes), or evolution goes
on from it (NSGA-II). A point whose values are not known is told with the worst that were seen, and
with its violation.

The sampler object is made anew for every point, seeded by the seed and how many points were told
and asked for since: so a study that is told a history again goes on alike. NSGA-II's generations
also depend on what was asked for at once: it goes on alike where the history is told in the same
parts.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import Trial, TrialState

from codesign.explore.search.sampler import FloatArray, check_told
from codesign.explore.space import IntArray, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for every trial, otherwise

STARTUP = 16
"""Random points that TPE and Gaussian processes begin with."""


class OptunaSampler:
    """One of ``tpe``, ``gp``, ``optuna-nsga2``."""

    def __init__(
        self, name: str, space: Space, objectives: int, seed: int, population: int
    ) -> None:
        self._make = _makers(population)[name]
        self._space, self._objectives, self._seed = space, objectives, seed
        self._free = [column for column, size in enumerate(space.sizes) if size > 1]
        self._distributions: dict[str, BaseDistribution] = {
            space.names[column]: IntDistribution(0, int(space.sizes[column]) - 1)
            if space.parameters[column].ordered
            else CategoricalDistribution(range(int(space.sizes[column])))
            for column in self._free
        }
        self._study = optuna.create_study(directions=["minimize"] * objectives)
        self._running: dict[bytes, list[Trial]] = defaultdict(list)
        self._worst = np.full(objectives, np.nan)  # seen of each objective
        self._told = self._asked = 0

    def ask(self, count: int) -> IntArray:
        """One after the other: each takes those that are under way into account."""
        points = np.zeros((count, len(self._space)), np.int64)
        with _one_thread():
            for row in range(count):
                points[row] = self._asked_for()
        return points

    def tell(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        """Points that were never proposed join the study as if they had been."""
        self._space.check(points)
        check_told(points, values, violation, self._objectives)
        trials = [self._trial(point) for point in points]
        for trial, row, excess in zip(trials, values, violation, strict=True):
            self._worst = np.fmax(self._worst, row)
            instead = np.where(np.isnan(self._worst), 0.0, self._worst)
            trial.set_constraint("violation", float(excess))
            self._study.tell(trial, np.where(np.isnan(row), instead, row).tolist())
            self._told += 1
        self._asked = 0

    def _asked_for(self) -> IntArray:
        """A point, of which a trial is under way from now on."""
        trial = self._begin()
        point = self._point(trial)
        allowed: IntArray = self._space.repair(point[None])[0]
        if not np.array_equal(point, allowed):
            self._study.tell(trial, state=TrialState.FAIL)
            trial = self._begin(allowed)
        self._running[allowed.tobytes()].append(trial)
        return allowed

    def _trial(self, point: IntArray) -> Trial:
        """The trial of a point that is under way, or a new one."""
        running = self._running[np.ascontiguousarray(point).tobytes()]
        return running.pop(0) if running else self._begin(point)

    def _begin(self, point: IntArray | None = None) -> Trial:
        """A trial of the sampler's choice, or of a point."""
        if point is not None:
            self._study.enqueue_trial({self._space.names[at]: int(point[at]) for at in self._free})
        numbers = np.random.SeedSequence((self._seed, self._told, self._asked))
        sampler = self._make(int(numbers.generate_state(1)[0]))
        if isinstance(sampler, _Joint):
            sampler.space = self._distributions
        self._study.sampler = sampler
        self._asked += point is None
        trial = self._study.ask(self._distributions)
        if isinstance(sampler, NSGAIISampler):  # else a given point is of no generation
            frozen = self._study.get_trials(deepcopy=False)[trial.number]
            sampler.get_trial_generation(self._study, frozen)
        return trial

    def _point(self, trial: Trial) -> IntArray:
        point, chosen = np.zeros(len(self._space), np.int64), trial.params
        for at in self._free:
            point[at] = chosen[self._space.names[at]]
        return point


class _Joint(BaseSampler):
    """All parameters are sampled together, and are those of the space: Optuna looks for them in
    all trials otherwise, once for each point.
    """

    space: Mapping[str, BaseDistribution]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self.space)


class _Gp(_Joint, GPSampler):
    pass


class _Nsga2(_Joint, NSGAIISampler):
    pass


def _makers(population: int) -> dict[str, Callable[[int], BaseSampler]]:
    return {
        "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=STARTUP),
        "gp": lambda seed: _Gp(seed=seed, n_startup_trials=STARTUP),
        "optuna-nsga2": lambda seed: _Nsga2(seed=seed, population_size=population),
    }


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Gaussian processes of some hundred points gain nothing from torch's threads, and lose all
    where other processes want the cores (measured: 48 s instead of 2 s for a point).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
