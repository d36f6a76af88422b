"""Designs of networks on architectures: their closed-form costs, thousands at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign import boards
from codesign.cost import energy_file
from codesign.cost.closed_form_memory import Reason
from codesign.cost.resources import REASONS, SHARE
from codesign.cost.workload import Workload
from codesign.explore import hardware
from codesign.explore.cache import content_key
from codesign.explore.estimate import CostColumns, columns
from codesign.explore.models import BoolArray, Costs, FloatArray, hardware_columns
from codesign.explore.networks import GRAIN, METHOD, NETWORK, Arguments, Cut, Networks
from codesign.explore.problem import Problem
from codesign.explore.space import IntArray, Value

RESOURCES = ("lut", "ff", "dsp", "ramb36", "uram")
_LEAST = 1e-6
"""Violation of a design that is beyond a limit by nearly nothing."""


class Designs:
    """The closed form of a problem's space; matches ``models.Models``."""

    def __init__(self, problem: Problem, networks: Networks) -> None:
        self._problem, self._networks = problem, networks
        self.space = networks.space()
        self.sources = networks.sources
        self.board = boards.board(problem.constraints.board)
        self._coefficients = energy_file.find(problem.constraints.board)
        self._hardware = hardware_columns(self.space)
        self._grain = np.isin(np.array(self.space.names), GRAIN)
        self._cuts: dict[bytes, Cut] = {}
        self._names: dict[bytes, str] = {}
        wants = {at.name for at in problem.objectives} | set(problem.constraints.maximum)
        if self._coefficients is None and "energy_uj" in wants:
            raise problem.error(
                "objectives.energy_uj",
                f"board {self.board.name!r} has no energy coefficients; leave energy_uj out",
            )

    def costs(self, points: IntArray) -> Costs:
        """Costs of n pairs of network and architecture."""
        cuts = self.cuts(points)
        rows: dict[Arguments, list[int]] = {}
        for row, cut in enumerate(cuts):
            rows.setdefault(cut.arguments, []).append(row)
        parts = [
            (np.array(at), self._same_base(points[at], [cuts[row] for row in at]))
            for at in rows.values()
        ]
        return _joined(parts, len(points))

    def identities(self, points: IntArray) -> list[str]:
        """Digests of network, pruning and quantisation; of M and N too where blocks are zero."""
        return [
            self._identity(point, cut) for point, cut in zip(points, self.cuts(points), strict=True)
        ]

    def bound(self, points: IntArray) -> BoolArray:
        """M and N, where blocks are zero."""
        sparse = np.array([cut.sparse for cut in self.cuts(points)], bool)
        found: BoolArray = sparse[:, None] & self._grain
        return found

    def start(self) -> IntArray:
        """Nothing pruned, the largest network, the base architecture as far as the space has it."""
        point = np.zeros(len(self.space), np.int64)
        for column, at in enumerate(self.space.parameters):
            if self._hardware[column]:
                wanted = getattr(self._problem.base, at.name.partition(".")[2])
                point[column] = _nearest(at.values, wanted)
            elif at.name.startswith(NETWORK) and at.ordered:
                point[column] = len(at.values) - 1
        return self.space.repair(point[None])

    def cuts(self, points: IntArray) -> list[Cut]:
        """What each design leaves of its base network."""
        found = []
        for point in points:
            key = point[~self._hardware].tobytes()
            if key not in self._cuts:
                (choice,) = self.space.decode(point[None])
                self._cuts[key] = self._networks.cut(choice)
            found.append(self._cuts[key])
        return found

    def _identity(self, point: IntArray, cut: Cut) -> str:
        key = point[~self._hardware | (self._grain & cut.sparse)].tobytes()
        if key not in self._names:
            (choice,) = self.space.decode(point[None])
            source = self._problem.source
            self._names[key] = content_key(
                model=[source.model, dict(source.arguments), source.train, str(source.weights)],
                data=[source.data, dict(source.data_arguments)],
                seed=self._problem.search.seed,
                arguments=list(cut.arguments),
                channels=list(cut.channels),
                sparsity=list(cut.sparsity),
                grain=[self._grain_value(choice, name) for name in GRAIN] if cut.sparse else None,
                method=choice.get(METHOD),
                **({"sources": self.sources} if self.sources else {}),
            )
        return self._names[key]

    def _grain_value(self, choice: dict[str, Value], name: str) -> Value:
        base: int = getattr(self._problem.base, name.partition(".")[2])
        return choice.get(name, base)

    def _same_base(self, points: IntArray, cuts: list[Cut]) -> Costs:
        """Costs of designs that have their base network in common."""
        workload = self._workload(cuts)
        archs = hardware.architectures(self._problem.base, self.space, points)
        found = columns(workload, archs, self.board, self._coefficients)
        values = self._values(found, workload)
        runs, fits = np.asarray(found.cycles.fits), np.asarray(found.fit.ok)
        over = found.fit.value / np.maximum(found.fit.limit, 1.0) - 1
        violation = self._problem.violation(values) + np.where(fits, 0.0, np.maximum(over, _LEAST))
        violation += ~runs
        for name in ("cycles", "latency_ms", "energy_uj", "dram_bytes"):
            values[name] = np.where(runs, values[name], np.nan)
        reasons = [
            self._reason(found, values, row) if violation[row] else "" for row in range(len(points))
        ]
        return Costs(values, violation, tuple(reasons))

    def limits(self) -> dict[str, float]:
        """What a design may take of the board's part, by measure."""
        part = self.board.part.resources
        return {name: SHARE[name] * float(getattr(part, name)) for name in SHARE}

    def _workload(self, cuts: Sequence[Cut]) -> Workload:
        """The networks as one workload, its numbers arrays [n] where they differ."""
        base = self._networks.base(cuts[0].arguments)
        channels = np.array([cut.channels for cut in cuts], np.int64).reshape(len(cuts), -1)
        shares = np.array([cut.sparsity for cut in cuts], np.float64).reshape(len(cuts), -1)
        workload = base.workload
        changed = {
            group.tensors[0]: channels[:, column] * group.spread[group.tensors[0]]
            for column, group in enumerate(base.groups.values())
            if (channels[:, column] != group.channels).any()
        }
        if changed:
            workload = workload.with_channels(changed)
        sparse = {
            name: shares[:, column]
            for column, name in enumerate(base.layers)
            if shares[:, column].any()
        }
        return workload.with_sparsity(sparse) if sparse else workload

    def _values(self, found: CostColumns, workload: Workload) -> dict[str, FloatArray]:
        count = len(found.latency_ms)
        macs = workload.batch * sum(np.asarray(at.macs) for at in workload.layers)
        energy = np.full(count, np.nan) if found.energy is None else found.energy.total_uj
        values = {
            "latency_ms": found.latency_ms,
            "cycles": found.cycles.total,
            "energy_uj": energy,
            **{name: getattr(found.resources, name) for name in RESOURCES},
            "dram_bytes": found.dram_read_bytes + found.dram_write_bytes,
            "macs": macs,
        }
        return {
            name: np.array(np.broadcast_to(np.asarray(value, np.float64), count))
            for name, value in values.items()
        }

    def _reason(self, found: CostColumns, values: dict[str, FloatArray], row: int) -> str:
        """What first speaks against a design, without its numbers: reasons are counted."""
        if not found.cycles.fits[row]:
            return f"too few {Reason(int(found.cycles.cause[row])).what}"
        if not found.fit.ok[row]:
            return f"{REASONS[found.fit.code[row]]} beyond the board's"
        broken = self._problem.broken({name: float(at[row]) for name, at in values.items()})
        bounds = {**self._problem.constraints.maximum, **self._problem.constraints.minimum}
        return f"{broken[0]} beyond {bounds[broken[0]]:g}"


def _nearest(values: Sequence[Value], wanted: float) -> int:
    if wanted in values:
        return list(values).index(wanted)
    return int(np.argmin([abs(float(value) - wanted) for value in values]))


def _joined(parts: list[tuple[np.ndarray, Costs]], count: int) -> Costs:
    """Costs of rows that were computed apart."""
    if len(parts) == 1:
        return parts[0][1]
    names = parts[0][1].values if parts else ()
    values = {name: np.empty(count) for name in names}
    violation, reasons = np.empty(count), [""] * count
    for rows, costs in parts:
        violation[rows] = costs.violation
        for name, column in costs.values.items():
            values[name][rows] = column
        for row, reason in zip(rows.tolist(), costs.reasons, strict=True):
            reasons[row] = reason
    return Costs(values, violation, tuple(reasons))
