"""Every point of the space once.

Optuna's grid sampler lists all points first, which no joint space allows; here the n-th is
computed.
"""

from __future__ import annotations

import math

import numpy as np

from codesign.explore.search.sampler import FloatArray, check_told
from codesign.explore.space import IntArray, Space


class GridSampler:
    """Every allowed point once, far apart rather than one beside the other.

    The n-th of S points is a * n + b modulo S, with a relatively prime to S: a sweep that is ended
    early has seen all of the space coarsely. At the end ``ask`` returns fewer points than asked
    for, then none.
    """

    def __init__(self, space: Space, objectives: int, seed: int = 0) -> None:
        self._space, self._objectives = space, objectives
        size = space.size
        generator = np.random.default_rng(seed)
        self._factor = max(1, round(size * (0.55 + 0.1 * generator.random())))
        while math.gcd(self._factor, size) != 1:
            self._factor += 1
        self._offset = round(size * generator.random())
        self._next = 0  # of S
        self._told: set[bytes] = set()

    def ask(self, count: int) -> IntArray:
        """The next points that nobody told of."""
        found: list[IntArray] = []
        while (missing := count - len(found)) and self._next < self._space.size:
            end = min(self._next + missing, self._space.size)
            points = np.array([self._point(number) for number in range(self._next, end)], np.int64)
            allowed = (self._space.repair(points) == points).all(axis=1)
            found += [point for point in points[allowed] if point.tobytes() not in self._told]
            self._next = end
        return np.array(found, np.int64).reshape(len(found), len(self._space))

    def tell(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        """What was told is not proposed: a fresh sampler goes on behind it."""
        self._space.check(points)
        check_told(points, values, violation, self._objectives)
        self._told.update(map(bytes, np.ascontiguousarray(points)))

    def _point(self, number: int) -> list[int]:
        rest = (self._factor * number + self._offset) % self._space.size
        indices = []
        for size in self._space.sizes.tolist():
            rest, index = divmod(rest, size)
            indices.append(index)
        return indices
