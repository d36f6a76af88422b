"""Every evaluated design of an exploration as a table: RFC 4180, a row each."""

from __future__ import annotations

import csv
import io
from typing import Any

from codesign.report.exploration import Exploration, Row
from codesign.report.exploration_figures import FIGURES

_VERIFIED = {
    "accuracy_test": ("accuracy", "test"),
    "cycles_predicted": ("cycles", "predicted_exact"),
    "cycles_simulated": ("cycles", "simulated_rtl"),
}
"""Columns of compiled designs alone -> where design.json has them."""


def table(exploration: Exploration) -> str:
    """Id, whether it is on the front and verified, figures, choices; a cell is empty where a design
    has no such value. Accuracies are shares, other units are in the names."""
    names = list(dict.fromkeys(name for row in exploration.trials for name in row["choice"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["id", "front", "bit_exact", "fidelity", "violation", *FIGURES, *_VERIFIED, *names]
    )
    front = set(exploration.front)
    for row in exploration.trials:
        design = exploration.designs.get(row["id"], {})
        writer.writerow(
            [row["id"], int(row["id"] in front), design.get("bit_exact"), row["fidelity"],
             row["violation"], *_figures(row, design), *(row["choice"].get(at) for at in names)]
        )  # fmt: skip
    return text.getvalue()


def _figures(row: Row, design: Row) -> list[Any]:
    verified = [design.get(part, {}).get(key) for part, key in _VERIFIED.values()]
    return [*(_whole(row["values"].get(key)) for key in FIGURES), *verified]


def _whole(value: Any) -> Any:
    """Counts as integers, though they were columns of floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
