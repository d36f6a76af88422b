"""Which tensors of a network have their channels in common: what is pruned must be pruned in all.

The operands of a residual sum, what a depthwise convolution reads and writes, a map and its pool
are one set. G. Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, call such sets
groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codesign.frontend import network as net


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors that share their channels, named by the first operation that makes one of them (by
    the tensor, where that is a network's input).

    ``channels`` is their number. ``spread`` has, for each tensor, the consecutive channels that it
    has for each of them: more than 1 behind a flatten or a depth multiplier. ``reason`` says why
    the group cannot be pruned, and is empty where it can.
    """

    name: str
    channels: int
    spread: Mapping[str, int]
    reason: str = ""

    @property
    def tensors(self) -> tuple[str, ...]:
        """In the order in which they are made."""
        return tuple(self.spread)

    @property
    def prunable(self) -> bool:
        return not self.reason


def channel_groups(network: net.Network) -> tuple[ChannelGroup, ...]:
    """Every tensor's group, in the order of their first tensors.

    Inputs and outputs keep their channels, so do grouped convolutions that are not depthwise.
    """
    sets = _Sets()
    for name in network.inputs:
        sets.begin(name, name)
        sets.refuse(name, "it holds an input of the network")
    for op in network.ops:
        _place(sets, op, network)
    for name in network.outputs:
        sets.refuse(name, "it holds an output of the network")
    order = [*network.inputs, *(op.y for op in network.ops)]
    found = []
    for one in sets.all:
        spread = {name: one.spread[name] for name in order if name in one.spread}
        first, factor = next(iter(spread.items()))
        channels = network.shapes[first][0] // factor
        found.append(ChannelGroup(one.name, channels, spread, one.reason))
    return tuple(found)


@dataclass(eq=False)
class _Set:
    name: str
    spread: dict[str, int] = field(default_factory=dict)
    reason: str = ""


class _Sets:
    """``of`` has the set of every tensor met so far; ``all`` in order."""

    def __init__(self) -> None:
        self.all: list[_Set] = []
        self.of: dict[str, _Set] = {}

    def begin(self, tensor: str, name: str) -> None:
        """A tensor whose channels are its own, made by ``name``."""
        self.all.append(_Set(name, {tensor: 1}))
        self.of[tensor] = self.all[-1]

    def join(self, tensor: str, source: str, factor: int = 1) -> None:
        """A tensor with ``factor`` channels for each of ``source``'s."""
        found = self.of[source]
        found.spread[tensor] = found.spread[source] * factor
        self.of[tensor] = found

    def unite(self, a: str, b: str) -> bool:
        """Make one set of two tensors' sets; False where their channels do not pair."""
        first, second = self.of[a], self.of[b]
        if first.spread[a] != second.spread[b]:
            return False
        if first is second:
            return True
        if self.all.index(second) < self.all.index(first):
            first, second = second, first
        first.spread.update(second.spread)
        first.reason = first.reason or second.reason
        self.of.update(dict.fromkeys(second.spread, first))
        self.all.remove(second)
        return True

    def refuse(self, tensor: str, reason: str) -> None:
        self.of[tensor].reason = self.of[tensor].reason or reason


def _place(sets: _Sets, op: net.Op, network: net.Network) -> None:
    if isinstance(op, net.Linear):
        sets.begin(op.y, op.name)
    elif isinstance(op, net.Conv2d):
        _place_conv(sets, op, network)
    elif isinstance(op, net.Flatten):
        _, height, width = network.shapes[op.x]
        sets.join(op.y, op.x, height * width)
    elif isinstance(op, net.Add):
        paired = sets.unite(op.a, op.b)
        sets.join(op.y, op.a)
        if not paired:
            for name in (op.a, op.b):
                sets.refuse(name, f"{op.name!r} adds channels of it to others of another order")
    else:
        sets.join(op.y, op.x)


def _place_conv(sets: _Sets, op: net.Conv2d, network: net.Network) -> None:
    inputs, outputs = network.shapes[op.x][0], op.weight.shape[0]
    if op.groups > 1 and op.groups == inputs:
        sets.join(op.y, op.x, outputs // inputs)
        return
    sets.begin(op.y, op.name)
    if op.groups > 1:
        for name in (op.x, op.y):
            sets.refuse(name, f"{op.name!r} convolves it in {op.groups} groups")
