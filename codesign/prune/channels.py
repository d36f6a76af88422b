"""Channel pruning: whole output channels leave, with everything that reads them.

The channels of least L1 norm go (H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR
2017), each kernel's norms relative to its mean, so that the kernels of a group weigh alike. Frozen
batch normalisations count as the factors that they are (Z. Liu et al., "Learning Efficient
Convolutional Networks through Network Slimming", ICCV 2017).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from codesign.frontend import network as net
from codesign.prune.groups import ChannelGroup, channel_groups

Indices = npt.NDArray[np.int64]


def kept_channels(channels: int, ratio: float, multiple: int = 1) -> int:
    """Channels left of ``channels`` when a share of ``ratio`` goes: the multiple nearest to what
    remains (the larger of two equally near), one multiple at least, all of them at most.

    Raises
    ------
    ValueError
        ``ratio`` outside [0, 1), or ``multiple`` below 1.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"pruning ratio {ratio} is outside 0..1 (1 excluded): it is a share")
    if multiple < 1:
        raise ValueError(f"multiple {multiple} is below 1")
    left = math.floor(channels * (1 - ratio) / multiple + 0.5) * multiple
    return min(max(left, multiple), channels) if ratio else channels


def channels_after(
    network: net.Network, ratios: Mapping[str, float], multiple: int = 1
) -> dict[str, int]:
    """Channels of every tensor after ``prune_channels`` with the same arguments."""
    left = _kept(network, ratios, multiple)
    return {
        tensor: left[group.name] * spread
        for group in channel_groups(network)
        for tensor, spread in group.spread.items()
    }


def prune_channels(
    network: net.Network, ratios: Mapping[str, float], *, multiple: int = 1
) -> net.Network:
    """The network without a share of the channels of the named groups.

    Parameters
    ----------
    ratios:
        ``ChannelGroup.name`` -> share of its channels to remove, in [0, 1).
    multiple:
        What remains of a group is a multiple of it (``kept_channels``): that of the array's N
        wastes none of its columns.

    Raises
    ------
    ValueError
        A name that is no group of the network, or one that cannot be pruned; a ratio outside
        [0, 1).
    """
    left = _kept(network, ratios, multiple)
    chosen: dict[str, Indices] = {}
    for group in channel_groups(network):
        if left[group.name] < group.channels:
            kept = strongest(importance(network, group), left[group.name])
            chosen |= {name: _spread(kept, spread) for name, spread in group.spread.items()}
    return keep_channels(network, chosen)


def importance(network: net.Network, group: ChannelGroup) -> npt.NDArray[np.float64]:
    """[C] relative L1 norms of the kernels that make a group's channels, summed over kernels."""
    total = np.zeros(group.channels)
    for op in network.ops:
        if isinstance(op, net.Conv2d | net.Linear) and op.y in group.spread:
            norms = np.abs(op.weight).reshape(len(op.weight), -1).sum(axis=1, dtype=np.float64)
            norms *= _gain(network, op.y)
            norms = norms.reshape(group.channels, -1).sum(axis=1)
            total += norms / max(float(norms.mean()), np.finfo(np.float64).tiny)
    return total


def strongest(values: npt.NDArray[np.float64], count: int) -> Indices:
    """Ascending indices of the ``count`` largest values; of equal ones the first."""
    return np.sort(np.argsort(-values, kind="stable")[:count]).astype(np.int64)


def keep_channels(network: net.Network, kept: Mapping[str, Indices]) -> net.Network:
    """The network with only the ``kept`` channels of those tensors, others whole.

    ``kept`` must hold every tensor of a group alike, as ``prune_channels`` makes it.
    """
    if not kept:
        return network
    shapes = {
        name: (len(kept[name]), *shape[1:]) if name in kept else shape
        for name, shape in network.shapes.items()
    }
    ops = tuple(_sliced(op, kept) for op in network.ops)
    pruned = dataclasses.replace(network, ops=ops, shapes=shapes)
    net.verify(pruned)
    return pruned


