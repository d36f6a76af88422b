"""Channels that torch networks move."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_exported, from_module
from codesign.quant.execute import execute
from codesign.quant.quantize import quantize_network
from codesign.reference import graph as reference
from tests.compiler.execution import check


class Wrapped(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def shuffled(x: torch.Tensor) -> torch.Tensor:
    a, b, c = x.split([1, 2, 3], 1)
    return torch.cat([c, torch.relu(a), b], 1)


MOVES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cat": lambda x: torch.cat([x, x.tanh(), -x], 1),
    "one": lambda x: torch.cat([x], 1).relu(),
    "split": shuffled,
    "chunk": lambda x: torch.cat(x.chunk(4, 1)[::-1], 1),
    "slice": lambda x: x[:, 1:5:2].relu(),
    "slice from behind": lambda x: x[:, -2:] + x[:, :2],
    "whole slices": lambda x: x[:, :, :, 0:].relu(),
    "vectors": lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)[:, 3:],
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("is_open", [False, True])
def test_moves(name: str, is_open: bool) -> None:
    """With a fixed batch, and an open one."""
    x = torch.randn((3, 6, 4, 5), generator=torch.Generator().manual_seed(1))
    module = Wrapped(MOVES[name])
    if is_open:
        shapes = {"x": {0: torch.export.Dim("n")}}
        network = from_exported(torch.export.export(module, (x,), dynamic_shapes=shapes))
    else:
        network = from_module(module, x)
    expected = module(x).numpy()
    for form in (network, simplify(network)):
        found = execute(form, x.numpy())[form.outputs[0]].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


class Fire(nn.Module):
    """Iandola et al., "SqueezeNet", arXiv 1602.07360, section 3."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, inner, 1)
        self.narrow = nn.Conv2d(inner, outputs, 1)
        self.wide = nn.Conv2d(inner, outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.narrow(x)), functional.relu(self.wide(x))], 1)


def test_what_only_picks_channels_joins_the_convolution_before_it() -> None:
    """Two convolutions and their sum are all that a fire module's end leaves."""
    torch.manual_seed(5)
    module, x = Fire(6, 3, 5), torch.randn(2, 6, 4, 4)
    network = from_module(module, x)
    simple = simplify(network)
    assert [type(op) for op in simple.ops] == [net.Conv2d, net.Conv2d, net.Conv2d, net.Add]
    (output,) = simple.outputs
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(execute(simple, x.numpy())[output], expected, 1e-5, 1e-5)
    graph = quantize_network(network, x.numpy())
    parts = {graph.tensors[op.y].scale for op in graph.ops[1:]}
    assert parts == {graph.tensors[graph.outputs[0]].scale}, "each value is rounded once"


def test_channels_of_a_clamp_beside_zero_stay_apart() -> None:
    """What is zero in the whole would not be, had it gone through this clamp."""
    torch.manual_seed(6)
    conv = nn.Conv2d(3, 4, 1)
    module = Wrapped(lambda x: torch.cat([torch.clamp(conv(x), 0.5, 2.0), x], 1))
    x = torch.randn(2, 3, 4, 4)
    simple = simplify(from_module(module, x))
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(execute(simple, x.numpy())[simple.outputs[0]], expected, 1e-5, 1e-5)


def test_a_network_that_joins_and_shuffles() -> None:
    """In int8: the whole of a join holds its parts' values, and the machine computes it."""
    torch.manual_seed(4)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), Fire(6, 3, 5), Wrapped(lambda x: x[:, 2:8]))
    x = torch.randn(4, 3, 8, 8)
    network = from_module(module, x)
    graph = quantize_network(network, x.numpy(), 4)
    source, result = (graph.tensors[name] for name in (graph.inputs[0], graph.outputs[0]))
    codes = np.clip(np.round(x.numpy() / source.scale) + source.zero_point, -128, 127)
    found = reference.run(graph, {source.name: codes.astype(np.int8)})[result.name]
    with torch.no_grad():
        expected = module.eval()(x).numpy() / result.scale + result.zero_point
    assert np.abs(found - expected).mean() < 1
    single = dataclasses.replace(graph, batch=1)
    check(compile_graph(single, preset("tiny")), np.random.default_rng(0))
