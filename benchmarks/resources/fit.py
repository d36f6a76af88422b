"""Fits ``codesign/cost/resources.yaml`` to the data set: ``python -m benchmarks.resources.fit``.

Unit by unit, the LUTs and flip-flops of all architectures are explained by a few terms each: some
with the coefficients that the hardware says, others with such as are not negative (least squares).
What a whole takes less than its units, because of what is simplified across their borders, is a
factor, fitted to architectures that were synthesised as a whole. The YAML holds the sums over
units.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from scipy.optimize import nnls

from benchmarks.resources.measure import DIFFERENT, FAMILIES, in_uram, lines
from codesign.arch import Arch
from codesign.cost import resources as model
from codesign.cost.archs import Archs

CONTROL = ("one", "wide", "row_bits", "bank_bits", "R", "wgt_bits", "param_bits", "tap_bits")
TERMS: dict[str, tuple[str, ...]] = {
    "lane": ("P*M", "P*N", "P*N*acc", "P*N*adders", "P*M*k", "P*M*adders", "P"),
    "expander": ("one", "M", "N", "M*N"),
    "array": (
        "one", "M*N", "blocks*M*N", "later*M*N", "later*M*N*k", "D*M", "P*N", "P*N*acc",
        "blocks*k", "M*N*k", "D*M*acc", "blocks", "later*k",
    ),
    "post": ("one", "M", "D*M", "D*M*acc", "table_choices"),
    "act": (
        "one", "R", "R*P", "R*P*M", "R*P*row_bits", "R*M", "R*row_bits", "R*P*drained*row_bits",
        "R*P*drained*M", "P*M", "D*M", "R*P*drained", "R*D", "R*D*M*odd", "act_luts",
        "act_registers", "act_choices",
    ),
    "source": (
        "one", "P", "P*M", "P*M*odd", "P*row_bits", "P*bank_bits", "D", "row_bits", "M*late",
        "M*early", "blocks", "later*k", "blocks*k", "P*odd",
    ),
    "drain": (
        *CONTROL, "D", "D*row_bits", "D*bank_bits", "P", "D*D", "R*D", "k", "blocks*k",
        "D*D*row_bits", "drained",
    ),
    "sequencer": (*CONTROL, "P"),
    "memories": ("one", "word", "M*N", "M", "pieces", "luts", "registers",
                 "choices"),
    "load": (*CONTROL, "word", "P", "wide*narrow", "narrow", "M"),
    "save": (*CONTROL, "M", "P", "narrow"),
    "fetch": (*CONTROL,), "trace": ("one", "wide"), "read": ("one", "wide"),
    "write": ("one", "wide"), "counters": ("one",), "tokens": ("one",), "registers": ("one",),
    "run": ("one",), "codesign_top": ("one", "wide"), "calc": ("one", "P"),
}  # fmt: skip
"""Unit -> terms that may explain it: products of ``codesign.cost.resources.parameters``."""
KNOWN: dict[tuple[str, str], dict[str, float]] = {
    ("act", "lut"): {
        "R*P*row_bits": 1, "P*M*region": 8, "D*M*region": 8, "M*region": 8, "R*D*M*turn": 8,
        "R*P*drained*M": 4, "R*P*drained*row_bits": 0.5, "act_luts": 1,
    },
    ("source", "lut"): {"P*M": 8, "P*M*turn": 8, "M*late": 8},
    ("memories", "lut"): {"luts": 1},
}  # fmt: skip
"""What the hardware says (``hw/act.py``, ``hw/source.py``): a LUT for every bit that is chosen,
eight times M bits in a word. The other terms explain what is left."""
Line = dict[str, Any]


def arch_of(line: Line) -> Arch:
    return Arch(**line["arch"])


def columns_of(archs: list[Arch], family: str) -> dict[str, np.ndarray]:
    uram = np.array([in_uram(arch, family) for arch in archs])
    rows = Archs.of(archs)
    return model.parameters(rows, model.stored(rows, family, uram))


class Data:
    """Architectures with what their units take."""

    def __init__(self) -> None:
        took = {(u["family"], u["key"], u["uram"] > 0): u for u in lines("units.jsonl")}
        known = {line["arch"]["name"]: line for line in lines("architectures.jsonl")}
        self.archs = [arch_of(line) for line in known.values()]
        self.units = [line["units"] for line in known.values()]
        self._took = took

    def of(self, unit: str, family: str, resource: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Parameters of the architectures of which the unit is known, and what it takes there."""
        found = {row: self.figures(row, family) for row in range(len(self.archs))}
        rows = [row for row, at in found.items() if unit in at]
        target = np.array([found[row][unit][resource] for row in rows], float)
        return columns_of([self.archs[row] for row in rows], family), target

    def figures(self, row: int, family: str) -> dict[str, Line]:
        """Unit -> what all of its kind take of this architecture, or nothing if not measured."""
        uram = in_uram(self.archs[row], family)
        result: dict[str, Line] = {}
        for name, key, count in self.units[row]:
            own = family if name in DIFFERENT or (uram and name == "act") else "xc7"
            found = self._took.get((own, key, uram and name == "act"))
            if found is not None:
                result[name] = {f: found[f] * count for f in ("lut", "ff", "dsp", "ramb36", "uram")}
        return result


