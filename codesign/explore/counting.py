"""What a sweep has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codesign.explore.models import BoolArray, Costs, FloatArray, Models
from codesign.explore.space import IntArray, Space

REMEMBERED = 1 << 18
"""Designs whose costs are kept, at most: they are forgotten all at once."""


@dataclass
class Counts:
    """``closed_form``: designs whose costs were computed; of these ``rejected`` by their reasons.
    ``accuracy`` and ``finetuned``: networks; ``failed``: those that could not be evaluated.
    """

    closed_form: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    accuracy: int = 0
    finetuned: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    verified: int = 0

    def update(self, other: Counts) -> None:
        """Go on counting from another's numbers."""
        self.__dict__.update(other.__dict__)

    def to_dict(self) -> dict[str, Any]:
        return {
            "closed_form": self.closed_form,
            "rejected": dict(self.rejected.most_common()),
            "accuracy": self.accuracy,
            "finetuned": self.finetuned,
            "failed": dict(self.failed),
            "verified": self.verified,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counts:
        counted: dict[str, Any] = {
            name: Counter(value) if isinstance(value, dict) else value
            for name, value in values.items()
        }
        return cls(**counted)


class CountedModels:
    """Models whose closed form is counted, and computed once for each design: a call takes long
    for its few rows."""

    def __init__(self, models: Models, counts: Counts) -> None:
        self._models, self.counts = models, counts
        self._rows: dict[bytes, int] = {}
        self._names: tuple[str, ...] = ()
        self._table: FloatArray = np.empty((0, 0))
        self._reasons: list[str] = []

    @property
    def space(self) -> Space:
        return self._models.space

    def costs(self, points: IntArray) -> Costs:
        keys = [row.tobytes() for row in np.ascontiguousarray(points, np.int64)]
        if len(self._rows) + len(keys) > REMEMBERED:
            self._rows.clear()
            self._reasons.clear()
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        new = sorted(row for key, row in first.items() if key not in self._rows)
        if new or not self._names:
            self._compute(points[new], [keys[row] for row in new])
        rows = [self._rows[key] for key in keys]
        found = self._table[rows]
        values = {name: found[:, column] for column, name in enumerate(self._names, 1)}
        return Costs(values, found[:, 0], tuple(self._reasons[row] for row in rows))

    def _compute(self, points: IntArray, keys: Sequence[bytes]) -> None:
        found = self._models.costs(points)
        self.counts.closed_form += len(points)
        self.counts.rejected.update(reason for reason in found.reasons if reason)
        self._names = tuple(found.values)
        rows = np.stack([found.violation, *found.values.values()], axis=1)
        begin = len(self._reasons)
        if not len(self._table):
            self._table = np.empty((REMEMBERED, rows.shape[1]))
        if begin + len(rows) > len(self._table):  # more at once than are ever kept
            self._table = np.concatenate([self._table[:begin], rows])
        self._table[begin : begin + len(rows)] = rows
        self._rows.update(zip(keys, range(begin, begin + len(rows)), strict=True))
        self._reasons.extend(found.reasons)

    def identities(self, points: IntArray) -> Sequence[str]:
        return self._models.identities(points)

    def bound(self, points: IntArray) -> BoolArray:
        return self._models.bound(points)

    def start(self) -> IntArray:
        return self._models.start()
