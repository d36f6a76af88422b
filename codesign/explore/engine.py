"""The sweep: rounds of proposals, evaluations and fine-tuning, until time or trials are used up.

What a round decides follows from the seed and the rounds before, so that a sweep that was killed
goes on as it would have: earlier rounds are read from the store, and what the lost round had
evaluated is in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codesign.errors import ExplorationError
from codesign.explore.archive import Archive, Design, Network
from codesign.explore.counting import CountedModels, Counts
from codesign.explore.evaluation import Evaluator
from codesign.explore.models import Models, Task
from codesign.explore.problem import SURROGATE, Problem
from codesign.explore.record import Recorder
from codesign.explore.scale import Scale
from codesign.explore.search import sampler
from codesign.explore.space import IntArray
from codesign.explore.store import Store
from codesign.explore.strategy import Flat, Strategy
from codesign.explore.surrogate import Surrogate
from codesign.explore.workers import Workers

BATCH = 8
"""Networks of a round."""
PATIENCE = 12
"""Rounds without news until a sweep that has no limit of time takes the space for done."""
HOPELESS = 20_000
"""Designs of which none fits until such a sweep gives up."""


@dataclass(frozen=True)
class Budget:
    """What ends a sweep, whichever is first: seconds, or designs. Nothing set: the space's end."""

    seconds: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a sweep is. ``running`` are the evaluations under way."""

    elapsed_s: float
    rounds: int
    trials: int
    front: int
    hypervolume: tuple[tuple[float, float], ...]
    counts: Counts
    activity: str
    running: int


Observe = Callable[[Progress], None]


def _unseen(_: Progress) -> None:
    """Nobody watches."""


@dataclass
class _Clock:
    """Time of this sweep, in all the runs that it took."""

    before_s: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return self.before_s + time.monotonic() - self.begin


class Engine:
    """One sweep of a problem in a folder; the folder's earlier rounds are taken in.

    Parameters
    ----------
    models:
        The closed form and the identities of the space's designs.
    workers:
        They evaluate a ``Task`` to an ``Accuracy``.
    limits:
        What the board has of each resource, by measure.
    about:
        More that ``run.json`` tells.
    """

    def __init__(
        self,
        problem: Problem,
        models: Models,
        workers: Workers,
        store: Store,
        budget: Budget,
        *,
        limits: Mapping[str, float] | None = None,
        about: Mapping[str, Any] | None = None,
        observe: Observe = _unseen,
    ) -> None:
        self.problem, self.budget = problem, budget
        self.counts = Counts()
        self._models = CountedModels(models, self.counts)
        self.archive = Archive(problem, models.space)
        self.scale = self._box(limits or {})
        self._observe = observe
        self._clock = _Clock()
        self._recorder = Recorder(store, problem, self.archive, self.scale, about or {})
        self._evaluator = Evaluator(workers, store.cache, self.counts, self._late, self._tick)
        self._workers = workers
        self._running, self._activity = 0, "starting"
        self._asked: set[bytes] = set()
        self._strategy = self._restored()

    def run(self) -> None:
        """Go on until the budget is used up, or the space.

        Raises
        ------
        ExplorationError
            Networks cannot be evaluated, or no design fits.
        KeyboardInterrupt
            The user's; all files are complete then, too.
        """
        self._record("running")
        try:
            idle = 0
            while not (self._recorder.rounds and self._over()) and not self._strategy.done:
                idle = 0 if self._round() else idle + 1
                if self.budget.seconds is None and (idle == PATIENCE or self._hopeless):
                    break
            if not self.archive.designs:
                raise ExplorationError(self._nothing())
        except BaseException:
            self._record("interrupted")
            raise
        self._record("finished")

    def record_verified(self) -> None:
        """Tell how many designs were verified, in all runs."""
        self.counts.verified = self._recorder.verified()

    def progress(self) -> Progress:
        """How far it is."""
        waits = self._running and not self._workers.ready
        return Progress(
            self._clock.elapsed_s,
            self._recorder.rounds,
            len(self.archive.designs),
            len(self._recorder.front),
            tuple(self._recorder.history),
            self.counts,
            "waiting for workers to start" if waits else self._activity,
            self._running,
        )

    @property
    def _hopeless(self) -> bool:
        return not self.archive.designs and self.counts.closed_form >= HOPELESS

    def _nothing(self) -> str:
        """Why there is no design, and what to do."""
        counts = self.counts
        why = ", ".join(f"{why} ({n})" for why, n in counts.rejected.most_common(3))
        return (
            f"none of {counts.closed_form} designs that were tried fits, of {counts.accuracy} "
            f"networks: {why or 'no hardware was found'}; relax the constraints, widen "
            "space.hardware, or give more --minutes or --trials"
        )

    def _round(self) -> bool:
        """One round; whether it found or tried anything new."""
        number = self._recorder.rounds
        self._say("choosing networks")
        proposal = self._strategy.propose(number, BATCH)
        found = self._evaluate(proposal.points, 0)
        designs = self._take(np.concatenate([proposal.points, proposal.known]))
        designs += self._surround(found, number)
        found += (trained := self._finetune())
        designs += self._surround(trained, number)
        self._commit(designs, found, proposal.asked)
        tried = set(map(bytes, np.ascontiguousarray(proposal.asked)))
        unheard = bool(tried - self._asked)
        self._asked |= tried
        return bool(found or designs) or unheard

    def _finetune(self) -> list[Network]:
        """Fine-tune the round's most promising networks."""
        finetune = self.problem.fidelities.finetune
        if finetune is None or self._late():
            return []
        self._say("choosing what to fine-tune")
        chosen = self._strategy.promote(finetune.top)
        return (
            self._evaluate(np.stack([at.point for at in chosen]), finetune.steps) if chosen else []
        )

    def _surround(self, networks: list[Network], number: int) -> list[Design]:
        """The best hardware of networks whose accuracies are new."""
        if not networks:
            return []
        self._say("choosing hardware")
        return self._take(self._strategy.around(networks, number))

    def _evaluate(self, points: IntArray, steps: int) -> list[Network]:
        """The networks of these designs, their accuracies known now."""
        if not len(points):
            return []
        self._say("fine-tuning" if steps else "evaluating accuracies")
        identities = self._models.identities(points)
        macs = self._models.costs(points).values["macs"]
        rows = {identity: row for row, identity in reversed(list(enumerate(identities)))}
        choices = self._models.space.decode(points)
        tasks = [
            Task(identity, choices[row], steps)
            for identity, row in sorted(rows.items(), key=_second)
        ]
        found = []
        for task, accuracy in self._evaluator.evaluate(tasks):
            row = rows[task.identity]
            found.append(
                self.archive.learn(
                    task.identity, points[row], float(macs[row]), steps, accuracy.validation
                )
            )
        self.archive.failed |= self._evaluator.failed
        return found

    def _take(self, points: IntArray) -> list[Design]:
        """Take in those of the designs that fit and whose networks are known."""
        if not len(points):
            return []
        identities = self._models.identities(points)
        costs = self._models.costs(points)
        rows = [
            row
            for row in np.flatnonzero(costs.feasible).tolist()
            if identities[row] in self.archive.networks
        ]
        return self.archive.add(points[rows], [identities[row] for row in rows], costs.take(rows))

    # --- what is written down ---
    def _commit(self, designs: list[Design], learnt: list[Network], asked: IntArray) -> None:
        self._recorder.commit(designs, learnt, asked, self._clock.elapsed_s, self._about_round())
        self._strategy.told(asked)
        self._record("running")
        self._tick(0)

    def _about_round(self) -> dict[str, Any]:
        seconds = self._evaluator.seconds
        return {
            "counts": self.counts.to_dict(),
            "seconds": [seconds[False], seconds[True]],
            "failed": sorted(self.archive.failed),
        }

    def _record(self, state: str) -> None:
        budget = {"seconds": self.budget.seconds, "trials": self.budget.trials}
        self._recorder.write(state, self._clock.elapsed_s, self.counts, budget)

    def _restored(self) -> Strategy:
        """The strategy, told all that earlier rounds of this folder asked for."""
        rounds = self._recorder.restore()
        strategy = self._new_strategy(bool(rounds))
        for at in rounds:
            asked = np.array(at["asked"], np.int64).reshape(-1, len(self._models.space))
            strategy.told(asked)
            self._asked |= set(map(bytes, asked))
        if rounds:
            last = rounds[-1]
            self.archive.failed |= {(name, steps) for name, steps in last.get("failed", ())}
            self.counts.update(Counts.from_dict(last["counts"]))
            plain, trained = last["seconds"]
            self._evaluator.seconds.update({False: plain, True: trained})
            self._clock = _Clock(last["elapsed_s"])
        return strategy

    def _new_strategy(self, begun: bool) -> Strategy:
        search = self.problem.search
        if search.sampler == SURROGATE:
            return Surrogate(self.problem, self._models, self.archive, self.scale, search.seed)
        chosen = sampler(
            search.sampler,
            self._models.space,
            len(self.problem.objectives),
            search.seed,
            search.population,
        )
        return Flat(self.problem, self._models, self.archive, chosen, begun)

    def _box(self, limits: Mapping[str, float]) -> Scale:
        start = self._models.costs(self._models.start()[:1])
        named = {name: float(column[0]) for name, column in start.values.items()}
        return Scale.of(self.problem, limits, named)

    # --- time ---
    def _late(self) -> bool:
        return self.budget.seconds is not None and self._clock.elapsed_s >= self.budget.seconds

    def _over(self) -> bool:
        trials = self.budget.trials
        return self._late() or (trials is not None and len(self.archive.designs) >= trials)

    def _say(self, activity: str) -> None:
        self._activity = activity
        self._tick(self._running)

    def _tick(self, running: int) -> None:
        self._running = running
        self._observe(self.progress())


def _second(item: tuple[str, int]) -> int:
    return item[1]
