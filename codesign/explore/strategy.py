"""How a sweep goes about its rounds: one interface for the engine.

A round first asks which designs to evaluate (``propose``) and, once the accuracies of their
networks are known, which other designs of these to take in (``around``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codesign.explore.archive import Archive, Network
from codesign.explore.models import Models
from codesign.explore.problem import Problem
from codesign.explore.search.sampler import Sampler
from codesign.explore.space import IntArray


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a round is about.

    ``points`` [n, K] are designs whose networks are to be evaluated, ``known`` designs of networks
    that have been. ``asked`` is all that a sampler asked for; it is told of all of it.
    """

    points: IntArray
    known: IntArray
    asked: IntArray


class Strategy(Protocol):
    """What the engine asks in each round, in this order."""

    @property
    def done(self) -> bool:
        """Whether the last round left nothing of the space."""
        ...

    def propose(self, number: int, count: int) -> Proposal:
        """The round of that number, for about ``count`` networks."""
        ...

    def around(self, networks: Sequence[Network], number: int) -> IntArray:
        """Feasible designs [n, K] of networks whose accuracies have just become known."""
        ...

    def promote(self, count: int) -> list[Network]:
        """Networks that are worth fine-tuning, the best first, of those that were not."""
        ...

    def told(self, asked: IntArray) -> None:
        """The round is over: the archive knows what was asked for, where it was evaluated."""
        ...


class Flat:
    """One sampler over the whole space: hardware and network are chosen at once.

    What does not fit is told to the sampler as that, without an evaluation.
    """

    def __init__(
        self, problem: Problem, models: Models, archive: Archive, search: Sampler, seeded: bool
    ) -> None:
        self._problem, self._models, self._archive = problem, models, archive
        self._search = search
        self._started = seeded
        self.done = False

    def propose(self, number: int, count: int) -> Proposal:
        start = self._models.start()[: 0 if self._started else count]
        self._started = True
        asked = np.concatenate([start, self._search.ask(count - len(start))])
        self.done = not len(asked)
        feasible = self._models.costs(asked).feasible
        return Proposal(asked[feasible], asked[:0], asked)

    def around(self, networks: Sequence[Network], number: int) -> IntArray:
        """None but those that the sampler asked for."""
        return np.empty((0, len(self._models.space)), np.int64)

    def promote(self, count: int) -> list[Network]:
        """Networks of the front, the most accurate first."""
        front = {design.identity for design in self._archive.front()}
        waiting = [at for at in self._archive.untrained() if at.identity in front]
        return sorted(waiting, key=lambda at: -at.best)[:count]

    def told(self, asked: IntArray) -> None:
        costs = self._models.costs(asked)
        identities = self._models.identities(asked)
        known = [self._archive.networks.get(identity) for identity in identities]
        accuracy = np.array([np.nan if at is None else at.best for at in known])
        values = self._problem.minimised({"accuracy": accuracy, **costs.values})
        violation = costs.violation + self._problem.violation({"accuracy": accuracy})
        unknown = np.asarray(np.isnan(values).any(axis=1))
        violation = np.where(unknown & (violation == 0), 1.0, violation)
        self._search.tell(asked, np.where(unknown[:, None], np.nan, values), violation)
