"""Points drawn evenly: what every other sampler is measured against."""

from __future__ import annotations

import numpy as np

from codesign.explore.search.sampler import FloatArray, check_told
from codesign.explore.space import IntArray, Space


class RandomSampler:
    """All points equally likely, with repetition; the n-th follows from the seed and n alone."""

    def __init__(self, space: Space, objectives: int, seed: int = 0) -> None:
        self._space = space
        self._objectives = objectives
        self._seed = seed
        self._asked = self._told = 0

    def ask(self, count: int) -> IntArray:
        """The next points."""
        first = max(self._asked, self._told)
        self._asked = first + count
        bits = np.random.PCG64(self._seed).advance(first * len(self._space))
        return self._space.draw(count, np.random.Generator(bits))

    def tell(self, points: IntArray, values: FloatArray, violation: FloatArray) -> None:
        """What was told is counted: a fresh sampler goes on behind it."""
        self._space.check(points)
        check_told(points, values, violation, self._objectives)
        self._told += len(points)
