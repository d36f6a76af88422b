"""Energy coefficients in YAML: the project's own (``energy.yaml``), or a user's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from codesign.cost.energy import EVENTS, Coefficients

OWN = Path(__file__).with_name("energy.yaml")


def find(board: str, path: Path | None = None) -> Coefficients | None:
    """The coefficients of a board, from the project's own file or another; None where it has none.

    Raises
    ------
    ValueError
        The file is no such file; the message names the entry.
    """
    return (load(path) if path else _own()).get(board)


@cache
def _own() -> dict[str, Coefficients]:
    return load(OWN)


def load(path: Path) -> dict[str, Coefficients]:
    """Board -> its coefficients.

    Raises
    ------
    ValueError
        The file is no such file; the message names the entry.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    found: dict[str, Coefficients] = {}
    for family, values in _mapping(data, "families", path).items():
        where = f"family {family!r}"
        energy = {
            name: _number(_mapping(entry, None, path), "value", f"{where}, {name}", path)
            for name, entry in _mapping(values, "energy_pj", path).items()
        }
        for board, entry in _mapping(values, "boards", path).items():
            found[board] = Coefficients(
                family=family,
                board=board,
                static_w=_number(_mapping(entry, None, path), "static_w", f"board {board!r}", path),
                energy_pj=_complete(energy, where, path),
                uncertainty=_number(values, "uncertainty", where, path),
                origin=_origin(values, entry, board, path),
            )
    return found


def dump(coefficients: Coefficients) -> str:
    """A file with one board's coefficients."""
    at = coefficients
    energy = {name: {"value": _shown(at.energy_pj[name]), "source": at.origin} for name in EVENTS}
    family = {
        "origin": at.origin,
        "uncertainty": _shown(at.uncertainty),
        "energy_pj": energy,
        "boards": {at.board: {"static_w": _shown(at.static_w), "source": at.origin}},
    }
    text: str = yaml.safe_dump({"families": {at.family: family}}, sort_keys=False)
    return text


def _origin(values: Mapping[str, Any], entry: Mapping[str, Any], board: str, path: Path) -> str:
    """Where a board's coefficients come from, and whether its static power is a guess."""
    assumed = entry.get("assumed", False)
    if not isinstance(assumed, bool):
        raise ValueError(f"{path}: board {board!r}: assumed must be true or false, not {assumed!r}")
    origin = str(values.get("origin", "literature"))
    return f"{origin}; static power assumed" if assumed else origin


def _shown(value: float) -> float:
    """As many digits as any meter has."""
    return float(f"{value:.6g}")


def _mapping(values: Any, key: str | None, path: Path) -> Mapping[str, Any]:
    found = values if key is None else values.get(key) if isinstance(values, dict) else None
    if not isinstance(found, dict):
        raise ValueError(
            f"{path} holds no energy coefficients: {key or 'an entry'} must be a mapping, not "
            f"{found!r}; begin with a copy of {OWN.name}, or use what `codesign calibrate` wrote"
        )
    return found


def _number(values: Mapping[str, Any], key: str, where: str, path: Path) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{path}: {where}: {key} must be a number, not {value!r}")
    return float(value)


def _complete(energy: dict[str, float], where: str, path: Path) -> dict[str, float]:
    if energy.keys() != set(EVENTS):
        raise ValueError(
            f"{path}: {where}: energy_pj has {sorted(energy)}; give {', '.join(EVENTS)}"
        )
    return energy
