"""The joint search: a predictor of accuracy, the closed form of all else, and few evaluations.

Hardware is weighed fifty thousand times a second, an accuracy takes a second, fine-tuning half a
minute. So each round NSGA-II searches the whole space with predicted accuracies and exact costs;
the networks of its front that add most to the hypervolume are evaluated; and each of them gets the
best hardware that the closed form finds. Z. Lu et al., "NSGANetV2: Evolutionary Multi-Objective
Surrogate-Assisted Neural Architecture Search" (ECCV 2020) search networks in this way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.explore.archive import Archive, Design, Network
from codesign.explore.front import hypervolume, non_dominated
from codesign.explore.hardware_search import POOL, HardwareSearch, mixed_seed, spread
from codesign.explore.models import ACCURACY, Costs, FloatArray, Models, hardware_columns
from codesign.explore.predictor import Prediction, Predictor
from codesign.explore.problem import Problem
from codesign.explore.scale import Scale
from codesign.explore.search import sampler
from codesign.explore.space import IntArray
from codesign.explore.strategy import Proposal

GENERATIONS = 6
"""Of the search with predicted accuracies, in each round."""
HARDWARE_GENERATIONS, DEEP_GENERATIONS = 2, 12
"""Of the search for a network's hardware, and where no network is left to evaluate."""
OPTIMISM = 0.5
"""Deviations by which an unknown accuracy is thought to be better than predicted: what is little
known is worth a try (N. Srinivas et al., "Gaussian Process Optimization in the Bandit Setting",
ICML 2010)."""
CURIOUS = 4
"""One of so many networks of a round is a neighbour of a good one, or any, whatever the predictor
thinks of it."""
DRAWN = 256
"""Random designs that are looked at for an unknown network where the search finds none."""
CONSIDERED = 48
"""Networks that are weighed for fine-tuning."""
FRONT = 200
"""Designs of the front that hypervolumes are counted with."""


