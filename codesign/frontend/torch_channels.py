"""torch's cat, split, chunk and slices of channels (``codesign.frontend.channels``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from codesign.frontend import channels
from codesign.frontend import network as net
from codesign.frontend.torch_place import place
from codesign.frontend.torch_scope import Scope

aten = torch.ops.aten


def cat(scope: Scope, node: Node) -> None:
    """Of maps of one height and width."""
    sources = scope.argument(node, 0, "tensors", ())
    tensors = [scope.computed(node, source, "tensors") for source in sources]
    _along_channels(scope, node, scope.argument(node, 1, "dim", 0))
    shapes = [(tensor, scope.shapes[tensor]) for tensor in tensors]
    if len(shapes) == 1:
        _emit(scope, node, net.Identity(scope.name(node), shapes[0][0], node.name))
        scope.names[node] = node.name
        return
    joined = channels.join(scope.name(node), node.name, shapes)
    for op in joined.ops:
        _emit(scope, node, op)
    scope.coded_as |= joined.coded_as
    scope.names[node] = node.name


def split(scope: Scope, node: Node) -> None:
    """split, by sizes or a size, and chunk."""
    x = scope.tensor(node, 0, "input")
    _along_channels(scope, node, scope.argument(node, 2, "dim", 0))
    first = 0
    for number, value in enumerate(node.meta["val"]):
        size = int(value.shape[1])
        name = f"{node.name}:{number}"
        _take(scope, node, x, name, f":take{number}", range(first, first + size))
        scope.parts[node, number] = name
        first += size


def take_slice(scope: Scope, node: Node) -> None:
    """A slice of channels; one of another axis must take all of it."""
    x = scope.tensor(node, 0, "input")
    axis = scope.argument(node, 1, "dim", 0) % node.meta["val"].dim()
    start = scope.argument(node, 2, "start", None)
    end = scope.argument(node, 3, "end", None)
    step = scope.argument(node, 4, "step", 1)
    if axis == 0:
        whole = (start or 0) == 0 and step == 1 and (end is None or end >= sys.maxsize)
    else:
        taken = range(scope.shapes[x][axis - 1])[start:end:step]
        whole = taken == range(scope.shapes[x][axis - 1])
    if whole:
        _emit(scope, node, net.Identity(scope.name(node), x, node.name))
    else:
        _along_channels(scope, node, axis)
        _take(scope, node, x, node.name, "", taken)
    scope.names[node] = node.name


CHANNELS: dict[Any, Callable[[Scope, Node], None]] = {
    aten.cat.default: cat,
    aten.split.Tensor: split,
    aten.split_with_sizes.default: split,
    aten.slice.Tensor: take_slice,
}
"""Operators that become several operations."""


def _along_channels(scope: Scope, node: Node, axis: int) -> None:
    value = node.meta["val"]
    rank = (value[0] if isinstance(value, Sequence) else value).dim()
    if axis % rank != 1:
        raise scope.unsupported(
            node, f"it is along axis {axis} of {rank}; along channels (axis 1) it is accepted"
        )


def _take(scope: Scope, node: Node, x: str, y: str, part: str, taken: range) -> None:
    name, rows, maker = f"{scope.name(node)}{part}", list(enumerate(taken)), scope.ops.get(x)
    _emit(scope, node, channels.select(name, x, y, rows, scope.shapes[x][0], len(taken)))
    scope.coded_as[y] = maker.name if maker else x


def _emit(scope: Scope, node: Node, op: net.Op) -> None:
    scope.ops[op.y] = op
    scope.shapes[op.y] = net.output_shape(op, scope.shapes)
    scope.origin[op.name] = place(node)
