"""Latency tables for hardware-aware architecture search: what each choice of each layer costs on an
architecture, as once-for-all networks, FBNet and ProxylessNAS look it up.

A table holds a closed-form row for each choice, as the choice would run in a network: first layers
load the network's input, last ones end with the result in DRAM, others find their input on chip. A
network's cycles are the sum of its rows; docs/explore.md says how near.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.events import energy, events, layer_bytes
from codesign.cost.workload import Workload
from codesign.explore.choices import NEIGHBOURS, Choice, LayerChoices, probe
from codesign.isa import Mode
from codesign.report import files
from codesign.report.run import latency_ms

FORMAT = "codesign latency table 1"
COLUMNS = ("cycles", "latency_ms", "macs", "dram_bytes", "energy_uj")
_UJ_PER_W_MS = 1000.0
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A choice and its figures. ``energy_uj`` is modelled, of the whole board, None where it has no
    coefficients. ``resident``: whether weights and maps fit on chip; where they do not, they come
    through DRAM in every inference."""

    choice: Choice
    cycles: int
    latency_ms: float
    macs: int
    dram_bytes: int
    energy_uj: float | None
    resident: bool

    def to_dict(self) -> dict[str, Any]:
        figures = {name: getattr(self, name) for name in (*COLUMNS, "resident")}
        return {"choice": self.choice.to_dict(), **figures}


