"""Fitting pruned layers to what they computed before."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import prune_blocks, sparse_layers
from codesign.prune.channels import prune_channels
from codesign.prune.groups import channel_groups
from codesign.prune.recalibrate import recalibrate
from codesign.quant.execute import run
from codesign.zoo.demo import small_network


class Twice(nn.Module):
    """Every channel of the middle layer twice, the second time weaker."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.last = nn.Conv2d(8, 4, 3, 2, padding=1)
        with torch.no_grad():
            self.first.weight[1::2] = 0.5 * self.first.weight[::2]
            assert self.first.bias is not None
            self.first.bias[1::2] = 0.5 * self.first.bias[::2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(torch.relu(self.first(x)))
        return y


def twice() -> net.Network:
    torch.manual_seed(0)
    return simplify(from_module(Twice(), torch.zeros(1, 3, 9, 9)))


def images(network: net.Network, count: int, seed: int) -> net.FloatArray:
    shape = network.shapes[network.inputs[0]]
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def distance(network: net.Network, reference: net.Network, inputs: net.FloatArray) -> float:
    """Root mean squared error of the outputs, relative to their deviation."""
    (out,) = network.outputs
    found, expected = run(network, inputs)[out], run(reference, inputs)[out]
    return float(np.sqrt(((found - expected) ** 2).mean()) / expected.std())


def test_redundant_channels_cost_nothing() -> None:
    whole = twice()
    pruned = prune_channels(whole, {"first": 0.5})
    kept = next(op for op in pruned.ops if op.name == "first")
    original = next(op for op in whole.ops if op.name == "first")
    assert isinstance(kept, net.Conv2d)
    assert isinstance(original, net.Conv2d)
    np.testing.assert_array_equal(kept.weight, original.weight[::2])
    fitted = recalibrate(pruned, whole, images(whole, 64, 1))
    inputs = images(whole, 16, 2)
    assert distance(pruned, whole, inputs) > 0.2
    assert distance(fitted, whole, inputs) < 0.01


def test_an_unpruned_network_stays_what_it_is() -> None:
    whole = twice()
    fitted = recalibrate(whole, whole, images(whole, 64, 1))
    assert distance(fitted, whole, images(whole, 16, 2)) < 1e-3


def test_every_kind_of_layer_is_fitted() -> None:
    """Residual sums, a depthwise layer, a function of the values, pools."""
    whole = simplify(from_module(*small_network()))
    groups = {group.name: 0.25 for group in channel_groups(whole) if group.prunable}
    pruned = prune_channels(whole, groups)
    fitted = recalibrate(pruned, whole, images(whole, 200, 1))
    inputs = images(whole, 100, 2)
    assert distance(fitted, whole, inputs) < 0.7 * distance(pruned, whole, inputs)
    for op, before in zip(fitted.ops, pruned.ops, strict=True):
        if isinstance(op, net.Conv2d):
            assert isinstance(before, net.Conv2d)
            assert op.weight.shape == before.weight.shape
            assert not np.array_equal(op.weight, before.weight), op.name
    net.verify(fitted)


def test_zero_blocks_stay_zero() -> None:
    whole = simplify(from_module(*small_network()))
    pruned = prune_blocks(whole, dict.fromkeys(sparse_layers(whole), 0.5), 4, 4)
    fitted = recalibrate(pruned, whole, images(whole, 200, 1))
    for op, before in zip(fitted.ops, pruned.ops, strict=True):
        if isinstance(op, net.Conv2d):
            assert isinstance(before, net.Conv2d)
            np.testing.assert_array_equal(op.weight == 0, before.weight == 0)
    inputs = images(whole, 100, 2)
    assert distance(fitted, whole, inputs) < 0.8 * distance(pruned, whole, inputs)


def test_it_repeats() -> None:
    whole = twice()
    pruned = prune_channels(whole, {"first": 0.75})
    inputs = images(whole, 600, 1)  # more pixels than are looked at
    first, second = (recalibrate(pruned, whole, inputs).ops[1] for _ in range(2))
    other = recalibrate(pruned, whole, inputs, seed=1).ops[1]
    assert isinstance(first, net.Conv2d)
    assert isinstance(second, net.Conv2d)
    assert isinstance(other, net.Conv2d)
    np.testing.assert_array_equal(first.weight, second.weight)
    assert not np.array_equal(first.weight, other.weight)


def test_a_network_that_was_not_pruned_from_it_is_refused() -> None:
    whole = twice()
    inputs = images(whole, 8, 1)
    other = simplify(from_module(*small_network()))
    with pytest.raises(ValueError, match="has other operations than 'Twice'"):
        recalibrate(other, whole, inputs)
    conv = whole.ops[1]
    assert isinstance(conv, net.Conv2d)
    trained = dataclasses.replace(
        whole, ops=(whole.ops[0], dataclasses.replace(conv, bias=conv.bias + 1))
    )
    with pytest.raises(ValueError, match="'last' has not the weights and biases"):
        recalibrate(trained, whole, inputs)
    trained = dataclasses.replace(
        whole, ops=(whole.ops[0], dataclasses.replace(conv, weight=2 * conv.weight))
    )
    with pytest.raises(ValueError, match="'last' has not the weights and biases"):
        recalibrate(trained, whole, inputs)