class Surrogate:
    """The strategy of ``sampler: surrogate``."""

    def __init__(
        self, problem: Problem, models: Models, archive: Archive, scale: Scale, seed: int
    ) -> None:
        self._problem, self._models, self._archive = problem, models, archive
        self._scale, self._seed = scale, seed
        self._hardware = HardwareSearch(problem, models, seed)
        self._predictor = Predictor(models.space, seed)
        self._hardware_columns = hardware_columns(models.space)
        self._network = np.flatnonzero(~self._hardware_columns)
        self._finetunes = problem.fidelities.finetune is not None
        self.done = False

    def propose(self, number: int, count: int) -> Proposal:
        """First a spread of networks, then those that promise most."""
        random = np.random.default_rng(mixed_seed(self._seed, "round", number))
        if not self._archive.networks:
            points = self._distinct(self._first(count, random), count)
            return Proposal(self._fitting(points, number), points[:0], points)
        self._predictor.fit(list(self._archive.networks.values()))
        front = self._archive.front()
        known = [*front, *reversed(self._archive.designs)]
        self._hardware.remember(self._points([at.point for at in known[: 4 * POOL]]))
        tried = self._search(number, front, random)
        identities = self._models.identities(tried)
        exact = np.array([at in self._archive.networks for at in identities], bool)
        curious = self._neighbours(count // CURIOUS, random)
        points = self._best(tried[~exact], count - len(curious))
        points = self._distinct(np.concatenate([points, curious]), count)
        if not len(points):
            points = self._distinct(self._models.space.draw(DRAWN, random), count)
        designs = tried[exact]
        if not len(points) and front:  # every network is known: better hardware is left to find
            at = front[int(random.integers(len(front)))]
            (deep,) = self._hardware.fronts(at.point[None], number, DEEP_GENERATIONS)
            designs = np.concatenate([designs, deep])
        self.done = self._hardware.exhaustive and not len(points)
        return Proposal(self._fitting(points, number), self._improving(designs), points)

    def around(self, networks: Sequence[Network], number: int) -> IntArray:
        """Their best hardware, where that adds to the front; the first of it in any case."""
        found = []
        given = self._points([network.point for network in networks])
        for points in self._hardware.fronts(given, number, HARDWARE_GENERATIONS):
            better = self._improving(points)
            found.append(better if len(better) else points[:1])
        return np.concatenate(found) if found else given

    def promote(self, count: int) -> list[Network]:
        """Those whose accuracy, once fine-tuned, is thought to add most to the front."""
        waiting = self._archive.untrained()
        if not waiting or not count:
            return []
        self._predictor.fit(list(self._archive.networks.values()))
        after = self._after_finetuning(waiting)
        macs = np.array([at.macs for at in waiting])
        rows = _layers(np.stack([-after.mean, macs], axis=1), CONSIDERED)
        chosen = [waiting[row] for row in rows]
        designs = self._with_front_hardware(chosen)
        mean = {at.identity: float(after.mean[row]) for at, row in zip(chosen, rows, strict=True)}
        accuracy = np.array([mean[at] for at in self._models.identities(designs)])
        picked = self._greedy(designs, accuracy, count)
        return [self._archive.networks[at] for at in picked]

    def told(self, asked: IntArray) -> None:
        """Nothing to do: the archive knows it all."""

    def _first(self, count: int, random: np.random.Generator) -> IntArray:
        """The start, and networks from hardly to heavily pruned, on any hardware."""
        space = self._models.space
        drawn = space.draw(4 * count, random)
        levels = (np.arange(len(drawn)) + 0.5) / len(drawn)
        for column in self._network:
            parameter = space.parameters[column]
            if parameter.ordered and parameter.name.startswith("prune."):
                jitter = random.normal(0, 0.15, len(drawn))
                last = len(parameter.values) - 1
                drawn[:, column] = np.rint(np.clip(levels + jitter, 0, 1) * last)
        order = np.argsort(random.permutation(len(drawn)))
        start = self._models.start()
        drawn[:, self._hardware_columns] = start[0, self._hardware_columns]
        return np.concatenate([start, space.repair(drawn[order])])

    def _search(
        self, number: int, front: Sequence[Design], random: np.random.Generator
    ) -> IntArray:
        """Designs tried by NSGA-II, the best by predicted accuracy and exact costs."""
        space, population = self._models.space, self._problem.search.population
        search = sampler(
            "nsga2", space, len(self._problem.objectives),
            mixed_seed(self._seed, "search", number), population,
        )  # fmt: skip
        points = self._points([at.point for at in front])
        if len(points) > population // 2:
            keep = spread(self._scale.share(self._archive.minimised(front)), population // 2)
            points = points[keep]
        points = np.concatenate([points, space.draw(population - len(points), random)])
        found: list[IntArray] = []
        values: list[FloatArray] = []
        for generation in range(GENERATIONS + 1):
            objectives, violation = self._promise(points)
            search.tell(points, objectives, violation)
            found.append(points[violation == 0])
            values.append(objectives[violation == 0])
            if generation < GENERATIONS:
                points = search.ask(population)
        tried, first = np.unique(np.concatenate(found), axis=0, return_index=True)
        return tried[non_dominated(np.concatenate(values)[first])]

    def _promise(self, points: IntArray) -> tuple[FloatArray, FloatArray]:
        """Objectives [n, objectives] with accuracies known or hoped for, and violations [n]."""
        costs = self._models.costs(points)
        accuracy = self._hoped(points, costs)
        values = self._problem.minimised({ACCURACY: accuracy, **costs.values})
        violation = costs.violation + self._problem.violation({ACCURACY: accuracy})
        values[violation > 0] = np.nan
        return values, violation

    def _hoped(self, points: IntArray, costs: Costs) -> FloatArray:
        predicted = self._predictor.plain(points)
        if self._finetunes:
            predicted = self._predictor.finetuned(predicted, costs.values["macs"])
        hoped = np.minimum(predicted.mean + OPTIMISM * predicted.deviation, 1.0)
        networks = map(self._archive.networks.get, self._models.identities(points))
        known = np.array([np.nan if at is None else at.best for at in networks])
        return np.where(np.isnan(known), hoped, known)

    def _best(self, points: IntArray, count: int) -> IntArray:
        """One design of each of the networks that promise most."""
        if not len(points) or count < 1:
            return points[:0]
        accuracy = self._hoped(points, self._models.costs(points))
        identities = list(self._models.identities(points))
        picked = self._greedy(points, accuracy, count)
        return points[[identities.index(at) for at in picked]]

    def _greedy(self, points: IntArray, accuracy: FloatArray, count: int) -> list[str]:
        """Identities of the networks whose designs, with these accuracies, add most to the front's
        hypervolume, each beside those before."""
        costs = self._models.costs(points)
        values = self._scale.share(self._problem.minimised({ACCURACY: accuracy, **costs.values}))
        identities = np.array(self._models.identities(points))
        left = {name: values[identities == name] for name in dict.fromkeys(identities.tolist())}
        front = self._front_share()
        picked: list[str] = []
        while left and len(picked) < count:
            whole = {
                name: hypervolume(np.concatenate([front, at]), self._scale.ones)
                for name, at in left.items()
            }
            best = max(whole, key=lambda name: whole[name])
            front = np.concatenate([front, left.pop(best)])
            picked.append(best)
        return picked

    def _front_share(self) -> FloatArray:
        values = self._scale.share(self._archive.minimised(self._archive.front()))
        return values[spread(values, FRONT)]

    def _improving(self, points: IntArray) -> IntArray:
        """The designs of known networks that no design is better than."""
        if not len(points):
            return points
        costs = self._models.costs(points)
        networks = [self._archive.networks[at] for at in self._models.identities(points)]
        accuracy = np.array([at.best for at in networks])
        values = self._problem.minimised({ACCURACY: accuracy, **costs.values})
        front = self._archive.minimised(self._archive.front())
        keep = non_dominated(np.concatenate([front, values]))
        keep = keep[keep >= len(front)] - len(front)
        return points[keep[costs.feasible[keep]]]

    def _neighbours(self, count: int, random: np.random.Generator) -> IntArray:
        """Networks one or two choices away from those of the front."""
        front = self._archive.front()
        space = self._models.space
        if not front or not len(self._network):
            return np.empty((0, len(space)), np.int64)
        points = self._points([front[at].point for at in random.integers(len(front), size=count)])
        for _ in range(2):
            columns = random.choice(self._network, count)
            points[np.arange(count), columns] = random.integers(space.sizes[columns])
        return space.repair(points)

    def _fitting(self, points: IntArray, number: int) -> IntArray:
        """Those whose networks fit on some hardware: of the others no accuracy is worth its
        time."""
        fits = self._models.costs(points).feasible
        if not fits.all():
            found = self._hardware.fronts(points[~fits], number, HARDWARE_GENERATIONS)
            fits[~fits] = [len(designs) > 0 for designs in found]
        return points[fits]

    def _distinct(self, points: IntArray, count: int) -> IntArray:
        """The first ``count`` networks that are not known, a design of each."""
        seen = {*self._archive.networks, *(at for at, steps in self._archive.failed if not steps)}
        rows: list[int] = []
        for row, identity in enumerate(self._models.identities(points)):
            if identity not in seen and len(rows) < count:
                seen.add(identity)
                rows.append(row)
        return points[rows]

    def _after_finetuning(self, networks: Sequence[Network]) -> Prediction:
        accuracy = np.array([at.accuracy[0] for at in networks])
        plain = Prediction(accuracy, np.zeros(len(networks)))
        return self._predictor.finetuned(plain, np.array([at.macs for at in networks]))

    def _with_front_hardware(self, networks: Sequence[Network]) -> IntArray:
        """Feasible designs of networks: with their own hardware, and with some of the front's."""
        front = self._archive.front()
        values = self._scale.share(self._archive.minimised(front))
        some = [front[row] for row in spread(values, CONSIDERED)]
        hardware = [at.point for at in some]
        rows: list[IntArray] = []
        for network in networks:
            points = np.repeat(network.point[None], len(hardware) + 1, axis=0)
            points[1:, self._hardware_columns] = self._points(hardware)[:, self._hardware_columns]
            bound = self._models.bound(network.point[None])[0]
            points[:, bound] = network.point[bound]
            points = self._models.space.repair(points)
            rows.append(points[(points[:, bound] == network.point[bound]).all(axis=1)])
        found = np.unique(np.concatenate(rows), axis=0)
        return found[self._models.costs(found).feasible]

    def _points(self, rows: Sequence[IntArray]) -> IntArray:
        return np.stack(rows) if len(rows) else np.empty((0, len(self._models.space)), np.int64)


def _layers(values: FloatArray, count: int) -> list[int]:
    """About ``count`` rows of [n, d], those of one front after the other."""
    left = np.arange(len(values))
    found: list[int] = []
    while len(left) and len(found) < count:
        front = left[non_dominated(values[left])]
        found += front.tolist()
        left = np.setdiff1d(left, front)
    return found[:count]