@dataclass(frozen=True)
class LatencyTable:
    """Layer -> rows, in the order of its choices, and layer -> its position."""

    arch: Arch
    layers: Mapping[str, tuple[Row, ...]]
    positions: Mapping[str, str]

    def column(self, layer: str, name: str = "latency_ms") -> FloatArray:
        """One figure of every choice of a layer, [choices].

        Raises
        ------
        ValueError
            There is no such layer or figure, or no energy of this board.
        """
        if layer not in self.layers:
            raise ValueError(f"the table has no layer {layer!r}; it has {', '.join(self.layers)}")
        if name not in COLUMNS:
            raise ValueError(f"the table has no figure {name!r}; it has {', '.join(COLUMNS)}")
        values = [getattr(row, name) for row in self.layers[layer]]
        if None in values:
            raise ValueError(f"board {self.arch.board!r} has no energy coefficients: no {name}")
        return np.array(values, np.float64)

    def find(self, layer: str, choice: Choice) -> Row:
        """The row of a choice; ``ValueError`` where the table has none."""
        self.column(layer, "cycles")
        for row in self.layers[layer]:
            if row.choice == choice:
                return row
        raise ValueError(f"layer {layer!r} has no row for {choice.to_dict()}")

    def total(self, chosen: Mapping[str, int], name: str = "latency_ms") -> float:
        """A network's figure: the sum over ``chosen``, layer -> number of its row.

        Raises
        ------
        ValueError
            Not every layer is chosen, or a row does not exist.
        """
        if chosen.keys() != self.layers.keys():
            odd = sorted(chosen.keys() ^ self.layers.keys())
            raise ValueError(f"choose one row of each layer of the table; {odd[0]!r} is not so")
        found = 0.0
        for layer, number in chosen.items():
            values = self.column(layer, name)
            if not 0 <= number < len(values):
                raise ValueError(f"layer {layer!r} has rows 0..{len(values) - 1}, not {number}")
            found += float(values[number])
        return found

    def check(self, arch: Arch) -> None:
        """``ValueError`` where the table is another architecture's."""
        if arch.fingerprint != self.arch.fingerprint:
            raise ValueError(
                f"the table is for {self.arch.name!r} (fingerprint {self.arch.fingerprint:08x}), "
                f"not for {arch.name!r} ({arch.fingerprint:08x}); make one with "
                "`codesign estimate --table`"
            )

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "word": "predicted",
            "arch": self.arch.to_dict(),
            "fingerprint": f"{self.arch.fingerprint:08x}",
            "layers": {
                name: {
                    "position": self.positions[name],
                    "rows": [row.to_dict() for row in rows],
                }
                for name, rows in self.layers.items()
            },
        }

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        files.write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """A table that ``save`` wrote.

        Raises
        ------
        ValueError
            The file is no table, or one of an older machine.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"{path} is no latency table; `codesign estimate --table` writes one")
        try:
            table = cls(
                Arch(**data["arch"]),
                {name: tuple(map(_row, at["rows"])) for name, at in data["layers"].items()},
                {name: str(at["position"]) for name, at in data["layers"].items()},
            )
            written = int(data["fingerprint"], 16)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: {type(error).__name__}: {error}") from error
        if written != table.arch.fingerprint:
            raise ValueError(
                f"{path} was made for another version of the machine (fingerprint {written:08x}, "
                f"now {table.arch.fingerprint:08x}); make it again"
            )
        return table


def latency_table(layers: Mapping[str, LayerChoices], arch: Arch) -> LatencyTable:
    """The table of every choice on an architecture, from the closed forms of ``codesign.cost``.

    Raises
    ------
    ValueError
        There are no layers, or a choice cannot run on the architecture: the message names both.
    """
    if not layers:
        raise ValueError("no layer has choices")
    rows = {
        name: tuple(_measured(name, choice, at.position, arch) for choice in at.choices)
        for name, at in layers.items()
    }
    positions = {name: at.position for name, at in layers.items()}
    return LatencyTable(arch, rows, positions)


def _measured(layer: str, choice: Choice, position: str, arch: Arch) -> Row:
    archs, coefficients = Archs.of([arch]), energy_file.find(arch.board)
    if choice.op == "skip" and position != "last":
        return Row(choice, 0, 0.0, 0, 0, 0.0 if coefficients else None, True)
    workload = _workload(choice, position)
    found = cycles(workload, archs)
    if not found.fits[0]:
        raise ValueError(f"layer {layer!r}: {choice.to_dict()}: {found.reason(0)}")
    own = [i for i, at in enumerate(workload.layers) if at.name not in NEIGHBOURS]
    spent = int(found.layers[own, 0].sum())
    microjoules = None
    if coefficients:
        each = energy(events(workload, archs, found), archs, found, coefficients)
        microjoules = float(each.layers_uj[own, 0].sum())
    if position == "last":  # the way out of the pipeline, and to DRAM
        tail = int(found.total[0] - found.layers[:, 0].sum())
        spent += tail
        if microjoules is not None and coefficients:
            microjoules += coefficients.static_w * latency_ms(tail, arch.clock_mhz) * _UJ_PER_W_MS
    moved = int(layer_bytes(found)[own, 0].sum())
    macs = sum(int(np.asarray(workload.layers[i].macs).item()) for i in own)
    milliseconds = latency_ms(spent, arch.clock_mhz)
    resident = bool(found.resident[0])
    return Row(choice, spent, milliseconds, macs, moved, microjoules, resident)


def _workload(choice: Choice, position: str) -> Workload:
    workload = Workload.of_network(probe(choice, position))
    own = (at for at in workload.layers if at.name not in NEIGHBOURS)
    dense = {at.name: choice.sparsity for at in own if at.mode is Mode.DENSE}
    return workload.with_sparsity(dense) if choice.sparsity else workload


def _row(values: Mapping[str, Any]) -> Row:
    figures = {name: values[name] for name in COLUMNS}
    known = [figure for figure in figures.values() if figure is not None]
    if not all(math.isfinite(figure) and figure >= 0 for figure in known):
        raise ValueError(f"a figure of {values['choice']} is negative or no number")
    return Row(Choice.from_dict(values["choice"]), **figures, resident=bool(values["resident"]))


def columns_differing(rows: tuple[Row, ...]) -> Iterator[str]:
    """Fields in which the choices of a layer differ."""
    for name in rows[0].choice.to_dict():
        if len({getattr(row.choice, name) for row in rows}) > 1:
            yield name
