"""Samplers behind one interface (``codesign.explore.search.sampler.Sampler``)."""

from __future__ import annotations

from codesign.explore.search.sampler import Sampler
from codesign.explore.space import Space

NAMES = ("random", "grid", "nsga2", "nsga3", "optuna-nsga2", "tpe", "gp")
"""The samplers there are."""


def sampler(
    name: str, space: Space, objectives: int, seed: int = 0, population: int = 64
) -> Sampler:
    """A sampler by its name; the library behind it is imported now.

    Parameters
    ----------
    objectives:
        How many values each point is told with.
    population:
        Designs in a generation, for samplers that have generations.

    Raises
    ------
    ValueError
        No sampler has that name.
    """
    if name == "random":
        from codesign.explore.search.random import RandomSampler

        return RandomSampler(space, objectives, seed)
    if name == "grid":
        from codesign.explore.search.grid import GridSampler

        return GridSampler(space, objectives, seed)
    if name in ("nsga2", "nsga3"):
        from codesign.explore.search.evolution import EvolutionSampler

        return EvolutionSampler(space, objectives, seed, population, reference=name == "nsga3")
    if name in ("optuna-nsga2", "tpe", "gp"):
        from codesign.explore.search.bayesian import OptunaSampler

        return OptunaSampler(name, space, objectives, seed, population)
    raise ValueError(f"no sampler is called {name!r}; there are {', '.join(NAMES)}")
