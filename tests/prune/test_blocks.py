"""Block pruning: the taps that stay are those that the cost models count, and cycles fall."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn

from codesign.arch import Arch, preset
from codesign.compiler import compile as compile_graph
from codesign.compiler.lower import lower
from codesign.cost.sparsity import kept_taps
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import prune_blocks, sparse_layers
from codesign.quant.quantize import quantize_network
from codesign.zoo.resnet8 import resnet8

TINY = preset("tiny")
WIDE = dataclasses.replace(TINY, name="wide", in_channels=8, out_channels=16)


@functools.cache
def network() -> net.Network:
    return simplify(from_module(*resnet8()))


@functools.cache
def small() -> net.Network:
    """Uneven channels, a stride, and a kernel that a single pixel meets at one position."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 21, 3, 2, padding=1), nn.ReLU(),
        nn.MaxPool2d(4), nn.Conv2d(21, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 5, 1),
    )  # fmt: skip
    return simplify(from_module(model, torch.zeros(1, 3, 8, 8)))


def taps(pruned: net.Network, arch: Arch) -> dict[str, list[int]]:
    """Layer -> taps of each of its blocks, as the compiler makes them."""
    shape = pruned.shapes[pruned.inputs[0]]
    inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    lowered = lower(quantize_network(pruned, inputs), arch)
    return {layer.name: [len(block.taps) for block in layer.blocks] for layer in lowered.layers}


@pytest.mark.parametrize("arch", [TINY, WIDE], ids=lambda arch: arch.name)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.81, 1.0])
def test_the_compiler_drops_what_is_zero(arch: Arch, share: float) -> None:
    whole = small()
    layers = sparse_layers(whole)
    pruned = prune_blocks(whole, dict.fromkeys(layers, share), arch.in_channels, arch.out_channels)
    before, after = taps(whole, arch), taps(pruned, arch)
    for name in before:
        share_of_layer = share if name in layers else 0.0
        assert after[name] == kept_taps(before[name], share_of_layer).tolist(), name
    assert len(layers) == 3


def test_cycles_fall_with_the_taps() -> None:
    whole = network()
    arch = preset("pynq_z2")
    inputs = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    cycles = []
    for share in (0.0, 0.25, 0.5, 0.75):
        pruned = prune_blocks(whole, dict.fromkeys(sparse_layers(whole), share), 8, 8)
        cycles.append(compile_graph(quantize_network(pruned, inputs), arch).predicted_cycles)
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[2] < 0.58 * cycles[0]


def test_the_largest_blocks_stay() -> None:
    whole = network()
    conv = next(op for op in whole.ops if op.name == "stacks.1.conv2")
    pruned = prune_blocks(whole, {conv.name: 0.5}, 8, 8)
    left = next(op for op in pruned.ops if op.name == conv.name)
    assert isinstance(conv, net.Conv2d)
    assert isinstance(left, net.Conv2d)
    blocks = conv.weight.reshape(4, 8, 4, 8, 3, 3).transpose(0, 2, 4, 5, 1, 3).reshape(4, 36, 64)
    zero = ~left.weight.reshape(4, 8, 4, 8, 3, 3).transpose(0, 2, 4, 5, 1, 3).reshape(
        4, 36, 64
    ).any(axis=2)
    norms = (blocks.astype(np.float64) ** 2).sum(axis=2)
    assert zero.sum(axis=1).tolist() == [18] * 4
    for row, gone in zip(norms, zero, strict=True):
        assert row[gone].max() <= row[~gone].min()
    kept = left.weight != 0
    np.testing.assert_array_equal(left.weight[kept], conv.weight[kept])


def test_first_layers_and_depthwise_ones_have_no_tap_blocks() -> None:
    whole = network()
    assert "conv" not in sparse_layers(whole)
    with pytest.raises(ValueError, match="'conv' has no tap blocks to prune: it reads the input"):
        prune_blocks(whole, {"conv": 0.5}, 8, 8)
    assert prune_blocks(whole, {"conv": 0.0}, 8, 8).ops == whole.ops
    with pytest.raises(ValueError, match="has no layer 'stem'; its tap blocks are those of stacks"):
        prune_blocks(whole, {"stem": 0.5}, 8, 8)
    with pytest.raises(ValueError, match=r"sparsity 1\.5 is outside 0\.\.1"):
        prune_blocks(whole, {"stacks.0.conv1": 1.5}, 8, 8)
    with pytest.raises(ValueError, match="simplify the network first"):
        prune_blocks(from_module(*resnet8()), {"classifier": 0.5}, 8, 8)
