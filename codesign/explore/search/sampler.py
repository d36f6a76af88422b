"""What proposes points: one interface, whatever library is behind it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from codesign.explore.space import IntArray

FloatArray = npt.NDArray[np.float64]


class Sampler(Protocol):
    """Proposes points of a space, and is told what they were worth.

    The proposals follow from the seed and the order of the calls alone. A sampler that was never
    asked and is told a history goes on from there. Where everything that had been asked for was
    told, and in the same order, it goes on exactly as the one that made that history;
    otherwise the points that were under way are proposed again, or others in their place.

    It may be told points that it never proposed, and may propose a point a second time.
    """

    def ask(self, count: int) -> IntArray:
        """Points [count, K] to evaluate next; fewer where a finite search is at its end.

        Others may be asked for before these are told.
        """
        ...

    def tell(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        """What points [n, K] were worth.

        Parameters
        ----------
        points:
            Any points of the space.
        values:
            [n, objectives], the less the better; NaN where nothing is known, as for points that
            were refused before they were evaluated.
        violation:
            [n], 0 where a point is feasible, otherwise the greater the worse. A point without
            values must violate.
        """
        ...


def check_told(
    points: IntArray, values: FloatArray, violation: FloatArray, objectives: int
) -> None:
    """``ValueError`` where the arguments of a ``tell`` do not fit each other."""
    if values.shape != (len(points), objectives) or violation.shape != (len(points),):
        raise ValueError(
            f"{len(points)} points need values [{len(points)}, {objectives}] and violation "
            f"[{len(points)}], not {values.shape} and {violation.shape}"
        )
    if np.isnan(violation).any() or (violation < 0).any():
        raise ValueError("violation must be 0 or more in every row")
    unknown = np.isnan(values).any(axis=1) & (violation == 0)
    if unknown.any():
        raise ValueError(
            f"point {int(np.flatnonzero(unknown)[0])} is feasible and has no value; give its "
            "values, or a violation above 0"
        )
