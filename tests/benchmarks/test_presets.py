"""The measured figures of every board's preset."""

import json
from pathlib import Path

import pytest

from codesign.boards import BOARDS

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "presets.json"
MOST = {"lut": 0.85, "ff": 0.85, "dsp": 1.0, "ramb36": 1.0, "uram": 1.0}
"""Share of a part that a preset may take: LUTs and flip-flops need room to be placed."""


@pytest.mark.parametrize("name", BOARDS)
def test_every_preset_fits_its_part(name: str) -> None:
    rows = {row["name"]: row["value"] for row in json.loads(RESULTS.read_text())["rows"]}
    for figure, share in MOST.items():
        used = rows[f"presets.{name}.{figure}"]
        most = getattr(BOARDS[name].part.resources, figure) * share
        assert used <= most, f"{name}: {used} {figure}, more than {most:g}"
