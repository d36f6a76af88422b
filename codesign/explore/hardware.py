"""The hardware side of the space: fields of ``Arch``, and architectures of points."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from codesign.arch import MAX_PLANES, Arch
from codesign.cost.archs import COLUMNS, Archs
from codesign.explore.space import IntArray, Parameter, Rule, Space, Value

FIELDS = tuple(
    field.name for field in dataclasses.fields(Arch) if field.name not in ("name", "board")
)
"""What a space may vary: every field of ``Arch`` but its name and the board."""

_PREFIX = "hardware."
_PARTNERS = {
    "pixels": "drain",
    "drain": "pixels",
    "in_channels": "out_channels",
    "out_channels": "in_channels",
}
"""Field -> the field that it is judged together with."""


def check_value(base: Arch, field: str, value: Value) -> None:
    """Refuse, as ``Arch`` does, a value that no architecture like ``base`` has.

    Raises
    ------
    ValueError
        The value is out of range.
    TypeError
        It is of the wrong type.
    """
    partner = _PARTNERS.get(field)
    beside = {} if partner is None else {partner: 1 if partner == "drain" else value}
    try:
        base.replace(**{field: value, **beside})
    except (TypeError, ValueError):
        base.replace(**{field: value})  # refused as well, and the message names this field
        raise


def rules(base: Arch, parameters: Sequence[Parameter]) -> tuple[Rule, ...]:
    """Which values of these hardware parameters go together, as ``Arch`` demands.

    D divides P; N is a multiple of M, and at most ``MAX_PLANES`` times it. Each parameter's own
    values are valid (``check_value``). Both fields of a rule must be parameters, or neither:
    ``completed`` sees to it.
    """
    values = {at.name.removeprefix(_PREFIX): at.values for at in parameters}
    found = []
    for first, second, allowed in (
        ("pixels", "drain", _divides),
        ("in_channels", "out_channels", _multiple),
    ):
        if first in values:
            table = tuple(
                tuple(allowed(int(a), int(b)) for b in values[second]) for a in values[first]
            )
            found.append(Rule(_PREFIX + first, _PREFIX + second, table))
    return tuple(found)


def completed(base: Arch, parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The parameters, and the base's value of each field that one of them is judged with."""
    names = {at.name for at in parameters}
    partners = (_PARTNERS.get(at.name.removeprefix(_PREFIX)) for at in parameters)
    missing = [name for name in partners if name and _PREFIX + name not in names]
    return (*parameters, *(Parameter(_PREFIX + name, (getattr(base, name),)) for name in missing))


def architecture(base: Arch, choice: Mapping[str, Value], name: str) -> Arch:
    """The architecture that a point's choice describes; ``ValueError`` as ``Arch``."""
    changes = {
        key.removeprefix(_PREFIX): value for key, value in choice.items() if key.startswith(_PREFIX)
    }
    return base.replace(name=name, **changes)


def architectures(base: Arch, space: Space, points: IntArray) -> Archs:
    """The architectures of allowed points [n, K], as columns."""

    def column(field: str) -> npt.NDArray[np.generic]:
        name = _PREFIX + field
        return (
            space.column(name, points)
            if name in space
            else np.full(len(points), getattr(base, field))
        )

    return Archs(
        **{name: column(name).astype(np.int64) for name in COLUMNS},
        clock_mhz=column("clock_mhz").astype(np.float64),
    )


def _divides(pixels: int, drain: int) -> bool:
    return pixels % drain == 0


def _multiple(inputs: int, outputs: int) -> bool:
    return outputs % inputs == 0 and outputs // inputs <= MAX_PLANES
