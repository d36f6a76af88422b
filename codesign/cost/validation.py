"""How far the closed form is from the machine reference, layer by layer: for tests and figures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.sparsity import kept_taps
from codesign.cost.workload import Workload
from codesign.reference.predict import predicted_run
from codesign.report.run import layer_rows
from codesign.report.trace import Execution


@dataclass(frozen=True)
class Difference:
    """Cycles as predicted in closed form and as they are; ``layer`` is None for a whole network."""

    network: str
    arch: Arch
    layer: str | None
    predicted: int
    cycles: int

    @property
    def error(self) -> float:
        """Relative."""
        return abs(self.predicted - self.cycles) / self.cycles


def differences(graph: ir.Graph, arch: Arch, layers: Sequence[int] | None = None,
                total: int | None = None) -> Iterator[Difference]:  # fmt: skip
    """The network's and every layer's, to those of the machine reference where ``layers`` and
    ``total`` are not given."""
    if layers is None or total is None:
        program = compile_graph(graph, arch)
        layers, total = spans(program), program.predicted_cycles
    found = cycles(Workload.of(graph), Archs.of([arch]))
    yield Difference(graph.name, arch, None, int(found.total[0]), total)
    for name, predicted, actual in zip(found.names, found.layers[:, 0], layers, strict=True):
        yield Difference(graph.name, arch, name, int(predicted), actual)


def spans(program: Program) -> list[int]:
    """Cycles of a program's layers on the machine reference."""
    execution = Execution.of(program, predicted_run(program, check=False).trace)
    return [row["cycles"] for row in layer_rows(program, execution)]


def random_arch(seed: int) -> Arch:
    """An architecture whose memories hold small networks: P 1..12, M 4..16, N to 32, any D."""
    chance = random.Random(seed)
    pixels = chance.randint(1, 12)
    inputs = chance.choice((4, 8, 16))
    return Arch(
        f"seed {seed}",
        pixels=pixels,
        in_channels=inputs,
        out_channels=chance.choice([n for n in (4, 8, 16, 32) if n >= inputs]),
        drain=chance.choice([d for d in range(1, pixels + 1) if pixels % d == 0]),
        regions=3, act_depth=8192, wgt_depth=1 << 15, param_depth=2048, tap_depth=8192,
        dma_bits=chance.choice((64, 128)),
    )  # fmt: skip


def block_sparse(graph: ir.Graph, arch: Arch, share: float, seed: int) -> ir.Graph:
    """The graph with random M x N blocks of zeros in its dense layers but those on inputs: every
    block of N outputs keeps ``kept_taps`` of its taps."""
    rng = np.random.default_rng(seed)
    m, n = arch.in_channels, arch.out_channels

    def pruned(op: ir.Op) -> ir.Op:
        if not isinstance(op, ir.Conv2d) or op.groups > 1 or op.x in graph.inputs:
            return op
        weight = np.where(op.weight == 0, 1, op.weight).astype(np.int8)
        outputs, inputs, height, width = weight.shape
        taps = -(-inputs // m) * height * width
        for first in range(0, outputs, n):
            for tap in rng.permutation(taps)[int(kept_taps(taps, share)) :]:
                plane, position = divmod(int(tap), height * width)
                y, x = divmod(position, width)
                weight[first : first + n, plane * m : (plane + 1) * m, y, x] = 0
        return replace(op, weight=weight)

    return replace(graph, name=f"{graph.name} sparse", ops=tuple(pruned(op) for op in graph.ops))
