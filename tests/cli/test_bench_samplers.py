"""The rates of samplers, measured on fewer points."""

import pytest

from codesign.arch import preset
from codesign.cli.bench import explore_samplers


def test_every_rate_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore_samplers, "GENERATIONS", 2)
    monkeypatch.setattr(explore_samplers, "POPULATION", {"nsga2": 20, "optuna-nsga2": 5})
    rows = explore_samplers.rows(preset("tiny"))
    assert [(row.name, row.unit) for row in rows] == [
        ("explore.nsga2.proposals_per_second", "1/s"),
        ("explore.optuna_nsga2.proposals_per_second", "1/s"),
    ]
    assert rows[0].value > rows[1].value > 0
