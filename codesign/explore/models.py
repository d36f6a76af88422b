"""What the engine needs to know of a problem's designs: their costs, and which network each is.

``codesign.explore.codesign_models`` has it for networks and architectures; tests have simpler ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from codesign.explore.cache import Arrays
from codesign.explore.space import IntArray, Space

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ACCURACY = "accuracy"
HARDWARE = "hardware."


@dataclass(frozen=True, eq=False)
class Costs:
    """What n designs cost in closed form.

    Attributes
    ----------
    values:
        Measure (``problem.MEASURES`` but for the accuracy) -> [n]; NaN where a design has none.
    violation:
        [n]: 0 where a design fits the board and meets every bound, otherwise the more the worse.
    reasons:
        Of each design, the first that speaks against it; empty where none does.
    """

    values: Mapping[str, FloatArray]
    violation: FloatArray
    reasons: tuple[str, ...]

    @property
    def feasible(self) -> BoolArray:
        return np.asarray(self.violation == 0)

    def take(self, rows: Sequence[int]) -> Costs:
        """Those of some of the designs."""
        at = np.asarray(rows, np.int64)
        values = {name: column[at] for name, column in self.values.items()}
        return Costs(values, self.violation[at], tuple(self.reasons[row] for row in rows))


@dataclass(frozen=True)
class Task:
    """An accuracy to be found: of a network, after so many steps of fine-tuning.

    ``identity`` is the network's (``Models.identities``), ``choice`` what it was chosen by.
    """

    identity: str
    choice: Mapping[str, Any]
    steps: int = 0


@dataclass(frozen=True, eq=False)
class Accuracy:
    """What evaluating a task gave: shares of right answers, and the weights that were trained."""

    validation: float
    seconds: float
    weights: Arrays | None = None


class Models(Protocol):
    """The designs of a space."""

    @property
    def space(self) -> Space: ...

    def costs(self, points: IntArray) -> Costs:
        """The costs of designs [n, K]."""
        ...

    def identities(self, points: IntArray) -> Sequence[str]:
        """Of each design, the digest of all that its accuracy follows from: network, pruning,
        quantisation; equal where designs differ in their hardware alone."""
        ...

    def bound(self, points: IntArray) -> BoolArray:
        """[n, K]: parameters of the hardware that a design's accuracy follows from as well, such as
        the blocks' size where blocks are zero."""
        ...

    def start(self) -> IntArray:
        """Designs [n, K] to begin with: the network as it is on the architecture as it is."""
        ...


def hardware_columns(space: Space) -> BoolArray:
    """Which of the space's parameters are the hardware's, [K]."""
    return np.array([name.startswith(HARDWARE) for name in space.names], bool)
