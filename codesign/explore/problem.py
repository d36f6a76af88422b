"""What a sweep is to find: network, space, constraints, objectives, search, fidelities.

``codesign.explore.space_file`` reads it from YAML.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.errors import ExplorationError
from codesign.explore.space import Parameter, Rule, Space, Value

FloatArray = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[np.generic]]

MEASURES = {
    "accuracy": "max",
    "latency_ms": "min",
    "energy_uj": "min",
    "cycles": "min",
    "lut": "min",
    "ff": "min",
    "dsp": "min",
    "ramb36": "min",
    "uram": "min",
    "dram_bytes": "min",
    "macs": "min",
}
"""What a design is measured by, and which way is better. ``accuracy`` is a share, 0..1."""

SURROGATE = "surrogate"
"""The engine's own search (``codesign.explore.surrogate``); all others are
``codesign.explore.search.NAMES``."""


@dataclass(frozen=True)
class Source:
    """Where the network and its data come from, as ``module:function``.

    ``model`` called with ``arguments`` and a point's ``network.*`` values returns (module, example
    input); ``data`` called with ``data_arguments`` returns ``codesign.zoo.data.Data``. ``weights``
    is a state dict's file; ``train`` called with the module, the data and ``seed`` returns the
    module trained. Without both, the module comes as it shall be.
    """

    model: str
    data: str
    train: str | None = None
    arguments: Mapping[str, Value] = field(default_factory=dict)
    data_arguments: Mapping[str, Value] = field(default_factory=dict)
    weights: Path | None = None


@dataclass(frozen=True)
class Pattern:
    """Values for all names that a shell pattern matches.

    Each name has a parameter of its own, or, ``together``, all share one.
    """

    pattern: str
    values: tuple[Value, ...]
    together: bool = False


Kind = Literal["channels", "blocks"]


@dataclass(frozen=True)
class Objective:
    """A measure that the front is made of."""

    name: str
    maximize: bool


@dataclass(frozen=True)
class Constraints:
    """The board that a design must fit, and bounds of measures (``MEASURES``)."""

    board: str
    maximum: Mapping[str, float] = field(default_factory=dict)
    minimum: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """How the space is searched; what the command line does not say otherwise.

    ``trials`` counts evaluated designs; it and ``minutes`` end a search, whichever is first.
    """

    sampler: str = SURROGATE
    seed: int = 0
    population: int = 64
    trials: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Finetune:
    """Steps of fine-tuning, for that many of the most promising designs."""

    steps: int
    top: int


@dataclass(frozen=True)
class Fidelities:
    """What the promising designs are put through: None and 0 leave it out."""

    finetune: Finetune | None = None
    finalists: int = 0


@dataclass(frozen=True)
class Problem:
    """Everything that a sweep is told.

    Parameters
    ----------
    base:
        The architecture whose fields ``hardware`` varies; its ``board`` is the constraint's.
    hardware, network, quantize:
        Parameters whose names begin so.
    rules:
        Which hardware parameters' values go together.
    channels, blocks:
        Which values the pruning of channel groups and of layers may take; names come from the
        network (``space``).
    multiple:
        What channel pruning leaves of a group is a multiple of this.
    lines:
        Line of the file that each dotted path of the problem stands in, for messages.
    """

    name: str
    source: Source
    base: Arch
    hardware: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    network: tuple[Parameter, ...]
    quantize: tuple[Parameter, ...]
    channels: tuple[Pattern, ...]
    blocks: tuple[Pattern, ...]
    constraints: Constraints
    objectives: tuple[Objective, ...]
    search: Search
    fidelities: Fidelities
    multiple: int = 1
    path: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def space(self, groups: Sequence[str] = (), layers: Sequence[str] = ()) -> Space:
        """The space over a network's prunable channel groups and layers, by their names.

        Of the patterns that match a name a literal one counts before one with wildcards, and the
        last before the first. Names without a pattern are not pruned.

        Raises
        ------
        ExplorationError
            A pattern matches no name.
        """
        pruned = [
            *self._pruned("channels", self.channels, groups),
            *self._pruned("blocks", self.blocks, layers),
        ]
        return Space((*self.hardware, *self.network, *pruned, *self.quantize), self.rules)

    def ratios(self, choice: Mapping[str, Value], groups: Sequence[str]) -> dict[str, float]:
        """Channel group -> the share removed, under a point's choice."""
        return _chosen("channels", self.channels, choice, groups)

    def sparsity(self, choice: Mapping[str, Value], layers: Sequence[str]) -> dict[str, float]:
        """Layer -> the share of its M x N tap blocks that are zero, under a point's choice."""
        return _chosen("blocks", self.blocks, choice, layers)

    def minimised(self, values: Columns) -> FloatArray:
        """The objectives of n designs, [n, objectives], all of them the less the better."""
        return np.stack(
            [
                np.asarray(values[at.name], np.float64) * (-1.0 if at.maximize else 1.0)
                for at in self.objectives
            ],
            axis=1,
        )

    def violation(self, values: Columns) -> FloatArray:
        """How far n designs are beyond the constraints' bounds, [n]: 0 where within all of them.

        The sum of the relative excesses. A measure that is missing from ``values``, or NaN, is not
        judged.
        """
        excess = []
        for bounds, sign in ((self.constraints.maximum, 1.0), (self.constraints.minimum, -1.0)):
            for name, bound in bounds.items():
                if name in values:
                    over = sign * (np.asarray(values[name], np.float64) - bound)
                    excess.append(np.maximum(np.nan_to_num(over), 0.0) / max(abs(bound), 1e-12))
        count = len(next(iter(values.values()))) if values else 0
        return np.sum(excess, axis=0) if excess else np.zeros(count)

    def broken(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """Names of the measures in which one design is beyond its bounds."""
        columns = {name: np.array([value]) for name, value in values.items()}
        alone = {"max": self.constraints.maximum, "min": self.constraints.minimum}
        return tuple(
            name
            for kind, bounds in alone.items()
            for name, bound in bounds.items()
            if name in columns and (values[name] > bound if kind == "max" else values[name] < bound)
        )

    def error(self, place: str, text: str) -> ExplorationError:
        """An error about a dotted place of the problem, with file and line where there is one."""
        return ExplorationError(f"{located(self.path, self.lines, place)}{text}")

    def _pruned(
        self, kind: Kind, patterns: Sequence[Pattern], names: Sequence[str]
    ) -> list[Parameter]:
        ruling = {name: _ruling(patterns, name) for name in names}
        for at in patterns:
            if not any(fnmatch.fnmatchcase(name, at.pattern) for name in names):
                what = "prunable channel group" if kind == "channels" else "layer with weights"
                there = ", ".join(names) or "none"
                raise self.error(
                    f"space.prune.{kind}.{at.pattern}",
                    f"no {what} of the network matches {at.pattern!r}; there are {there}",
                )
        found: dict[str, Parameter] = {}
        for name, ruler in ruling.items():
            if ruler is not None:
                key = _key(kind, ruler, name)
                found.setdefault(key, Parameter(key, ruler.values))
        return list(found.values())


def located(path: Path | None, lines: Mapping[str, int], place: str) -> str:
    """``file:line: place: ``, of the innermost place around it that has a line."""
    parts = place.split(".")
    for end in range(len(parts), 0, -1):
        if line := lines.get(".".join(parts[:end])):
            return f"{path}:{line}: {place}: "
    return f"{path}: {place}: " if path else f"{place}: "


def _ruling(patterns: Sequence[Pattern], name: str) -> Pattern | None:
    """The pattern that says what a name may be: a literal one, or the last that matches."""
    matching = [at for at in patterns if fnmatch.fnmatchcase(name, at.pattern)]
    literal = [at for at in matching if at.pattern == name]
    return next(reversed(literal or matching), None)


def _key(kind: Kind, pattern: Pattern, name: str) -> str:
    return f"prune.{kind}.{pattern.pattern if pattern.together else name}"


def _chosen(
    kind: Kind, patterns: Sequence[Pattern], choice: Mapping[str, Value], names: Sequence[str]
) -> dict[str, float]:
    ruling = {name: _ruling(patterns, name) for name in names}
    return {
        name: float(choice[_key(kind, at, name)]) for name, at in ruling.items() if at is not None
    }
