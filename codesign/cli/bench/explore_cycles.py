"""How near the closed form's cycles are to the machine reference's, and how many it tells a second.

Networks: ResNet-8, the demo's, block-sparse ResNet-8s, and MLPerf Tiny's where they are beside the
checkout; architectures: random ones of a seed that nothing was fitted to.
"""

from __future__ import annotations

import random
import time

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.cli.bench.network import MODELS, REFERENCES
from codesign.cli.bench.row import Row
from codesign.cli.console import console
from codesign.cli.model import load_model, load_quantized
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.validation import Difference, block_sparse, differences, random_arch
from codesign.cost.workload import Workload
from codesign.frontend.passes import simplify
from codesign.quant.quantize import quantize_network

NETWORKS = ("codesign.zoo.resnet8:resnet8", "codesign.zoo.demo:network")
ARCHITECTURES = range(8200, 8260)
"""Seeds, none of which the closed form was mended by."""
CLOSE = 0.03
SPARSITY = (0.3, 0.5, 0.7)
POPULATION = 16384
"""Pairs of a network and an architecture that are told at once."""
_REPEATS = 3


def rows(_: Arch) -> list[Row]:
    """Worst errors of layers and of networks, and speed; ``--arch`` has no say."""
    graphs = networks()
    found = [one for seed in ARCHITECTURES for one in _of(graphs, random_arch(seed), seed)]
    layers = [at for at in found if at.layer is not None]
    totals = [at for at in found if at.layer is None]
    worst = max(found, key=lambda at: at.error)
    console.print(
        f"  worst: {worst.network} {worst.layer} on {worst.arch}: {worst.predicted} for "
        f"{worst.cycles} cycles",
        markup=False,
        highlight=False,
    )
    return [
        Row("explore.cycles_error_layer", max(at.error for at in layers), "1"),
        Row("explore.cycles_error_network", max(at.error for at in totals), "1"),
        Row("explore.cycles_layers_close", share_close(layers), "1"),
        Row("explore.cycles_pairs", len(layers), "1"),
        Row("explore.closed_form_per_second", per_second(), "1/s"),
    ]


def share_close(layers: list[Difference]) -> float:
    """Share of pairs that are within ``CLOSE``."""
    return sum(at.error <= CLOSE for at in layers) / len(layers)


def networks() -> list[ir.Graph]:
    """The quantised networks, those beside the checkout as far as they are there."""
    found = []
    for name in NETWORKS:
        network = load_model(name, seed=0).network
        shape = network.shapes[network.inputs[0]]
        samples = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
        found.append(quantize_network(network, samples))
    for name in REFERENCES:
        path = MODELS / name / "model.tflite"
        if path.is_file():
            found.append(load_quantized(str(path)).graph)
    return found


def _of(graphs: list[ir.Graph], arch: Arch, seed: int) -> list[Difference]:
    sparse = block_sparse(graphs[0], arch, SPARSITY[seed % len(SPARSITY)], seed)
    return [one for graph in (*graphs, sparse) for one in differences(graph, arch)]


def per_second() -> float:
    """Pairs a second of processor time, in the best of three calls of ``POPULATION`` pairs each:
    ResNet-8s of other channels in every residual group, each on an architecture of its own.

    It is the pace of a search that runs. A call before has filled what is remembered from call to
    call (``first_load.ready``, tiles); a process's first call, and calls of few pairs, are slower.
    """
    workload = Workload.of_network(simplify(load_model(NETWORKS[0], seed=0).network))
    cycles(*population(workload, 0))
    best = 0.0
    for seed in range(1, 1 + _REPEATS):
        networks, archs = population(workload, seed)
        begin = time.process_time()
        cycles(networks, archs)
        best = max(best, len(archs) / (time.process_time() - begin))
    return best


def population(workload: Workload, seed: int) -> tuple[Workload, Archs]:
    """Random pairs of a network and an architecture."""
    chance, rng = random.Random(seed), np.random.default_rng(seed)
    archs = Archs.of([random_arch(chance.randrange(1 << 30)) for _ in range(POPULATION)])
    groups = {workload.links[at.target].group: at.target for at in workload.layers[:-1]}
    channels = {
        name: rng.integers(4, int(np.max(workload.maps[name].channels)) + 1, POPULATION)
        for group, name in groups.items()
        if group not in workload.fixed
    }
    return workload.with_channels(channels), archs
