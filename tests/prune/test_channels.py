"""Channel pruning: the pruned network is the original without what it lost, and nothing else."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.channels import (
    channels_after,
    importance,
    kept_channels,
    prune_channels,
    strongest,
)
from codesign.prune.groups import channel_groups
from codesign.quant.execute import run
from codesign.zoo.demo import small_network
from codesign.zoo.resnet8 import resnet8


class Flat(nn.Module):
    """A depth multiplier, and a linear layer behind a map that is flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.multiplied = nn.Conv2d(6, 12, 1, groups=6)
        self.linear = nn.Linear(12 * 4, 7)
        self.last = nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(self.multiplied(self.norm(self.first(x))))
        y: torch.Tensor = self.last(torch.relu(self.linear(torch.flatten(x, 1))))
        return y


@functools.cache
def networks() -> dict[str, net.Network]:
    torch.manual_seed(0)
    found = {
        "resnet8": from_module(*resnet8()),
        "demo": from_module(*small_network()),
        "flat": from_module(Flat(), torch.zeros(1, 2, 4, 4)),
    }
    return found | {f"{name}-simple": simplify(one) for name, one in found.items()}


def blinded(network: net.Network, ratios: dict[str, float]) -> net.Network:
    """The network whose kernels give the channels that pruning would remove no weight."""
    gone: dict[str, net.FloatArray] = {}
    for group in channel_groups(network):
        left = kept_channels(group.channels, ratios.get(group.name, 0.0))
        kept = strongest(importance(network, group), left)
        mask = np.isin(np.arange(group.channels), kept)
        gone |= {name: mask.repeat(spread) for name, spread in group.spread.items()}
    ops = []
    for op in network.ops:
        if isinstance(op, net.Linear) or (isinstance(op, net.Conv2d) and op.groups == 1):
            weight = op.weight.copy()
            weight[:, ~gone[op.x].astype(bool)] = 0
            op = dataclasses.replace(op, weight=weight)
        ops.append(op)
    return dataclasses.replace(network, ops=tuple(ops))


@pytest.mark.parametrize("name", networks())
def test_what_is_left_computes_as_before(name: str) -> None:
    network, random = networks()[name], np.random.default_rng(1)
    ratios = {
        g.name: float(random.uniform(0.2, 0.7)) for g in channel_groups(network) if g.prunable
    }
    inputs = random.normal(size=(3, *network.shapes[network.inputs[0]])).astype(np.float32)
    (out,) = network.outputs
    pruned = prune_channels(network, ratios)
    expected = run(blinded(network, ratios), inputs)[out]
    np.testing.assert_allclose(run(pruned, inputs)[out], expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(expected, run(network, inputs)[out], atol=1e-2)


@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("multiple", [1, 4])
def test_channels_are_known_before(name: str, multiple: int) -> None:
    network = networks()[name]
    ratios = {group.name: 0.5 for group in channel_groups(network) if group.prunable}
    shapes = prune_channels(network, ratios, multiple=multiple).shapes
    found = channels_after(network, ratios, multiple)
    assert found == {name: shape[0] for name, shape in shapes.items()}


def test_channels_of_the_least_norm_go() -> None:
    network = simplify(from_module(*resnet8()))
    conv = next(op for op in network.ops if op.name == "stacks.1.conv1")
    assert isinstance(conv, net.Conv2d)
    norms = np.abs(conv.weight).sum(axis=(1, 2, 3))
    pruned = prune_channels(network, {"stacks.1.conv1": 0.5})
    left = next(op for op in pruned.ops if op.name == "stacks.1.conv1")
    assert isinstance(left, net.Conv2d)
    expected = conv.weight[np.sort(np.argsort(-norms)[:16])]
    np.testing.assert_array_equal(left.weight, expected)


def test_a_norm_counts_as_its_factor() -> None:
    """Pruning before and after batch normalisations are folded removes the same channels."""
    network = from_module(*resnet8())
    ratios = {"conv": 0.5, "stacks.1.conv1": 0.25, "stacks.2.conv2": 0.5}
    before, after = (
        simplify(prune_channels(network, ratios)),
        prune_channels(simplify(network), ratios),
    )
    inputs = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    (out,) = before.outputs
    np.testing.assert_allclose(
        run(before, inputs)[out], run(after, inputs)[out], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("channels", "ratio", "multiple", "left"),
    [(16, 0, 8, 16), (16, 0.25, 8, 16), (16, 0.3, 8, 8), (16, 0.99, 8, 8), (20, 0.1, 8, 16),
     (10, 0, 8, 10), (4, 0.9, 8, 4), (64, 0.5, 1, 32), (7, 0.5, 1, 4), (3, 0.9, 1, 1)],
)  # fmt: skip
def test_what_is_kept_is_a_multiple(channels: int, ratio: float, multiple: int, left: int) -> None:
    assert kept_channels(channels, ratio, multiple) == left


def test_nothing_to_prune_is_the_network_itself() -> None:
    network = from_module(*resnet8())
    assert prune_channels(network, {"conv": 0.0}) is network


def test_errors_name_the_group_and_the_remedy() -> None:
    network = from_module(*resnet8())
    with pytest.raises(ValueError, match=r"no channel group 'stem'; it has conv, stacks\.0"):
        prune_channels(network, {"stem": 0.5})
    with pytest.raises(ValueError, match="'classifier' cannot be pruned: it holds an output"):
        channels_after(network, {"classifier": 0.5})
    with pytest.raises(ValueError, match=r"ratio 1\.0 is outside"):
        prune_channels(network, {"conv": 1.0})
    with pytest.raises(ValueError, match="multiple 0 is below 1"):
        prune_channels(network, {"conv": 0.5}, multiple=0)
