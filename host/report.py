"""What a run took: cycles, counters, and from the trace the time of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from host.device import ByteArray
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
    """

    name: str
    op: str
    cycles: int
    macs: int
    utilization: float


@dataclass(frozen=True)
class Report:
    """The last run of part ``infer`` (one batch); ``batches`` counts all since the load.

    ``cycles`` run from the doorbell to done, ``latency_ms`` is the same at the device's clock.
    ``layers`` and ``trace`` are empty where no trace was asked for.
    """

    program: str
    batches: int
    cycles: int
    predicted_cycles: int
    latency_ms: float
    macs: int
    utilization: float
    dram_read_bytes: int
    dram_write_bytes: int
    counters: Mapping[str, int]
    layers: tuple[LayerTime, ...]
    trace: tuple[Execution, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the trace left out."""
        values = asdict(self)
        del values["trace"]
        return values


def make_report(
    manifest: Manifest,
    batches: int,
    counters: Mapping[str, int],
    clock_hz: float,
    records: ByteArray,
) -> Report:
    """The report of one run from its counters and its trace records (bytes, perhaps none)."""
    cycles = counters["CYCLES"]
    trace = decode_trace(manifest, records)
    macs = sum(span.macs for span in manifest.layers)
    return Report(
        program=manifest.name,
        batches=batches,
        cycles=cycles,
        predicted_cycles=manifest.predicted_cycles,
        latency_ms=1e3 * cycles / clock_hz,
        macs=macs,
        utilization=_ratio(macs, cycles * manifest.macs_per_cycle),
        dram_read_bytes=counters["READ_BEATS"] * manifest.beat_bytes,
        dram_write_bytes=counters["WRITE_BEATS"] * manifest.beat_bytes,
        counters=dict(counters),
        layers=layer_times(manifest, trace, cycles) if trace else (),
        trace=trace,
    )


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
    manifest: Manifest, trace: tuple[Execution, ...], cycles: int
) -> tuple[LayerTime, ...]:
    """Each layer's cycles; the last one's reach to the end of the run.

    Stretches of a layer that do not follow each other are one row, where the first stands.
    """
    ends = {record.index: record.end for record in trace}
    rows: dict[str, LayerTime] = {}
    before = 0
    for number, span in enumerate(manifest.layers):
        completed = [ends[index] for index in range(span.first, span.last) if index in ends]
        end = max([before, *completed])
        if number == len(manifest.layers) - 1:
            end = cycles
        taken, macs = end - before, span.macs
        if span.name in rows:
            taken, macs = taken + rows[span.name].cycles, macs + rows[span.name].macs
        utilization = _ratio(macs, taken * manifest.macs_per_cycle)
        rows[span.name] = LayerTime(span.name, span.op, taken, macs, utilization)
        before = end
    return tuple(rows.values())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
