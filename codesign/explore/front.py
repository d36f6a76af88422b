"""Pareto fronts and their hypervolumes, by moocore (C; it comes with pymoo)."""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def non_dominated(values: FloatArray) -> IntArray:
    """Ascending rows of [n, d] that no other row is better than: in no objective greater and in one
    less. Of equal rows the first."""
    if not len(values):
        return np.empty(0, np.int64)
    found: IntArray = np.flatnonzero(moocore.is_nondominated(np.asarray(values, np.float64)))
    return found


def hypervolume(values: FloatArray, reference: FloatArray) -> float:
    """The volume between the points [n, d] and the reference [d]; points beyond it count nothing.

    E. Zitzler, L. Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the
    Strength Pareto Approach", IEEE Transactions on Evolutionary Computation, 1999.
    """
    inside = np.asarray(values, np.float64)
    inside = inside[(inside < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    return float(moocore.hypervolume(inside, ref=reference))
