"""Fits ``codesign/cost/resources.yaml`` to the data set: ``python -m benchmarks.resources.fit``.

Unit by unit, the LUTs and flip-flops of all architectures are explained by a few terms each, with
coefficients that are not negative (least squares). What a whole takes less than its units, because
of what is simplified across their borders, is a factor, fitted to architectures that were
synthesised as a whole. The YAML holds the sums over units.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from scipy.optimize import nnls

from benchmarks.resources.measure import FAMILIES, in_uram, lines
from codesign.arch import Arch
from codesign.cost import resources as model
from codesign.cost.archs import Archs

CONTROL = ("one", "wide", "row_bits", "bank_bits", "R", "wgt_bits", "param_bits", "tap_bits")
TERMS: dict[str, tuple[str, ...]] = {
    "lane": ("P", "P*N", "P*M", "P*N*acc", "P*N*M", "P*N*chains", "P*M*k"),
    "expander": ("one", "M", "N", "M*N"),
    "array": ("one", "M*N", "blocks*M*N", "blocks*M*N*k", "D*M", "P*N", "P*N*acc", "blocks*k",
              "M*N*k", "D*M*acc"),
    "post": ("one", "M", "D", "D*M", "D*M*acc"),
    "act": ("one", "R", "R*P", "R*P*M", "R*P*row_bits", "R*P*D", "R*D*M*turn", "P*M*region",
            "D*M*region", "R*M", "R*row_bits", "R*P*drained*row_bits", "R*P*drained*M", "P*M",
            "R*D*M", "R*P*drained", "R*D"),
    "source": ("one", "P", "P*M", "P*M*turn", "P*row_bits", "P*bank_bits", "P*blocks", "D",
               "row_bits", "blocks*M", "P*P*M", "blocks", "blocks*k"),
    "drain": (*CONTROL, "D", "D*row_bits", "D*bank_bits", "P", "D*D", "R*D", "k", "blocks*k"),
    "sequencer": (*CONTROL, "P"),
    "memories": ("one", "M*N", "M", "wgt_pieces", "param_pieces", "wgt_bits", "param_bits",
                 "tap_bits", "memory_luts", "wgt_width"),
    "load": (*CONTROL, "M*N", "M", "P"),
    "save": (*CONTROL, "M", "P"),
    "fetch": ("one", "wide"), "trace": ("one", "wide"), "read": ("one", "wide"),
    "write": ("one", "wide"), "counters": ("one",), "tokens": ("one",), "registers": ("one",),
    "run": ("one",), "codesign_top": ("one", "wide"), "calc": ("one", "P"),
}  # fmt: skip
"""Unit -> terms that may explain it: products of ``codesign.cost.resources.parameters``."""
Line = dict[str, Any]


def arch_of(line: Line) -> Arch:
    return Arch(**line["arch"])


def columns_of(archs: list[Arch], family: str) -> dict[str, np.ndarray]:
    uram = np.array([in_uram(arch, family) for arch in archs])
    table = Archs.of(archs)
    return model.parameters(table, model.stored(table, family, uram))


class Data:
    """Architectures with what their units take."""

    def __init__(self) -> None:
        took = {(u["family"], u["key"], u["uram"]): u for u in lines("units.jsonl")}
        self.archs: list[Arch] = []
        self.units: list[list[tuple[str, str, int]]] = []
        for line in lines("architectures.jsonl"):
            self.archs.append(arch_of(line))
            self.units.append([tuple(unit) for unit in line["units"]])
        self._took = took

    def figures(self, row: int, family: str) -> dict[str, Line]:
        """Unit -> what all of its kind take of this architecture, or nothing if not measured."""
        uram = in_uram(self.archs[row], family)
        result = {}
        for name, key, count in self.units[row]:
            options = ((family, key, uram and name == "act"), ("xc7", key, False))
            found = next((self._took[at] for at in options if at in self._took), None)
            if found is not None:
                result[name] = {f: found[f] * count for f in ("lut", "ff", "dsp", "ramb36", "uram")}
        return result


def fitted_units(data: Data, family: str, resource: str) -> tuple[dict[str, float], list[Line]]:
    """Term -> coefficient, summed over the units; and each unit's errors."""
    total: dict[str, float] = defaultdict(float)
    report = []
    figures = [data.figures(row, family) for row in range(len(data.archs))]
    for unit, names in TERMS.items():
        rows = [row for row, at in enumerate(figures) if unit in at]
        columns = columns_of([data.archs[row] for row in rows], family)
        target = np.array([figures[row][unit][resource] for row in rows], float)
        found = nonnegative(names, columns, target, np.full(len(rows), 1.0))
        for name, value in found.items():
            total[name] += value
        error = predicted(found, columns) - target
        report.append(
            {
                "unit": unit,
                "rows": len(rows),
                "most": target.max(),
                "error": np.abs(error).max(),
                "mean": np.abs(error).mean(),
                **found,
            }
        )
    return dict(total), report


