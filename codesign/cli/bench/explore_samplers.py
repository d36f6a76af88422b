"""How many points samplers propose in a second: 20 parameters of 10 values, 4 objectives.

Processor time of one core, of asking and telling alone.
"""

from __future__ import annotations

import time

import numpy as np

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.explore.search import sampler
from codesign.explore.space import IntArray, Parameter, Space

PARAMETERS, VALUES, OBJECTIVES = 20, 10, 4
GENERATIONS = 20
POPULATION = {
    "random": 5000,
    "grid": 5000,
    "nsga2": 500,
    "nsga3": 500,
    "optuna-nsga2": 50,
    "tpe": 5,
}
"""Points that are asked for at once; Optuna's samplers grow slower with their history."""


def rows(arch: Arch) -> list[Row]:
    """The architecture does not matter."""
    return [
        Row(f"explore.{name.replace('-', '_')}.proposals_per_second", _rate(name), "1/s")
        for name in POPULATION
    ]


def _rate(name: str) -> float:
    space = Space(tuple(Parameter(f"x{n}", tuple(range(VALUES))) for n in range(PARAMETERS)))
    count = POPULATION[name]
    at = sampler(name, space, OBJECTIVES, population=count)
    at.tell(at.ask(1), np.zeros((1, OBJECTIVES)), np.zeros(1))  # what is made once
    seconds = 0.0
    for _ in range(GENERATIONS):
        start = time.process_time()
        points = at.ask(count)
        seconds += time.process_time() - start
        values = _values(points)
        start = time.process_time()
        at.tell(points, values, np.zeros(count))
        seconds += time.process_time() - start
    return GENERATIONS * count / seconds


def _values(points: IntArray) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Squared distances to as many points as there are objectives."""
    ends = np.linspace(0, VALUES - 1, OBJECTIVES)
    return np.stack([((points - end) ** 2).sum(axis=1) for end in ends], axis=1)
