"""ONNX's Concat, Split and Slice: channels move through 1 by 1 convolutions of zeros and ones.

A part is put into its channels of the whole by a convolution; the sum of the parts is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.frontend import network as net
from codesign.frontend.onnx_file import Node
from codesign.frontend.onnx_scope import Scope, Value, Weights, given, map_shape
from codesign.ir import Window


def concat(scope: Scope, node: Node) -> None:
    """Along channels."""
    for position in range(len(node.inputs)):
        if not scope.is_computed(node, position):
            raise scope.unsupported(
                node, f"its operand {node.inputs[position]!r} is constant; join computed tensors"
            )
    parts = [scope.value(node, position) for position in range(len(node.inputs))]
    first = parts[0]
    _along_channels(scope, node, first, int(scope.attribute(node, "axis", 0)))
    if len({part.extents[1:] for part in parts}) != 1:
        raise scope.broken(
            node, f"it joins {[list(part.extents) for part in parts]} (without the batch), which "
            "differ in more than channels; export the model again"
        )  # fmt: skip
    if len(parts) == 1:
        scope.alias(node, first)
        return
    channels = sum(part.extents[0] for part in parts)
    extents = (channels, *first.extents[1:])
    y, before, total = node.outputs[0], 0, ""
    last = f"{node.name}:sum{len(parts) - 1}"
    for number, part in enumerate(parts):
        count = part.extents[0]
        placed = f"{y}:part{number}"
        rows = [(before + channel, channel) for channel in range(count)]
        _select(scope, node, part, placed, f"part{number}", rows, channels)
        scope.coded_as[placed] = last
        before += count
        if number == 0:
            total = placed
            continue
        summed = y if number == len(parts) - 1 else f"{y}:sum{number}"
        op = net.Add(f"{node.name}:sum{number}", total, placed, summed)
        scope.emit(node, op, extents)
        scope.coded_as[summed] = last
        total = summed
    del scope.coded_as[y]


def split(scope: Scope, node: Node) -> None:
    """Into ranges of channels, by sizes or into equal parts."""
    x = scope.value(node)
    _along_channels(scope, node, x, int(scope.attribute(node, "axis", 0)))
    channels, count = x.extents[0], len(node.outputs)
    if given(node, 1):
        sizes = [int(size) for size in scope.required(node, 1).reshape(-1)]
    elif "split" in node.attributes:  # before opset 13
        sizes = [int(size) for size in node.attributes["split"]]
    else:
        size = -(-channels // count)
        sizes = [size] * (count - 1) + [channels - size * (count - 1)]
    if len(sizes) != count or sum(sizes) != channels or min(sizes) < 1:
        raise scope.broken(
            node, f"it splits {channels} channels into {sizes} for {count} outputs; export the "
            "model again"
        )  # fmt: skip
    first = 0
    for number, size in enumerate(sizes):
        if node.outputs[number]:
            _take(scope, node, x, range(first, first + size), number)
        first += size


def take_slice(scope: Scope, node: Node) -> None:
    """Slice of channels; axes that it takes whole do not matter."""
    x = scope.value(node)
    starts, ends = (scope.required(node, position).reshape(-1) for position in (1, 2))
    axes = scope.required(node, 3).reshape(-1) if given(node, 3) else range(len(starts))
    steps = scope.required(node, 4).reshape(-1) if given(node, 4) else [1] * len(starts)
    rank = 1 + len(x.extents)
    whole = (scope.model.batch, *x.extents)
    chosen = [range(extent) for extent in whole]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not -rank <= axis < rank or not step:
            raise scope.broken(node, f"it slices axis {axis} by {step}; export the model again")
        place = int(axis) % rank
        chosen[place] = range(whole[place])[_clamped(start) : _clamped(end) : int(step)]
    moved = [axis for axis in range(rank) if axis != 1 and chosen[axis] != range(whole[axis])]
    if moved or not chosen[1]:
        taken = [[*at[:1], *at[-1:]] for at in map(list, chosen)]
        raise scope.unsupported(
            node, f"it takes {taken} (first and last) of {list(whole)}; slices of channels (axis "
            "1) are accepted: use a stride or padding instead"
        )  # fmt: skip
    if chosen[1] == range(whole[1]):
        scope.alias(node, x)
        return
    _take(scope, node, x, chosen[1], 0)


def _clamped(bound: int) -> int:
    """ONNX writes the end of an axis as the largest int64."""
    return int(np.clip(int(bound), -(1 << 31), 1 << 31))


def _along_channels(scope: Scope, node: Node, x: Value, axis: int) -> None:
    rank = 1 + len(x.extents)
    if axis % rank != 1 or not -rank <= axis < rank:
        raise scope.unsupported(
            node, f"it is along axis {axis} of {rank}; along channels (axis 1) it is accepted"
        )


def _take(scope: Scope, node: Node, x: Value, channels: range, output: int) -> None:
    y = node.outputs[output]
    part = f"take{output}" if len(node.outputs) > 1 else ""
    _select(scope, node, x, y, part, list(enumerate(channels)), len(channels))
    maker = next((op.name for op in scope.ops if op.y == x.tensor), x.tensor)
    scope.coded_as[y] = maker
    rounded = x.tensor in scope.codings and x.is_rounded
    scope.values[y] = Value(y, (len(channels), *x.extents[1:]), is_rounded=rounded)


def _select(
    scope: Scope,
    node: Node,
    x: Value,
    y: str,
    part: str,
    rows: Sequence[tuple[int, int]],
    channels: int,
) -> None:
    """Channel a of ``y`` is channel b of ``x``, for (a, b) in ``rows``; others are zero."""
    shape = map_shape(x.extents)
    if shape != scope.shapes[x.tensor]:
        raise scope.unsupported(
            node, f"its operand {list(x.extents)} is a map {scope.shapes[x.tensor]} seen "
            "otherwise; move channels before reshaping"
        )  # fmt: skip
    weight = np.zeros((channels, shape[0], 1, 1), np.float32)
    for into, source in rows:
        weight[into, source] = 1
    name = f"{node.name}:{part}" if part else node.name
    bias = np.zeros(channels, np.float32)
    if scope.model.quantized:
        scope.weights[name] = Weights(weight, np.ones(channels, np.float64))
    scope.emit(node, net.Conv2d(name, x.tensor, y, weight, bias, Window((1, 1))))
