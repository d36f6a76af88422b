"""How near the closed forms of energy and DRAM traffic come to compiled programs.

Worst relative errors over networks and seeded random architectures whose memories hold them: of the
whole energy, of its dynamic part alone (static power hides it), of the bytes on the bus.
"""

from __future__ import annotations

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.model import load_model
from codesign.compiler import compile as compile_graph
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.energy import Coefficients
from codesign.cost.energy_events import predicted_energy
from codesign.cost.events import bus_bytes, energy, events
from codesign.cost.workload import Workload
from codesign.quant.quantize import quantize_network
from codesign.report.traffic import traffic

NETWORKS = ("codesign.zoo.resnet8:resnet8", "codesign.zoo.demo:network")
ARCHITECTURES = 6
SEED = 3


def rows(arch: Arch) -> list[Row]:
    """The worst errors; ``arch`` gives the board, and is the first architecture."""
    coefficients = energy_file.find(arch.board)
    if coefficients is None:
        raise ValueError(f"board {arch.board!r} has no energy coefficients; choose another --arch")
    archs = [arch, *(_random(arch, seed) for seed in range(SEED, SEED + ARCHITECTURES))]
    errors = np.array(
        [_errors(_graph(model), at, coefficients) for model in NETWORKS for at in archs]
    )
    worst = np.abs(errors).max(axis=0).tolist()
    return [
        Row(f"explore.{name}_error", value, "1")
        for name, value in zip(("energy", "energy_dynamic", "dram"), worst, strict=True)
    ]


def _graph(model: str) -> ir.Graph:
    network = load_model(model, 0).network
    shape = network.shapes[network.inputs[0]]
    samples = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    return quantize_network(network, samples)


def _random(arch: Arch, seed: int) -> Arch:
    """Another array behind memories that are large enough for all of ``NETWORKS``."""
    rng = np.random.default_rng(seed)
    pixels = int(rng.integers(1, 13))
    m = int(rng.choice([4, 8, 16]))
    return arch.replace(
        name=f"random{seed}",
        pixels=pixels,
        in_channels=m,
        out_channels=int(rng.choice([n for n in (4, 8, 16) if n >= m])),
        drain=int(rng.choice([d for d in range(1, pixels + 1) if pixels % d == 0])),
        dma_bits=int(rng.choice([64, 128])),
        act_depth=1 << 15,
        wgt_depth=1 << 15,
        param_depth=1 << 11,
        tap_depth=1 << 13,
    )


def _errors(graph: ir.Graph, arch: Arch, coefficients: Coefficients) -> tuple[float, float, float]:
    """Of energy, its dynamic part, bytes: closed form / program - 1."""
    program = compile_graph(graph, arch, energy=coefficients)
    truth = predicted_energy(program)
    if truth is None:
        raise ValueError(f"the program for {arch.name!r} has no energy")
    workload, archs = Workload.of(graph), Archs.of([arch])
    found = cycles(workload, archs)
    spent = energy(events(workload, archs, found), archs, found, coefficients)
    total, static = float(spent.total_uj[0]), float(spent.static_uj[0])
    moved = sum(at.read + at.written for at in traffic(program).values())
    return (
        total / truth.total_uj - 1,
        (total - static) / (truth.total_uj - truth.static_uj) - 1,
        float(np.sum(bus_bytes(found))) / moved - 1,
    )
