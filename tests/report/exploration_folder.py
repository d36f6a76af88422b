"""A folder as ``codesign explore`` leaves it, made of a smooth toy model of networks and boards."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from codesign.arch import Arch, preset

OBJECTIVES = {"accuracy": "max", "latency_ms": "min", "lut": "min"}
CHOICES: dict[str, tuple[Any, ...]] = {
    "hardware.pixels": (2, 3, 4, 6, 8),
    "hardware.in_channels": (4, 8),
    "hardware.out_channels": (8, 16),
    "hardware.wgt_depth": (2304, 4608),
    "network.width": (0.5, 0.75, 1.0, 1.25),
    "network.depth": (1, 2, 3),
    "prune.channels.stem": (0.0, 0.25),
    "prune.channels.stage1": (0.0, 0.25, 0.5),
    "prune.channels.stack.1.conv": (0.0, 0.25, 0.5),
    "prune.blocks.stage3_conv2": (0.0, 0.5, 0.75),
    "quantize.method": ("minmax", "percentile", "mse"),
}
LAYERS = ("stem", "stage1_conv1", "stage1_conv2", "stage2_conv1", "stage2_conv2", "pool", "head")
SHARES = (0.05, 0.22, 0.22, 0.18, 0.27, 0.0, 0.06)
REJECTED = {"dsp": 5210, "ramb36": 3122, "lut": 880, "latency_ms": 512, "accuracy": 7}


def make(
    folder: Path, *, trials: int = 240, finalists: int = 5, seed: int = 1, state: str = "finished"
) -> Path:
    """The folder, filled: ``finalists`` of 0 is a run that was stopped before it verified any."""
    generator = np.random.default_rng(seed)
    lines = [_trial(index, generator) for index in range(trials)]
    front = _front(lines)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problem.yaml").write_text("name: toy\n")
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    _write(folder / "front.json", front)
    chosen = front[:: max(1, len(front) // finalists)][:finalists] if finalists else []
    for number in chosen:
        (folder / "designs" / str(number)).mkdir(parents=True)
        _write(folder / "designs" / str(number) / "design.json", _design(lines[number]))
    _write(folder / "run.json", _run(lines, front, chosen, seed, state))
    return folder


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def _trial(index: int, generator: np.random.Generator) -> dict[str, Any]:
    choice = {name: values[generator.integers(len(values))] for name, values in CHOICES.items()}
    values = _values(choice, generator)
    return {
        "id": index,
        "choice": choice,
        "fidelity": "finetuned" if generator.random() < 0.2 else "ptq",
        "values": values,
        "violation": max(0.0, 0.55 - values["accuracy"]),
        "network": f"{generator.integers(1 << 32):08x}",
        "elapsed_s": 3.2 * index,
    }


def _values(choice: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    lanes = _arch(choice).macs_per_cycle
    removed = sum(value for name, value in choice.items() if name.startswith("prune."))
    macs = 12.5e6 * choice["network.width"] ** 2 * choice["network.depth"] / 3
    macs *= max(0.15, 1 - 0.3 * removed)
    cycles = round(macs / lanes / 0.83 + 2200 + 60 * lanes**0.5)
    accuracy = 0.93 - 0.30 * float(np.exp(-macs / 2.6e6)) - 0.08 * generator.random()
    lut = 5200 + 31 * lanes + 160 * choice["hardware.pixels"] * choice["hardware.out_channels"] / 8
    dram = 16_000 + 1024 * choice["network.depth"]
    return {
        "accuracy": accuracy,
        "latency_ms": cycles / 150e3,
        "cycles": cycles,
        "energy_uj": cycles / 150e3 * (1100 + lut / 40),
        "lut": round(lut),
        "ff": round(1.42 * lut),
        "dsp": lanes // 2 + 4 * choice["hardware.in_channels"],
        "ramb36": 20 + lanes / 8 + 0.5 * (choice["hardware.wgt_depth"] // 512),
        "uram": 0,
        "dram_bytes": dram,
        "macs": round(macs),
    }


def _arch(choice: dict[str, Any]) -> Arch:
    fields = {name.removeprefix("hardware."): value for name, value in choice.items()}
    hardware = {name: value for name, value in fields.items() if "." not in name}
    return preset("pynq_z2").replace(**hardware)


def _front(lines: list[dict[str, Any]]) -> list[int]:
    signs = np.array([-1 if goal == "max" else 1 for goal in OBJECTIVES.values()])
    values = [[line["values"][name] for name in OBJECTIVES] for line in lines]
    costs = signs * np.reshape(values, (-1, len(OBJECTIVES)))
    feasible = [line["id"] for line in lines if line["violation"] == 0]
    return [a for a in feasible if not any(_dominates(costs[b], costs[a]) for b in feasible)]


def _dominates(one: Any, other: Any) -> bool:
    return bool(np.all(one <= other) and np.any(one < other))


def _design(line: dict[str, Any]) -> dict[str, Any]:
    values, arch = line["values"], _arch(line["choice"])
    exact = round(values["cycles"] * 1.013)
    energy = {"compute": 0.31, "on_chip": 0.12, "dram": 0.09, "static": 0.48}
    number = line["id"]
    return {
        "id": number,
        "choice": line["choice"],
        "arch": arch.to_dict(),
        "values": values,
        "accuracy": {
            "float": values["accuracy"] + 0.011,
            "validation": values["accuracy"],
            "test": values["accuracy"] - 0.004,
        },
        "cycles": {
            "predicted_closed_form": values["cycles"],
            "predicted_exact": exact,
            "simulated_rtl": exact,
        },
        "bit_exact": True,
        "energy_uj": {name: share * values["energy_uj"] for name, share in energy.items()}
        | {"total": values["energy_uj"], "word": "modelled"},
        "resources": {key: values[key] for key in ("lut", "ff", "dsp", "ramb36", "uram")}
        | {"word": "predicted"},
        "board": {"name": "pynq-z2"},
        "layers": _layers(exact, values["macs"], arch),
        "layers_word": "simulated",
        "images": 8,
        "rebuild": [
            f"codesign compile designs/{number}/weights.npz --arch designs/{number}/arch.yaml "
            f"-o designs/{number}/design.prog",
            f"codesign overlay --arch designs/{number}/arch.yaml --board pynq-z2 -o overlay",
        ],
    }


def _layers(cycles: int, macs: int, arch: Arch) -> list[dict[str, Any]]:
    spans = [max(90, round((cycles - 600) * share)) for share in SHARES]
    ends = list(accumulate(spans, initial=320))
    bounds = ["DRAM", "array", "array", "array", "array", "latency", "latency"]
    rows = []
    for name, span, share, end, bound in zip(LAYERS, spans, SHARES, ends[1:], bounds, strict=True):
        compute = round(share * macs / arch.macs_per_cycle)
        read = {"stem": 3072, "head": 1024}.get(name, 0)
        rows.append(
            {
                "name": name,
                "op": "AvgPool2d" if name == "pool" else "Conv2d",
                "start": end - span,
                "end": end,
                "cycles": span,
                "macs": round(share * macs),
                "compute_cycles": compute,
                "dram_bytes": read,
                "dram_read_bytes": read,
                "dram_write_bytes": 0,
                "bound": bound,
                "utilization": compute / span,
            }
        )
    return rows


def _run(
    lines: list[dict[str, Any]], front: list[int], chosen: list[int], seed: int, state: str
) -> dict[str, Any]:
    seconds = lines[-1]["elapsed_s"] if lines else 0.0
    times = np.linspace(0, seconds, 25)
    return {
        "name": "toy",
        "seed": seed,
        "sampler": "nsga2",
        "board": "pynq-z2",
        "arch": preset("pynq_z2").to_dict(),
        "objectives": OBJECTIVES,
        "constraints": {"max": {"latency_ms": 2.0}, "min": {"accuracy": 0.55}},
        "versions": {"codesign": "0.1.0", "python": "3.11.2", "numpy": "2.0.0"},
        "started": "2026-01-05T09:30:00+00:00",
        "elapsed_s": seconds,
        "budget": {"seconds": 900.0, "trials": None},
        "state": state,
        "counts": {
            "closed_form": 48_213,
            "rejected": REJECTED,
            "accuracy": len(lines),
            "finetuned": sum(line["fidelity"] == "finetuned" for line in lines),
            "failed": {},
            "verified": len(chosen),
        },
        "hypervolume": [[float(t), 0.61 * (1 - float(np.exp(-t / 120)))] for t in times],
        "reference_point": {"accuracy": 0.5, "latency_ms": 2.0, "lut": 53200},
    }
