"""An exploration as one HTML page that needs no network: data, styles, scripts and plotly inside.

The page draws with plotly.js, which the package ``plotly`` carries; its own scripts are beside this
module in ``page/``.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from codesign import boards
from codesign.cost.resources import SHARE
from codesign.report import files
from codesign.report.exploration import Exploration, Row, read
from codesign.report.exploration_figures import FIGURES, MEASURES

ASSETS = Path(__file__).parent / "page"
SCRIPTS = ("data", "theme", "front", "table", "choices", "summary", "inside", "run", "main")
MOST_OTHERS = 2000
"""Designs drawn beside the front and those compiled: more only slow the browser down; the CSV has
all."""


def write(folder: Path, page: Path) -> Exploration:
    """Write the page of an explored folder; what was read is returned.

    Raises
    ------
    ValueError
        As ``exploration.read``.
    ModuleNotFoundError
        Package ``plotly`` is missing.
    """
    found = read(folder)
    files.write_text(page, render(found))
    return found


def render(exploration: Exploration) -> str:
    """The page's HTML."""
    from plotly.offline import get_plotlyjs  # half a second, which other commands need not spend

    text = Template((ASSETS / "page.html").read_text())
    return text.substitute(
        title=html.escape(f"{exploration.run['name']}: exploration"),
        style=(ASSETS / "page.css").read_text(),
        data=embedded(document(exploration)),
        plotly=get_plotlyjs(),
        script="\n".join((ASSETS / f"{name}.js").read_text() for name in SCRIPTS),
    )


def embedded(value: Any) -> str:
    """JSON that may stand inside a ``script`` element, whatever texts it holds."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def document(exploration: Exploration) -> dict[str, Any]:
    """What the page's scripts read: designs as columns, choices as indices of their values."""
    run, front = exploration.run, set(exploration.front)
    kept = front | exploration.designs.keys()
    others = [row for row in exploration.trials if row["id"] not in front]
    shown = [row for row in exploration.trials if row["id"] in kept]
    shown += _thinned([row for row in others if row["id"] not in kept])
    parameters = _parameters(shown)
    board = boards.board(run["board"])
    return {
        "name": run["name"],
        "folder": shlex.quote(str(exploration.folder)),
        "board": board.name,
        "run": _finite(run),
        "arch": run.get("arch"),
        "objectives": [{"key": key, "goal": goal} for key, goal in run["objectives"].items()],
        "figures": {key: dataclasses.asdict(figure) for key, figure in FIGURES.items()},
        "resources": _limits(board.part.resources),
        "parameters": [_parameter(name, values) for name, values in parameters.items()],
        "ids": [row["id"] for row in shown],
        "choice": [_indices(row["choice"], parameters) for row in shown],
        "values": _finite(_columns(shown)),
        "fidelity": [MEASURES.get(row["fidelity"], row["fidelity"]) for row in shown],
        "violation": [1 if row["violation"] else 0 for row in shown],
        "front": [at for at, row in enumerate(shown) if row["id"] in front],
        "others": len(others),
        "details": {str(key): _finite(design) for key, design in exploration.designs.items()},
    }


def _thinned(rows: Sequence[Row]) -> list[Row]:
    step = max(1, math.ceil(len(rows) / MOST_OTHERS))
    return list(rows[::step])


def _parameters(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Name -> the values that the designs have, numbers in order."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, value in row["choice"].items():
            found.setdefault(name, {})[json.dumps(value)] = value
    return {name: _sorted(list(values.values())) for name, values in found.items()}


def _sorted(values: list[Any]) -> list[Any]:
    numbers = all(isinstance(value, int | float) for value in values)
    return sorted(values, key=None if numbers else str)


def _parameter(name: str, values: Sequence[Any]) -> dict[str, Any]:
    words = 2 if name.startswith("prune.") else 1  # prune.channels.GROUP, hardware.FIELD
    *group, label = name.split(".", words)
    return {
        "name": name,
        "group": ".".join(group),
        "label": label,
        "values": [_text(at) for at in values],
    }


def _text(value: Any) -> Any:
    """A value as the page shows it: numbers and texts as they are, the rest as JSON."""
    plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if plain else json.dumps(value)


def _indices(choice: Row, parameters: Mapping[str, list[Any]]) -> list[int | None]:
    return [
        values.index(choice[name]) if name in choice else None
        for name, values in parameters.items()
    ]


def _columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """The figures that the page knows and some design has, each [designs]."""
    return {
        key: [row["values"].get(key) for row in rows]
        for key in FIGURES
        if any(row["values"].get(key) is not None for row in rows)
    }


def _limits(part: boards.Resources) -> list[dict[str, Any]]:
    return [
        {"key": key, "limit": getattr(part, key), "share": share} for key, share in SHARE.items()
    ]


def _finite(value: Any) -> Any:
    """The same with None in place of NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