def nonnegative(
    names: tuple[str, ...],
    columns: Mapping[str, np.ndarray],
    target: np.ndarray,
    weight: np.ndarray,
) -> dict[str, float]:
    """Coefficients >= 0 of the terms that are needed."""
    matrix = np.stack([model.term(name, columns) * weight for name in names], axis=1).astype(float)
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-9)
    solution, _ = nnls(matrix / scale, target * weight)
    return {
        name: float(value) for name, value in zip(names, solution / scale, strict=True) if value > 0
    }


def predicted(terms: Mapping[str, float], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    rows = len(columns["P"])
    return sum((v * model.term(n, columns) for n, v in terms.items()), np.zeros(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="each unit's terms and errors")
    arguments = parser.parse_args()
    data = Data()
    wholes = [line for line in lines("whole.jsonl") if line["set"] == "train"]
    result: dict[str, dict[str, dict[str, float]]] = {}
    for family in FAMILIES:
        result[family] = {}
        for resource in model.LOGIC:
            terms, report = fitted_units(data, family, resource)
            if arguments.verbose:
                for line in report:
                    print(
                        family,
                        resource,
                        {k: round(v, 2) if isinstance(v, float) else v for k, v in line.items()},
                    )
            own = [line for line in wholes if line["family"] == family]
            factor = border_factor(own, terms, family, resource)
            print(
                f"{family} {resource}: {len(data.archs)} architectures, wholes {len(own)}, "
                f"factor {factor:.4f}"
            )
            result[family][resource] = {
                name: float(f"{value * factor:.6g}") for name, value in sorted(terms.items())
            }
    head = "# Made by `python -m benchmarks.resources.fit`; terms: codesign/cost/resources.py.\n"
    model.COEFFICIENTS.write_text(head + yaml.safe_dump(result, sort_keys=False))
    judge()


def border_factor(wholes: list[Line], terms: dict[str, float], family: str, name: str) -> float:
    """What remains of the units' sum in a whole."""
    if not wholes:
        return 1.0
    told = predicted(terms, columns_of([arch_of(line) for line in wholes], family))
    took = np.array([line[name] for line in wholes], float)
    return float(np.exp(np.mean(np.log(took / told))))


def judge() -> None:
    """Errors on architectures that were synthesised as a whole."""
    model.coefficients.cache_clear()
    for line in lines("whole.jsonl"):
        arch = arch_of(line)
        told = model.resources(Archs.of([arch]), line["family"], line["uram"])
        parts = {f.name: float(getattr(told, f.name)[0]) for f in dataclasses.fields(told)}
        errors = "  ".join(
            f"{n} {parts[n]:g}/{line[n]:g}"
            + (f" {parts[n] / line[n] - 1:+.1%}" if n in model.LOGIC else "")
            for n in parts
        )
        print(f"{line['set']:8} {line['family']:5} {arch.name:14} {errors}")


if __name__ == "__main__":
    main()
