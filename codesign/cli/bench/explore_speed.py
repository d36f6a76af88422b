"""How many new (network, architecture) pairs are compiled, checked and timed in a second.

Processor time of one core, of ResNet-8 with other weights and another architecture each time, so
that nothing of an earlier evaluation helps. Quantisation is not part of it: a search has it behind
it when it varies the hardware.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.compiler import compile as compile_graph
from codesign.quant.torch_module import quantize_module
from codesign.zoo.resnet8 import resnet8

EVALUATIONS = 40
SEED = 0


def rows(arch: Arch) -> list[Row]:
    """Evaluations are those of `codesign compile`: exact cycles, energy, the program itself."""
    model, example = resnet8()
    graph = quantize_module(model, example.numpy(), name="resnet8")
    rng = np.random.default_rng(SEED)
    pairs = [(_variant(graph, rng), _random(arch, rng)) for _ in range(EVALUATIONS)]
    compile_graph(graph, arch)  # imports, files of coefficients
    start = time.process_time()
    for network, at in pairs:
        compile_graph(network, at)
    seconds = time.process_time() - start
    return [Row("explore.instruction_level_per_second", EVALUATIONS / seconds, "1/s")]


def _variant(graph: ir.Graph, rng: np.random.Generator) -> ir.Graph:
    """The network with its weights in another order."""
    ops = tuple(
        dataclasses.replace(op, weight=rng.permuted(op.weight, axis=0))
        if isinstance(op, ir.Conv2d)
        else op
        for op in graph.ops
    )
    return dataclasses.replace(graph, ops=ops)


def _random(arch: Arch, rng: np.random.Generator) -> Arch:
    """Another number of pixels, drained at another width."""
    pixels = int(rng.integers(4, 13))
    divisors = [count for count in range(1, pixels + 1) if pixels % count == 0]
    return arch.replace(
        name="other",
        pixels=pixels,
        drain=int(rng.choice(divisors)),
        act_depth=arch.act_depth + int(rng.integers(64)),
    )