def kept_by(network: net.Network, reference: net.Network) -> dict[str, Indices]:
    """Which of the channels of ``reference`` each tensor of ``network`` has, its pruning.

    Raises
    ------
    ValueError
        ``network`` is not what ``prune_channels`` makes of ``reference``.
    """
    if [op.name for op in network.ops] != [op.name for op in reference.ops]:
        raise ValueError(
            f"network {network.name!r} has other operations than {reference.name!r}; "
            "give the one that it was pruned from"
        )
    found: dict[str, Indices] = {}
    for group in channel_groups(reference):
        first = group.tensors[0]
        left = network.shapes[first][0] // group.spread[first]
        kept = strongest(importance(reference, group), left)
        found |= {name: _spread(kept, spread) for name, spread in group.spread.items()}
    fewer = {name: at for name, at in found.items() if len(at) < reference.shapes[name][0]}
    for op, old in zip(network.ops, keep_channels(reference, fewer).ops, strict=True):
        if isinstance(op, net.Conv2d | net.Linear) and isinstance(old, net.Conv2d | net.Linear):
            same = op.weight.shape == old.weight.shape and np.array_equal(op.bias, old.bias)
            # blocks may have become zero since
            if not same or not np.array_equal(op.weight, np.where(op.weight, old.weight, 0)):
                raise ValueError(
                    f"{op.name!r} has not the weights and biases of the channels of "
                    f"{reference.name!r} that pruning keeps; give the network that it was pruned "
                    "from, blocks after channels, not fine-tuned yet"
                )
    return found


def _kept(network: net.Network, ratios: Mapping[str, float], multiple: int) -> dict[str, int]:
    """Group -> its channels after pruning."""
    groups = {group.name: group for group in channel_groups(network)}
    for name in ratios:
        if name not in groups:
            can = ", ".join(one.name for one in groups.values() if one.prunable)
            raise ValueError(
                f"network {network.name!r} has no channel group {name!r}; it has {can or 'none'}"
            )
        if groups[name].reason and ratios[name]:
            raise ValueError(
                f"channel group {name!r} cannot be pruned: {groups[name].reason}; leave it out"
            )
    return {
        name: kept_channels(group.channels, ratios.get(name, 0.0), multiple)
        for name, group in groups.items()
    }


def _gain(network: net.Network, tensor: str) -> npt.NDArray[np.float64] | float:
    """By how much the batch normalisation that alone reads a tensor scales its channels."""
    reader = next((op for op in network.ops if tensor in net.op_inputs(op)), None)
    if isinstance(reader, net.BatchNorm) and network.uses(tensor) == 1:
        return np.abs(reader.factor).astype(np.float64)
    return 1.0


def _spread(kept: Indices, factor: int) -> Indices:
    """Each index as ``factor`` consecutive ones."""
    return (kept[:, None] * factor + np.arange(factor)).ravel()


def _sliced(op: net.Op, kept: Mapping[str, Indices]) -> net.Op:
    if not isinstance(op, net.Conv2d | net.Linear | net.BatchNorm):
        return op
    rows = kept.get(op.y)
    if isinstance(op, net.BatchNorm):
        if rows is None:
            return op
        return dataclasses.replace(op, factor=op.factor[rows], offset=op.offset[rows])
    weight, bias = op.weight, op.bias
    if rows is not None:
        weight, bias = weight[rows], bias[rows]
    columns = kept.get(op.x)
    if isinstance(op, net.Conv2d) and op.groups > 1:
        groups = op.groups if columns is None else len(columns)
        return dataclasses.replace(op, weight=weight, bias=bias, groups=groups)
    if columns is not None:
        weight = weight[:, columns]
    return dataclasses.replace(op, weight=np.ascontiguousarray(weight), bias=bias)
