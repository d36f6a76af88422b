"""What a sweep has found: networks with their accuracies, designs with their values, the front."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codesign.explore.front import non_dominated
from codesign.explore.models import ACCURACY, Costs, FloatArray, hardware_columns
from codesign.explore.problem import Problem
from codesign.explore.space import IntArray, Space

PTQ, FINETUNED = "ptq", "finetuned"
"""Fidelities: quantised after training, and fine-tuned before it is."""


@dataclass
class Network:
    """A network that was evaluated: ``accuracy`` by steps of fine-tuning, ``macs`` of one sample,
    and a design that has it."""

    identity: str
    point: IntArray
    macs: float
    accuracy: dict[int, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Of the best that is known of it."""
        return max(self.accuracy, key=lambda steps: (self.accuracy[steps], -steps))

    @property
    def best(self) -> float:
        return self.accuracy[self.steps]

    @property
    def fidelity(self) -> str:
        return FINETUNED if self.steps else PTQ


@dataclass(frozen=True, eq=False)
class Design:
    """A network on an architecture. ``costs`` has every measure but the accuracy."""

    number: int
    point: IntArray
    identity: str
    costs: Mapping[str, float]


class Archive:
    """Networks by identity and designs by number.

    Accuracy belongs to networks: one that is fine-tuned takes its designs along.
    """

    def __init__(self, problem: Problem, space: Space) -> None:
        self._problem = problem
        self.space = space
        self.networks: dict[str, Network] = {}
        self.designs: list[Design] = []
        self.failed: set[tuple[str, int]] = set()
        """(identity, steps) of evaluations that failed."""
        self._hardware = hardware_columns(space)
        self._known: dict[tuple[str, bytes], int] = {}

    def add(self, points: IntArray, identities: Sequence[str], costs: Costs) -> list[Design]:
        """Take in designs of known networks; those that are new."""
        found = []
        for row, identity in enumerate(identities):
            key = identity, points[row, self._hardware].tobytes()
            if key in self._known:
                continue
            values = {name: float(column[row]) for name, column in costs.values.items()}
            design = Design(len(self.designs), points[row], identity, values)
            self._known[key] = design.number
            self.designs.append(design)
            found.append(design)
        return found

    def values(self, design: Design) -> dict[str, float]:
        """All measures of a design, by the best that is known of its network."""
        return {ACCURACY: self.networks[design.identity].best, **design.costs}

    def known(self, design: Design) -> dict[str, float | None]:
        """``values`` for JSON: None where there is none, such as an energy without coefficients."""
        return {
            name: None if math.isnan(value) else value
            for name, value in self.values(design).items()
        }

    def minimised(self, designs: Sequence[Design]) -> FloatArray:
        """Objectives [n, objectives] of designs, all of them the less the better."""
        columns = {
            at.name: np.array([self.values(design)[at.name] for design in designs])
            for at in self._problem.objectives
        }
        return self._problem.minimised(columns).reshape(-1, len(self._problem.objectives))

    def violation(self, design: Design) -> float:
        """Beyond the bounds of all measures, the accuracy's included."""
        columns = {name: np.array([value]) for name, value in self.values(design).items()}
        return float(self._problem.violation(columns)[0])

    def front(self) -> list[Design]:
        """The feasible designs that no other is better than, by number."""
        accurate = {
            identity: not self._problem.broken({ACCURACY: network.best})
            for identity, network in self.networks.items()
        }
        fit = [design for design in self.designs if accurate[design.identity]]
        if not fit:
            return []
        keep = non_dominated(self.minimised(fit))
        return [fit[row] for row in keep.tolist()]

    def line(self, design: Design, round_number: int, elapsed_s: float) -> dict[str, Any]:
        """A design as a line of ``trials.jsonl``."""
        network = self.networks[design.identity]
        (choice,) = self.space.decode(design.point[None])
        return {
            "id": design.number,
            "choice": choice,
            "fidelity": network.fidelity,
            "values": self.known(design),
            "violation": self.violation(design),
            "network": design.identity,
            "round": round_number,
            "elapsed_s": round(elapsed_s, 3),
        }

    def learn(
        self, identity: str, point: IntArray, macs: float, steps: int, accuracy: float
    ) -> Network:
        """Take in the accuracy of a network after so many steps of fine-tuning."""
        network = self.networks.setdefault(identity, Network(identity, point, macs))
        network.accuracy[steps] = accuracy
        return network

    def untrained(self) -> list[Network]:
        """Networks that may be fine-tuned and were not, in the order in which they came."""
        failed = {identity for identity, steps in self.failed if steps}
        return [
            at
            for at in self.networks.values()
            if not any(at.accuracy) and at.identity not in failed
        ]

    def learnt(self, network: Network) -> dict[str, Any]:
        """What is known of a network, as ``restore`` takes it."""
        (choice,) = self.space.decode(network.point[None])
        accuracy = {str(steps): value for steps, value in network.accuracy.items()}
        return {
            "identity": network.identity,
            "choice": choice,
            "macs": network.macs,
            "accuracy": accuracy,
        }

    def restore(
        self, learnt: Iterable[Mapping[str, Any]], lines: Iterable[Mapping[str, Any]]
    ) -> None:
        """Take in what earlier rounds learnt (``learnt``) and their designs' lines, in order."""
        for at in learnt:
            (point,) = self.space.encode([at["choice"]])
            for steps, accuracy in at["accuracy"].items():
                self.learn(at["identity"], point, at["macs"], int(steps), accuracy)
        for line in lines:
            if line["id"] < len(self.designs):
                continue
            costs = {
                name: math.nan if value is None else value
                for name, value in line["values"].items()
                if name != ACCURACY
            }
            (point,) = self.space.encode([line["choice"]])
            identity = line["network"]
            design = Design(line["id"], point, identity, costs)
            self._known[identity, point[self._hardware].tobytes()] = design.number
            self.designs.append(design)
