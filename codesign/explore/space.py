"""The joint space: named parameters, each with finitely many values.

A point is a row of value indices, one for each parameter: samplers know nothing else of the space.
The names say which side a parameter is of: ``hardware.FIELD`` (of ``Arch``), ``network.ARGUMENT``
(of the user's module), ``prune.channels.GROUP``, ``prune.blocks.LAYER``, ``quantize.method``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

Value = int | float | str | bool
"""What a parameter can be set to."""


@dataclass(frozen=True)
class Parameter:
    """One choice.

    Parameters
    ----------
    name:
        Its place in the problem's file, parts divided by dots.
    values:
        All it can be, without repetition. One value alone fixes it.
    ordered:
        Neighbouring values make alike designs, as numbers in ascending order do; otherwise the
        values are categories.
    """

    name: str
    values: tuple[Value, ...]
    ordered: bool = True

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.name} has no value; give at least one")
        kinds = [(type(value) is bool or type(value) is str, value) for value in self.values]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"{self.name} lists a value twice: {_shown(self.values)}")
        if self.ordered and list(self.values) != sorted(self.values, key=_number):
            raise ValueError(
                f"{self.name}: ordered values must ascend, not {_shown(self.values)}; sort them"
            )


@dataclass(frozen=True)
class Rule:
    """Which values of two parameters go together: ``allowed`` has a row for each value of
    ``first``, in it whether each value of ``second`` may stand beside that one.
    """

    first: str
    second: str
    allowed: tuple[tuple[bool, ...], ...]

    @cached_property
    def nearest(self) -> IntArray:
        """For each pair of indices the allowed pair in its place, [first, second, 2].

        ``second`` moves where that is enough, and as little as it can: to the lower index of two
        equally near.
        """
        allowed = np.argwhere(np.array(self.allowed, np.bool_))
        first, second = np.indices((len(self.allowed), len(self.allowed[0])))
        far = len(self.allowed[0])
        distance = np.abs(first[..., None] - allowed[:, 0]) * far
        distance = distance + np.abs(second[..., None] - allowed[:, 1])
        found: IntArray = allowed[distance.argmin(axis=-1)]
        return found


@dataclass(frozen=True)
class Space:
    """K parameters; points are rows [n, K] of indices into their values.

    ``rules`` may forbid combinations; samplers propose allowed points alone (``repair``).
    """

    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        names = self.names
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two parameters are called {repeated[0]!r}; names must differ")
        for rule in self.rules:
            pair = (rule.first, rule.second)
            sizes = tuple(len(self.parameters[self.index(name)].values) for name in pair)
            if np.shape(rule.allowed) != sizes:
                raise ValueError(f"the rule of {rule.first} and {rule.second} must be {sizes}")
            if not np.any(rule.allowed):
                raise ValueError(
                    f"no value of {rule.second} goes with any of {rule.first}; add one that does"
                )

    def __len__(self) -> int:
        return len(self.parameters)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    @cached_property
    def sizes(self) -> IntArray:
        """How many values each parameter has, [K]."""
        return np.array([len(parameter.values) for parameter in self.parameters], np.int64)

    @cached_property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(parameter.values) for parameter in self.parameters)

    def index(self, name: str) -> int:
        """The parameter's column; ``ValueError`` where there is none of that name."""
        try:
            return self._columns[name]
        except KeyError:
            raise ValueError(
                f"the space has no parameter {name!r}; it has {', '.join(self.names)}"
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {name: column for column, name in enumerate(self.names)}

    def check(self, points: IntArray) -> None:
        """``ValueError`` where these are no points of the space."""
        if points.ndim != 2 or points.shape[1] != len(self):
            raise ValueError(f"points must have the shape [n, {len(self)}], not {points.shape}")
        outside = (points < 0) | (points >= self.sizes)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"point {row}: {self.names[column]} has the values 0..{self.sizes[column] - 1} by "
                f"index, not {points[row, column]}"
            )

    def decode(self, points: IntArray) -> list[dict[str, Value]]:
        """What each point chooses: parameter name -> value."""
        self.check(points)
        return [
            {at.name: at.values[index] for at, index in zip(self.parameters, row, strict=True)}
            for row in points.tolist()
        ]

    def encode(self, choices: Sequence[Mapping[str, Value]]) -> IntArray:
        """The points [n, K] of these choices; ``ValueError`` where one is not of the space."""
        points = np.empty((len(choices), len(self)), np.int64)
        for row, choice in enumerate(choices):
            if choice.keys() != self._columns.keys():
                differing = sorted(choice.keys() ^ self._columns.keys())
                raise ValueError(
                    f"choice {row} does not name the parameters of this space: {differing[0]!r} "
                    "is in one of them alone"
                )
            for column, at in enumerate(self.parameters):
                points[row, column] = _position(at, choice[at.name])
        return points

    def column(self, name: str, points: IntArray) -> npt.NDArray[np.generic]:
        """One parameter's values at the points, [n]."""
        column = self.index(name)
        values = np.asarray(self.parameters[column].values)
        found: npt.NDArray[np.generic] = values[points[:, column]]
        return found

    def repair(self, points: IntArray) -> IntArray:
        """The points, each forbidden one moved to the nearest that the rules allow."""
        repaired: IntArray = points.copy()
        for rule in self.rules:
            columns = [self.index(rule.first), self.index(rule.second)]
            repaired[:, columns] = rule.nearest[tuple(repaired[:, columns].T)]
        return repaired

    def part(self, *prefixes: str) -> Space:
        """The parameters whose names begin with one of the prefixes and a dot, and their rules."""
        starts = tuple(prefix + "." for prefix in prefixes)
        kept = tuple(at for at in self.parameters if at.name.startswith(starts))
        names = {at.name for at in kept}
        return Space(kept, tuple(at for at in self.rules if {at.first, at.second} <= names))

    def draw(self, count: int, generator: np.random.Generator) -> IntArray:
        """Points [count, K], evenly, then repaired; takes K numbers of the generator a point."""
        drawn = generator.random((count, len(self))) * self.sizes
        return self.repair(drawn.astype(np.int64))


def _number(value: Value) -> float:
    if isinstance(value, str):
        raise ValueError(f"{value!r} is no number: such a parameter is not ordered")
    return float(value)


def _position(parameter: Parameter, value: Value) -> int:
    for position, candidate in enumerate(parameter.values):
        if candidate == value and isinstance(candidate, str | bool) == isinstance(
            value, str | bool
        ):
            return position
    raise ValueError(f"{parameter.name} cannot be {value!r}; it can be {_shown(parameter.values)}")


def _shown(values: Iterable[Value]) -> str:
    return ", ".join(map(str, values))
