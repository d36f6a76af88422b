"""Cycles in closed form against those that the simulated RTL counts, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codesign.arch import Arch, preset
from codesign.cli.bench.workload import saved
from codesign.cli.session import traced
from codesign.compiler import compile as compile_graph
from codesign.cost.validation import Difference, block_sparse, differences
from codesign.frontend.torch_export import from_module
from codesign.isa import Opcode
from codesign.quant.quantize import quantize_network
from codesign.report.run import layer_rows
from codesign.zoo.demo import DemoNetwork
from host.driver import Accelerator
from sim.device import RtlDevice
from tests.compiler.networks import ROOMY

ARCHS = (
    ROOMY,
    ROOMY.replace(pixels=5),
    ROOMY.replace(pixels=4, drain=2, out_channels=8),
    preset("pynq_z2"),
)
WIDTHS = (6, 8, 11, 12, 16)
LAYER_ERROR, NETWORK_ERROR = 0.03, 0.05


@pytest.mark.slow
def test_at_least_200_layers_on_rtl() -> None:
    found = [one for arch in ARCHS for one in _on_rtl(arch)]
    layers = [at for at in found if at.layer is not None]
    assert len(layers) >= 200
    worst = max(layers, key=lambda at: at.error)
    assert worst.error <= LAYER_ERROR, worst
    worst = max((at for at in found if at.layer is None), key=lambda at: at.error)
    assert worst.error <= NETWORK_ERROR, worst


def _on_rtl(arch: Arch) -> list[Difference]:
    """The demo's network in several widths, each whole and with blocks of zeros."""
    found: list[Difference] = []
    with RtlDevice(arch) as device:
        for width in WIDTHS:
            torch.manual_seed(width)
            network = from_module(DemoNetwork(width).eval(), torch.zeros(1, 1, 8, 8))
            inputs = np.random.default_rng(width).random((2, 1, 8, 8)).astype(np.float32)
            whole = quantize_network(network, inputs)
            for graph in (whole, block_sparse(whole, arch, 0.4, width)):
                program = compile_graph(graph, arch)
                codes = np.zeros((1, 1, 8, 8), np.int8)
                with saved(program, codes) as work:
                    execution = traced(program, work.path, device, codes)
                    calcs = sum(at.opcode is Opcode.CALC for at in execution.instructions)
                    if len(execution.slots) < calcs:
                        continue  # the trace's queue was full: a layer would seem to lack slots
                    with Accelerator(device) as accelerator:
                        accelerator.load(work.path)
                        accelerator.run(codes)
                        total = accelerator.report().cycles
                cycles = [row["cycles"] for row in layer_rows(program, execution)]
                found += differences(graph, arch, cycles, total)
    return found
