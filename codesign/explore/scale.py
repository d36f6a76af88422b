"""The box that hypervolumes are shares of: from an ideal point to the reference point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from codesign.explore.front import hypervolume
from codesign.explore.models import ACCURACY, FloatArray
from codesign.explore.problem import Problem

_SLACK = 2.0
"""An objective without a bound counts up to so many times the value of the design to begin with."""
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Scale:
    """``ideal`` and ``reference`` [objectives], both in objectives that are the less the better."""

    ideal: FloatArray
    reference: FloatArray

    @classmethod
    def of(cls, problem: Problem, limits: Mapping[str, float], start: Mapping[str, float]) -> Scale:
        """The box of a problem's objectives.

        The reference is the bound of each objective: the constraint's, else the board's
        (``limits``), else twice the first design's value. The ideal is 0, and right always.
        """
        ideal, reference = [], []
        for at in problem.objectives:
            bounds = problem.constraints.minimum if at.maximize else problem.constraints.maximum
            if at.name == ACCURACY:
                ideal.append(-1.0)
                reference.append(-bounds.get(at.name, 0.0))
            elif at.maximize:
                ideal.append(-_SLACK * start[at.name])
                reference.append(-bounds.get(at.name, 0.0))
            else:
                ideal.append(0.0)
                usual = limits.get(at.name, _SLACK * start[at.name])
                reference.append(bounds.get(at.name, usual))
        return cls(np.array(ideal), np.array(reference))

    @property
    def ones(self) -> FloatArray:
        """The reference in shares."""
        return np.ones(len(self.reference))

    def share(self, minimised: FloatArray) -> FloatArray:
        """Objectives [n, objectives] as shares of the box's sides: the reference is 1, the ideal
        0."""
        extent = np.maximum(self.reference - self.ideal, _TINY)
        found: FloatArray = (minimised - self.ideal) / extent
        return found

    def hypervolume(self, minimised: FloatArray) -> float:
        """The share of the box that these points are better than."""
        return hypervolume(self.share(minimised), self.ones)

    def named(self, problem: Problem) -> dict[str, float]:
        """The reference point in the objectives' own terms."""
        return {
            at.name: float(-value if at.maximize else value)
            for at, value in zip(problem.objectives, self.reference, strict=True)
        }
