"""TFLite's reshapes, concatenations and slices: channels move through 1 by 1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign import ir
from codesign.arith import INT8_MAX, INT8_MIN, quantize_multiplier_pair
from codesign.frontend.tflite_file import Operator
from codesign.frontend.tflite_scope import Scope, Value
from codesign.quant.values import Coding

MOVING_NOTHING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")


def reshape(scope: Scope, op: Operator) -> None:
    """RESHAPE, SQUEEZE, EXPAND_DIMS move no value; neither does a TRANSPOSE of extents of 1."""
    x = scope.any_value(op)
    if not x.steps and scope.info(op, 0).type == "INT8":
        x = scope.value(op)
        if scope.input_coding(op) != scope.output_coding(op):
            raise scope.broken(
                op, "it changes scale or zero point, which moves no value; quantise it again"
            )
    info = scope.output(op)
    if int(np.prod(info.shape)) != int(np.prod(x.extents)):
        raise scope.broken(
            op, f"it makes {list(info.shape)} of {list(x.extents)}; convert the model again"
        )
    if op.kind == "TRANSPOSE":
        order = scope.integers(op, 1)
        if sorted(order) != list(range(len(x.extents))):
            raise scope.broken(op, f"{order} does not order {list(x.extents)}; convert again")
        moved = [axis for axis in order if x.extents[axis] > 1]
        if moved != sorted(moved):
            raise scope.unsupported(
                op, f"it moves values ({order} of {list(x.extents)}); keep maps in NHWC order"
            )
    scope.alias(op, x)


def concatenation(scope: Scope, op: Operator) -> None:
    """Each part is put in its channels by a convolution; their sum is the whole."""
    parts = [scope.value(op, position) for position in range(len(op.inputs))]
    rank = len(scope.output(op).shape)
    axis = op.options["Axis"]
    if axis % rank != rank - 1 or not -rank <= axis < rank:
        raise scope.unsupported(
            op, f"it is along axis {axis} of {rank}; along channels (the last) it is accepted"
        )
    shapes = [scope.map_shape(op, part) for part in parts]
    if len({shape[1:] for shape in shapes}) != 1:
        raise scope.broken(op, f"it joins maps of {shapes} (C, H, W); convert the model again")
    target = scope.output_coding(op)
    low, high = scope.bounds(op, target)
    channels = sum(shape[0] for shape in shapes)
    whole = (channels, *shapes[0][1:])
    y = scope.result(op, whole)
    first, total = 0, ""
    for number, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
        last = number == len(parts) - 1
        alone = len(parts) == 1
        placed = y if alone else scope.declare(f"{y}:part{number}", whole, target)
        rows = [(first + c, c) for c in range(shape[0])]
        bounds = (low, high) if alone else (INT8_MIN, INT8_MAX)
        select(scope, op, f"_part{number}", part, placed, rows, scope.input_coding(op, number),
               bounds)  # fmt: skip
        first += shape[0]
        if number == 0:
            total = placed
            continue
        summed = y if last else scope.declare(f"{y}:sum{number}", whole, target)
        bounds = (low, high) if last else (INT8_MIN, INT8_MAX)
        name = scope.name(op, f"_sum{number}")
        scope.emit(ir.Add(name, total, placed, summed, *quantize_multiplier_pair(1, 1), *bounds))
        total = summed


def split(scope: Scope, op: Operator) -> None:
    """SPLIT (axis, map) and SPLIT_V (map, sizes, axis) into ranges of channels."""
    versatile = op.kind == "SPLIT_V"
    position = 0 if versatile else 1
    x = scope.value(op, position)
    channels = scope.map_shape(op, x)[0]
    (axis,) = scope.integers(op, 2 if versatile else 0)
    rank = len(x.extents)
    if axis not in (-1, rank - 1):
        raise scope.unsupported(
            op, f"it is along axis {axis} of {rank}; along channels (the last) it is accepted"
        )
    count = len(op.outputs)
    sizes = scope.integers(op, 1) if versatile else [channels // count] * count
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = channels - sum(sizes) - 1
    if len(sizes) != count or sum(sizes) != channels or min(sizes) < 1:
        raise scope.broken(
            op, f"it splits {channels} channels into {sizes} for {count} outputs; convert again"
        )
    first = 0
    for number, size in enumerate(sizes):
        _take(scope, op, x, range(first, first + size), position, number)
        first += size


def strided_slice(scope: Scope, op: Operator) -> None:
    """STRIDED_SLICE of channels."""
    x = scope.value(op)
    rank = len(x.extents)
    begins, ends, strides = (scope.integers(op, position) for position in (1, 2, 3))
    if any(op.options[mask] for mask in ("EllipsisMask", "NewAxisMask", "ShrinkAxisMask")):
        raise scope.unsupported(op, "its ellipsis, new-axis or shrink mask is set; slice plainly")
    if op.options["Offset"]:
        raise scope.unsupported(op, "its ends are offsets; slice plainly, from begin to end")
    if {len(begins), len(ends), len(strides)} != {rank} or 0 in strides:
        raise scope.broken(op, f"it slices {begins}..{ends} of {list(x.extents)}; convert again")
    chosen = []
    for axis, extent in enumerate(x.extents):
        begin = None if op.options["BeginMask"] >> axis & 1 else begins[axis]
        end = None if op.options["EndMask"] >> axis & 1 else ends[axis]
        chosen.append(range(extent)[begin : end : strides[axis]])
    _slice(scope, op, x, chosen)


def plain_slice(scope: Scope, op: Operator) -> None:
    """SLICE (map, begins, sizes) of channels; a size of -1 reaches to the end."""
    x = scope.value(op)
    begins, sizes = scope.integers(op, 1), scope.integers(op, 2)
    if {len(begins), len(sizes)} != {len(x.extents)}:
        raise scope.broken(op, f"it slices {begins}, {sizes} of {list(x.extents)}; convert again")
    chosen = []
    for extent, begin, size in zip(x.extents, begins, sizes, strict=True):
        end = extent if size == -1 else begin + size
        if not 0 <= begin < end <= extent:
            raise scope.broken(op, f"it takes {begin}..{end} of {extent}; convert the model again")
        chosen.append(range(begin, end))
    _slice(scope, op, x, chosen)


def _slice(scope: Scope, op: Operator, x: Value, chosen: Sequence[range]) -> None:
    whole = [taken == range(extent) for taken, extent in zip(chosen, x.extents, strict=True)]
    if not all(whole[:-1]) or not chosen[-1]:
        taken = [list(at)[:1] + list(at)[-1:] for at in chosen]
        raise scope.unsupported(
            op, f"it takes {taken} of {list(x.extents)}; slices of channels (the last) are accepted"
        )
    scope.map_shape(op, x)
    _take(scope, op, x, chosen[-1], 0, 0)


def _take(
    scope: Scope, op: Operator, x: Value, channels: range, position: int, output: int
) -> None:
    _, height, width = scope.shape(x)
    y = scope.result(op, (len(channels), height, width), position=output)
    rows = list(enumerate(channels))
    part = f"_{output}" if len(op.outputs) > 1 else ""
    select(scope, op, part, x, y, rows, scope.input_coding(op, position), (INT8_MIN, INT8_MAX))


def select(
    scope: Scope,
    op: Operator,
    part: str,
    x: Value,
    y: str,
    rows: Sequence[tuple[int, int]],
    coding: Coding,
    bounds: tuple[int, int],
) -> None:
    """Output channel a is input channel b, for (a, b) in ``rows``; others are zero."""
    target = scope.tensors[y]
    weight = np.zeros((target.shape[0], scope.shape(x)[0], 1, 1), np.int8)
    for into, source in rows:
        weight[into, source] = 1
    full = np.full(target.shape[0], coding.scale / target.scale)
    multiplier, shift = scope.multipliers(full)
    scope.emit(
        ir.Conv2d(
            scope.name(op, part),
            x.tensor,
            y,
            weight,
            np.zeros(len(full), np.int32),
            multiplier,
            shift,
            ir.Window((1, 1)),
            1,
            *bounds,
        )
    )
