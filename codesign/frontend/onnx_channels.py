"""ONNX's Concat, Split and Slice of channels (``codesign.frontend.channels``)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codesign.frontend import channels
from codesign.frontend import network as net
from codesign.frontend.onnx_file import Node
from codesign.frontend.onnx_scope import Scope, Value, Weights, given, map_shape
from codesign.ir import Shape


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
    shapes = [(part.tensor, _shape(scope, node, part)) for part in parts]
    joined = channels.join(node.name, node.outputs[0], shapes)
    extents = (sum(part.extents[0] for part in parts), *first.extents[1:])
    for op in joined.ops:
        _emit(scope, node, op, extents)
    scope.coded_as |= joined.coded_as


def split(scope: Scope, node: Node) -> None:
    """Into ranges of channels, by sizes or into equal parts."""
    x = scope.value(node)
    _along_channels(scope, node, x, int(scope.attribute(node, "axis", 0)))
    whole, count = x.extents[0], len(node.outputs)
    if given(node, 1):
        sizes = [int(size) for size in scope.required(node, 1).reshape(-1)]
    elif "split" in node.attributes:  # before opset 13
        sizes = [int(size) for size in node.attributes["split"]]
    else:
        size = -(-whole // count)
        sizes = [size] * (count - 1) + [whole - size * (count - 1)]
    if len(sizes) != count or sum(sizes) != whole or min(sizes) < 1:
        raise scope.broken(
            node, f"it splits {whole} channels into {sizes} for {count} outputs; export the "
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


def _take(scope: Scope, node: Node, x: Value, taken: range, output: int) -> None:
    y = node.outputs[output]
    name = f"{node.name}:take{output}" if len(node.outputs) > 1 else node.name
    rows = list(enumerate(taken))
    count = _shape(scope, node, x)[0]
    op = channels.select(name, x.tensor, y, rows, count, len(taken))
    _emit(scope, node, op, (len(taken), *x.extents[1:]))
    scope.coded_as[y] = next((op.name for op in scope.ops if op.y == x.tensor), x.tensor)
    rounded = x.tensor in scope.codings and x.is_rounded
    scope.values[y] = replace(scope.values[y], is_rounded=rounded)


def _emit(scope: Scope, node: Node, op: net.Op, extents: tuple[int, ...]) -> None:
    if isinstance(op, net.Conv2d) and scope.model.quantized:
        scope.weights[op.name] = Weights(op.weight, np.ones(len(op.weight), np.float64))
    scope.emit(node, op, extents)


def _shape(scope: Scope, node: Node, x: Value) -> Shape:
    """(C, H, W) of an operand whose channels are those of its tensor."""
    shape = map_shape(x.extents)
    if shape != scope.shapes[x.tensor]:
        raise scope.unsupported(
            node, f"its operand {list(x.extents)} is a map {scope.shapes[x.tensor]} seen "
            "otherwise; move channels before reshaping"
        )  # fmt: skip
    return shape
