"""How near resources from an architecture's parameters come to synthesis, and how fast they are."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codesign.arch import Arch, preset
from codesign.boards import BOARDS
from codesign.cli.bench.row import Row
from codesign.cost import resources as model
from codesign.cost.archs import Archs
from codesign.errors import CodesignError

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
"""Of the repository: what was synthesised is kept there, not in the package."""
EXACT = ("dsp", "ramb36", "uram")
MANY = 100_000
"""Architectures whose resources are worked out at once."""


@dataclass(frozen=True)
class Synthesised:
    """An architecture that the model was not fitted to, and what Yosys says of it as a whole."""

    name: str
    arch: Arch
    family: str
    uram: bool
    took: dict[str, float]

    def told(self) -> dict[str, float]:
        """What the model says."""
        columns = model.resources(Archs.of([self.arch]), self.family, self.uram)
        return {name: float(getattr(columns, name)[0]) for name in model.SHARE}

    def errors(self) -> dict[str, float]:
        """Relative errors of LUTs and flip-flops."""
        told = self.told()
        return {name: told[name] / self.took[name] - 1 for name in model.LOGIC}


def held_out() -> list[Synthesised]:
    """The boards' presets and those of ``benchmarks/resources`` that are set aside.

    Raises
    ------
    CodesignError
        The files are missing.
    """
    presets, whole = BENCHMARKS / "results/presets.json", BENCHMARKS / "resources/whole.jsonl"
    for path in (presets, whole):
        if not path.exists():
            raise CodesignError(f"no {path}: run this in a checkout of the repository")
    figures = {row["name"]: row["value"] for row in json.loads(presets.read_text())["rows"]}
    found = []
    for board in BOARDS.values():
        took = {name: figures[f"presets.{board.name}.{name}"] for name in model.SHARE}
        own = preset(board.preset)
        found.append(Synthesised(board.name, own, board.part.family, took["uram"] > 0, took))
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    return found + [_of(line) for line in lines if line["set"] == "held out"]


def _of(line: dict[str, Any]) -> Synthesised:
    arch = Arch(**line["arch"])
    took = {name: line[name] for name in model.SHARE}
    return Synthesised(
        f"{arch.name} on {line['family']}", arch, line["family"], line["uram"] > 0, took
    )


def rows(arch: Arch) -> list[Row]:
    """Worst errors over the architectures that are held out; ``arch`` for the speed alone."""
    judged = held_out()
    worst = {name: max(abs(one.errors()[name]) for one in judged) for name in model.LOGIC}
    wrong = sum(one.told()[name] != one.took[name] for one in judged for name in EXACT)
    return [
        Row("explore.resource_error", max(worst.values()), "1"),
        *(Row(f"explore.resource_{name}_error", error, "1") for name, error in worst.items()),
        Row("explore.resource_memories_wrong", wrong, "1"),
        Row("explore.resource_held_out", len(judged), "1"),
        Row("explore.resources_per_second", _speed(arch), "1/s"),
    ]


def _speed(arch: Arch) -> float:
    """Architectures a second, of one processor."""
    archs = Archs.of([arch]).take(np.zeros(MANY, np.intp))
    start = time.process_time()
    model.fits(archs, BOARDS[arch.board])
    return MANY / (time.process_time() - start)
