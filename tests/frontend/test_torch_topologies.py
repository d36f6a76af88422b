"""ResNet-18, ResNet-50 and MobileNetV2 through torch.export: the network that torch computes, and
the machine that computes the quantised graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from codesign.frontend.torch_export import from_module
from codesign.quant.execute import run
from codesign.quant.quantize import quantize_network
from codesign.zoo.mobilenet_v2 import MobileNetV2
from codesign.zoo.random_weights import seeded
from codesign.zoo.resnet18 import ResNet18
from tests.compiler.execution import check
from tests.frontend.topologies import ResNet50

SMALL = 32
"""Pixels: five halvings leave one."""
FULL = 224

Make = Callable[[], nn.Module]


def compiled(make: Make, size: int, operations: int) -> None:
    model, x = seeded(make, (3, size, size), 7, samples=2)
    network = from_module(model, x, "network")
    with torch.no_grad():
        expected = model(x).numpy()
    (output,) = network.outputs
    found = run(network, x.numpy())[output].reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    graph = quantize_network(network, x.numpy())
    assert len(graph.ops) == operations
    check(compile_graph(graph, preset("pynq_z2")), np.random.default_rng(5))


@pytest.mark.parametrize(
    ("make", "operations"),
    [
        (lambda: ResNet18((8, 16, 32, 64), 20), 31),
        (lambda: ResNet50(4, 20), 72),
        (lambda: MobileNetV2(0.25, 20), 64),
    ],
    ids=["ResNet-18", "ResNet-50", "MobileNetV2"],
)
def test_small_images(make: Make, operations: int) -> None:
    """With an eighth, a sixteenth and a quarter of their channels."""
    compiled(make, SMALL, operations)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "operations"),
    [(ResNet18, 31), (ResNet50, 72), (MobileNetV2, 64)],
    ids=["ResNet-18", "ResNet-50", "MobileNetV2"],
)
def test_full_size(make: Make, operations: int) -> None:
    compiled(make, FULL, operations)
