"""Tensors whose channels belong together."""

import numpy as np
import torch
from torch import nn

from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.ir import Window
from codesign.prune.groups import ChannelGroup, channel_groups
from codesign.zoo.demo import small_network
from codesign.zoo.resnet8 import resnet8


def groups(network: net.Network) -> dict[str, ChannelGroup]:
    return {group.name: group for group in channel_groups(network)}


def test_residual_sums_hold_what_they_add_together() -> None:
    found = groups(simplify(from_module(*resnet8())))
    assert {name: group.channels for name, group in found.items()} == {
        "x": 3,
        "conv": 16,
        "stacks.0.conv1": 16,
        "stacks.1.conv1": 32,
        "stacks.1.conv2": 32,
        "stacks.2.conv1": 64,
        "stacks.2.conv2": 64,
        "classifier": 10,
    }
    assert [name for name, group in found.items() if not group.prunable] == ["x", "classifier"]
    assert "convolution_5" in found["stacks.1.conv2"].tensors  # the shortcut


def test_groups_do_not_depend_on_simplification() -> None:
    network = from_module(*resnet8())
    before, after = groups(network), groups(simplify(network))
    for name, group in after.items():
        if name != "classifier":
            assert set(group.tensors) <= set(before[name].tensors)


def test_every_tensor_is_in_one_group() -> None:
    network = from_module(*small_network())
    tensors = [name for group in channel_groups(network) for name in group.tensors]
    assert sorted(tensors) == sorted([*network.inputs, *(op.y for op in network.ops)])


def test_a_depthwise_convolution_joins_what_it_reads() -> None:
    network = from_module(*small_network())
    depthwise = next(op for op in network.ops if isinstance(op, net.Conv2d) and op.groups > 1)
    group = next(one for one in channel_groups(network) if depthwise.x in one.tensors)
    assert depthwise.y in group.tensors


def test_a_flatten_spreads_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 5))
    network = from_module(model, torch.zeros(1, 1, 4, 4))
    flat = next(op.y for op in network.ops if isinstance(op, net.Flatten))
    assert groups(network)["0"].spread[flat] == 4
    assert groups(network)["0"].channels == 4


def test_grouped_convolutions_keep_their_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 3, 1))
    found = groups(from_module(model, torch.zeros(1, 1, 4, 4)))
    assert "2 groups" in found["0"].reason
    assert "2 groups" in found["1"].reason


def test_sums_of_other_orders_are_refused() -> None:
    """A map of 2 channels by 4 pixels, flattened, plus a vector of 8 channels."""
    window = Window((1, 1))
    shapes = {"x": (1, 2, 2), "a": (2, 2, 2), "f": (8, 1, 1), "p": (1, 1, 1), "v": (8, 1, 1),
              "s": (8, 1, 1), "y": (1, 1, 1)}  # fmt: skip

    def conv(name: str, x: str, y: str, weight: net.FloatArray) -> net.Conv2d:
        return net.Conv2d(name, x, y, weight, np.zeros(len(weight), np.float32), window)

    ops = (
        conv("first", "x", "a", np.ones((2, 1, 1, 1), np.float32)),
        net.Flatten("flat", "a", "f"),
        net.AvgPool2d("pool", "x", "p", Window((2, 2))),
        conv("vector", "p", "v", np.ones((8, 1, 1, 1), np.float32)),
        net.Add("sum", "f", "v", "s"),
        conv("last", "s", "y", np.ones((1, 8, 1, 1), np.float32)),
    )
    network = net.Network("sums", shapes, ops, ("x",), ("y",))
    net.verify(network)
    found = groups(network)
    assert "'sum' adds channels" in found["first"].reason
    assert "'sum' adds channels" in found["vector"].reason