def fitted_units(data: Data, family: str, resource: str) -> tuple[dict[str, float], list[Line]]:
    """Term -> coefficient, summed over the units; and how near each unit is.

    The units that differ between the families take the terms of xc7, all times one factor.
    """
    total: dict[str, float] = defaultdict(float)
    report = []
    for unit, names in TERMS.items():
        columns, target = data.of(unit, "xc7", resource)
        known = KNOWN.get((unit, resource), {})
        found = nonnegative(names, columns, target - predicted(known, columns))
        for name, value in known.items():
            found[name] = found.get(name, 0.0) + value
        if family != "xc7" and unit in DIFFERENT:
            columns, target = data.of(unit, family, resource)
            factor = float(target.sum() / predicted(found, columns).sum())
            found = {name: value * factor for name, value in found.items()}
        for name, value in found.items():
            total[name] += value
        error = predicted(found, columns) - target
        report.append({
            "unit": unit, "rows": len(target), "most": target.max(),
            "worst": np.abs(error).max(), "mean": np.abs(error).mean(), **found,
        })  # fmt: skip
    return dict(total), report


def nonnegative(
    names: tuple[str, ...], columns: Mapping[str, np.ndarray], target: np.ndarray
) -> dict[str, float]:
    """Coefficients >= 0 of the terms that are needed."""
    matrix = np.stack([model.term(name, columns) for name in names], axis=1).astype(float)
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-9)
    solution, _ = nnls(matrix / scale, target)
    return {
        name: float(value) for name, value in zip(names, solution / scale, strict=True) if value > 0
    }


def predicted(terms: Mapping[str, float], columns: Mapping[str, np.ndarray]) -> np.ndarray:
    rows = len(columns["P"])
    return sum((v * model.term(n, columns) for n, v in terms.items()), np.zeros(rows))


def fitted(data: Data, verbose: bool = False) -> dict[str, dict[str, dict[str, float]]]:
    """Family -> resource -> term -> coefficient."""
    wholes = [line for line in lines("whole.jsonl") if line["set"] == "train"]
    result: dict[str, dict[str, dict[str, float]]] = {}
    for family in FAMILIES:
        result[family] = {}
        for resource in model.LOGIC:
            terms, report = fitted_units(data, family, resource)
            for line in report if verbose else ():
                told = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in line.items()}
                print(family, resource, *(f"{name}={value}" for name, value in told.items()))
            factor = border_factor(wholes, terms, resource)
            result[family][resource] = {
                name: float(f"{value * factor:.6g}") for name, value in sorted(terms.items())
            }
    return result


def border_factor(wholes: list[Line], terms: dict[str, float], resource: str) -> float:
    """What a whole takes of its units' sum: the mean of those that were synthesised as a whole."""
    shares = [
        line[resource] / predicted(terms, columns_of([arch_of(line)], line["family"]))[0]
        for line in wholes
    ]
    return float(np.exp(np.mean(np.log(shares))))


def judge() -> None:
    """Prints the errors on architectures that were synthesised as a whole."""
    model.coefficients.cache_clear()
    for line in lines("whole.jsonl"):
        told = model.resources(Archs.of([arch_of(line)]), line["family"], line["uram"])
        parts = {name: float(getattr(told, name)[0]) for name in model.SHARE}
        errors = [f"{n} {parts[n] / line[n] - 1:+.1%}" for n in model.LOGIC]
        exact = [f"{n} {parts[n]:g}/{line[n]:g}" for n in parts if n not in model.LOGIC]
        print(line["set"], line["family"], line["arch"]["name"], *errors, *exact, sep="  ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="each unit's terms and errors")
    arguments = parser.parse_args()
    data = Data()
    found = fitted(data, arguments.verbose)
    head = "# Made by `python -m benchmarks.resources.fit`; terms: codesign/cost/resources.py.\n"
    model.COEFFICIENTS.write_text(head + yaml.safe_dump(found, sort_keys=False))
    print(f"{len(data.archs)} architectures")
    judge()


if __name__ == "__main__":
    main()
