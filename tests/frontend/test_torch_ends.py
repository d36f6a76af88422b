"""A softmax or an argmax at the very end becomes the host's step, as TFLite's does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from codesign.artifact import HostStep
from codesign.errors import GraphError
from codesign.frontend.ends import host_steps
from codesign.frontend.network import Network
from codesign.frontend.torch_export import from_module
from codesign.quant.quantize import quantize_network
from codesign.quant.torch_module import quantize_module
from codesign.reference import graph as graph_reference
from host import steps as host
from host.manifest import HostStep as Step

Body = Callable[[torch.Tensor], tuple[torch.Tensor, ...] | torch.Tensor]


class Ending(nn.Module):
    """A classifier, and what follows its logits."""

    def __init__(self, end: Body) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        self.end = end

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...] | torch.Tensor:
        return self.end(self.body(x))


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)


def converted(end: Body) -> Network:
    return from_module(Ending(end), torch.from_numpy(images()[:1]))


@pytest.mark.parametrize(
    ("end", "kinds"),
    [
        (lambda x: x.softmax(1), ["softmax"]),
        (lambda x: x.softmax(-1), ["softmax"]),
        (lambda x: x.argmax(1), ["argmax"]),
        (lambda x: x.softmax(1).argmax(-1, keepdim=True), ["softmax", "argmax"]),
    ],
)
def test_the_host_gives_what_torch_gives(end: Body, kinds: list[str]) -> None:
    data = images()
    network = converted(end)
    graph = quantize_network(network, data, batch=len(data))
    found = host_steps(network, graph)
    assert [step.op for step in found] == kinds
    (output,) = graph.outputs
    assert all(step.tensor == output for step in found)
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[output]
    codes = np.clip(np.rint(data / x.scale) + x.zero_point, -128, 127).astype(np.int8)
    logits = graph_reference.run(graph, {x.name: codes})[output]
    real = ((logits.astype(np.float32) - y.zero_point) * y.scale).astype(np.float32)
    result = host.apply([Step(s.op, s.tensor, s.parameters) for s in found], output, real)
    expected = Ending(end).eval()(torch.from_numpy(data))
    assert isinstance(expected, torch.Tensor)
    np.testing.assert_allclose(result.reshape(expected.shape), expected.detach(), atol=0.02)


def test_a_step_is_of_its_own_output() -> None:
    network = converted(lambda x: (x.relu(), (x * 2).softmax(1)))
    graph = quantize_network(network, images())
    assert host_steps(network, graph) == (HostStep("softmax", graph.outputs[1], {"beta": 1.0}),)


def test_a_tensor_and_its_softmax_are_refused() -> None:
    network = converted(lambda x: (x, x.softmax(1)))
    graph = quantize_network(network, images())
    with pytest.raises(GraphError, match="returns a tensor and its softmax; return one of them"):
        host_steps(network, graph)


def test_a_graph_alone_would_lose_the_step() -> None:
    with pytest.raises(GraphError, match="ends with softmax, which the host does: leave it out"):
        quantize_module(Ending(lambda x: x.softmax(1)), images())
