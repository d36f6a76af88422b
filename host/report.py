"""What a run took: cycles, counters, and from the trace the time of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from host.device import ByteArray
from host.energy import Energy, EnergyModel
from host.manifest import Manifest

_RECORD = np.dtype([("start", "<u4"), ("end", "<u4"), ("source", "<u4"), ("zero", "<u4")])
_INDEX_BITS = 24
"""Bits of the instruction's index in ``source``; the unit is above."""


@dataclass(frozen=True)
class Execution:
    """One instruction of part ``infer``: its unit, its index, its cycles from the doorbell."""

    unit: str
    index: int
    start: int
    end: int


@dataclass(frozen=True)
class LayerTime:
    """A layer's share of a run.

    Layers overlap: a layer's ``cycles`` run from the completion of the one before to its own, so
    that they add up to the run's; ``utilization`` is macs / (cycles * macs per cycle).
    ``energy_uj`` is modelled, with the static power of that time; None where the program has no
    coefficients for its board.
    """

    name: str
    op: str
    cycles: int
    latency_ms: float
    macs: int
    utilization: float
    energy_uj: float | None


@dataclass(frozen=True)
class Run:
    """What the device and the host's clock tell of a run: ``records`` are the trace's bytes,
    ``overhead_s`` the host's time for each batch beyond the accelerator's."""

    batches: int
    counters: Mapping[str, int]
    clock_hz: float
    records: ByteArray
    overhead_s: float

    @property
    def latency_s(self) -> float:
        """Doorbell to done."""
        return self.counters["CYCLES"] / self.clock_hz


@dataclass(frozen=True)
class Report:
    """The last run of part ``infer`` (one batch); ``batches`` counts all since the load.

    ``cycles`` run from the doorbell to done, ``latency_ms`` is the same at the device's clock,
    ``overhead_us`` what the host's work added to each batch of the last run or stream.
    ``stalls`` are cycles by unit and cause, from the counters.
    ``layers`` and ``trace`` are empty where no trace was asked for. ``energy`` is None where the
    program has no coefficients for its board.
    """

    program: str
    batches: int
    cycles: int
    predicted_cycles: int
    clock_hz: float
    latency_ms: float
    overhead_us: float
    macs: int
    utilization: float
    dram_read_bytes: int
    dram_write_bytes: int
    stalls: Mapping[str, Mapping[str, int]]
    counters: Mapping[str, int]
    energy: Energy | None
    layers: tuple[LayerTime, ...]
    trace: tuple[Execution, ...]
    model: EnergyModel | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, trace and model left out."""
        values = asdict(replace(self, trace=(), model=None))
        del values["trace"], values["model"]
        return values | {"energy": self.energy.to_dict() if self.energy else None}

    def with_measured(self, joules: float, seconds: float) -> Report:
        """The same with its energy measured: of one batch, in so many seconds.

        Raises
        ------
        ValueError
            The program has no model to split the total by.
        """
        if self.model is None:
            raise ValueError(
                f"program {self.program!r} has no energy coefficients, by which a total is split: "
                "compile it with --energy FILE"
            )
        return replace(self, energy=self.model.measured(joules, self.counters, seconds))

    def __str__(self) -> str:
        lines = [
            f"{self.program}: {self.cycles:,} cycles ({self.predicted_cycles:,} predicted), "
            f"{self.latency_ms:.4f} ms at {self.clock_hz / 1e6:.3f} MHz, "
            f"{self.utilization:.1%} of the array's MACs",
            f"driver: {self.overhead_us:.1f} us for each batch beyond that",
            f"DRAM: {self.dram_read_bytes:,} bytes read, {self.dram_write_bytes:,} written",
            *(f"{unit} waited: {_listed(causes)}" for unit, causes in self.stalls.items()),
            f"energy: {self.energy or 'no coefficients for this board (compile --energy FILE)'}",
            *(
                f"  {at.name} ({at.op}): {at.cycles:,} cycles, {at.utilization:.1%}"
                + ("" if at.energy_uj is None else f", {at.energy_uj:,.2f} uJ modelled")
                for at in self.layers
            ),
        ]
        return "\n".join(lines)


def make_report(manifest: Manifest, run: Run) -> Report:
    """The report of one run."""
    counters, cycles = run.counters, run.counters["CYCLES"]
    trace = decode_trace(manifest, run.records)
    macs = sum(span.macs for span in manifest.layers)
    model = manifest.energy
    return Report(
        program=manifest.name,
        batches=run.batches,
        cycles=cycles,
        predicted_cycles=manifest.predicted_cycles,
        clock_hz=run.clock_hz,
        latency_ms=1e3 * run.latency_s,
        overhead_us=1e6 * run.overhead_s,
        macs=macs,
        utilization=_ratio(macs, cycles * manifest.macs_per_cycle),
        dram_read_bytes=counters["READ_BEATS"] * manifest.beat_bytes,
        dram_write_bytes=counters["WRITE_BEATS"] * manifest.beat_bytes,
        stalls=unit_stalls(counters),
        counters=dict(counters),
        energy=model.estimate(counters, run.latency_s) if model else None,
        layers=layer_times(manifest, trace, cycles, run.clock_hz) if trace else (),
        trace=trace,
        model=model,
    )


def unit_stalls(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Cycles that each unit waited, by cause: the counters named UNIT_WAIT_CAUSE."""
    stalls: dict[str, dict[str, int]] = {}
    for name, cycles in counters.items():
        unit, waits, cause = name.partition("_WAIT_")
        if waits:
            stalls.setdefault(unit, {})[cause.lower()] = cycles
    return stalls


def decode_trace(manifest: Manifest, records: ByteArray) -> tuple[Execution, ...]:
    """The trace records, in the order of completion."""
    table = records.view(_RECORD)
    units, indices = table["source"] >> _INDEX_BITS, table["source"] & ((1 << _INDEX_BITS) - 1)
    columns = (units.tolist(), indices.tolist(), table["start"].tolist(), table["end"].tolist())
    return tuple(
        Execution(manifest.units[unit], index, start, end)
        for unit, index, start, end in zip(*columns, strict=True)
    )


def layer_times(
    manifest: Manifest, trace: tuple[Execution, ...], cycles: int, clock_hz: float
) -> tuple[LayerTime, ...]:
    """Each layer's cycles; the last one's reach to the end of the run.

    Stretches of a layer that do not follow each other are one row, where the first stands.
    """
    ends = {record.index: record.end for record in trace}
    taken: dict[str, int] = {}
    macs: dict[str, int] = {}
    before = 0
    for number, span in enumerate(manifest.layers):
        completed = [ends[index] for index in range(span.first, span.last) if index in ends]
        end = max([before, *completed])
        if number == len(manifest.layers) - 1:
            end = cycles
        taken[span.name] = taken.get(span.name, 0) + end - before
        macs[span.name] = macs.get(span.name, 0) + span.macs
        before = end
    ops = {span.name: span.op for span in manifest.layers}
    peak, model = manifest.macs_per_cycle, manifest.energy
    return tuple(
        LayerTime(
            name, ops[name], count, 1e3 * count / clock_hz, macs[name],
            _ratio(macs[name], count * peak),
            model.layer_uj(name, count / clock_hz) if model else None,
        )
        for name, count in taken.items()
    )  # fmt: skip


def _listed(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} {cycles:,}" for cause, cycles in causes.items())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
