"""TFLite's convolutions, linear layers, pools, means and paddings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arith import INT8_MAX, INT8_MIN, WEIGHT_MIN
from codesign.frontend.tflite_file import Operator
from codesign.frontend.tflite_scope import UNPADDED, IntArray, Scope, Value, map_shape
from codesign.ir import Padding, Pair, Shape
from codesign.quant.values import Coding

Int8Array = npt.NDArray[np.int8]
BIAS_TOLERANCE = 0.02
"""How far, in output steps, a bias' scale may be off the product that it stands for (as LiteRT)."""
_EVERY = slice(None)


# --- weights -----------------------------------------------------------------------------------
def weights(scope: Scope, op: Operator, axis: int) -> tuple[Int8Array, npt.NDArray[np.float64]]:
    """The weights as TFLite lays them out, -128 clamped, and the scale of each output channel."""
    info = scope.info(op, 1)
    values = scope.constant(op, 1)
    if info.type != "INT8":
        raise scope.unsupported(
            op, f"its weights {info.name!r} are {info.type}; quantise them to INT8"
        )
    coding = info.quantization
    if coding is None:
        raise scope.broken(op, f"its weights {info.name!r} have no scale; quantise them again")
    if coding.zero_point.any():
        raise scope.unsupported(
            op,
            f"its weights {info.name!r} are asymmetric (zero point "
            f"{int(coding.zero_point[coding.zero_point != 0][0])}); quantise them symmetrically, "
            "as the int8 specification of TFLite demands",
        )
    if coding.scale.size > 1 and coding.axis != axis:
        raise scope.unsupported(
            op,
            f"its weights {info.name!r} have scales along axis {coding.axis}; one for each "
            f"output channel, along axis {axis}, is accepted",
        )
    if values.ndim <= axis:
        raise scope.broken(op, f"its weights have shape {list(values.shape)}; convert again")
    low = int((values < WEIGHT_MIN).sum())
    if low:
        scope.clamped[scope.model.where(op)] = low
    clamped = np.maximum(values, WEIGHT_MIN).astype(np.int8)
    return clamped, np.broadcast_to(coding.scale, (values.shape[axis],))


def bias(
    scope: Scope, op: Operator, scales: npt.NDArray[np.float64], y: Coding, operand: int = 2
) -> IntArray:
    """The bias of each output channel, whose unit must be ``scales`` (input times weight)."""
    if not scope.given(op, operand):
        return np.zeros(len(scales), np.int32)
    info, values = scope.info(op, operand), scope.constant(op, operand)
    if info.type != "INT32" or values.shape != scales.shape:
        raise scope.unsupported(
            op,
            f"its bias {info.name!r} is {info.type} of shape {list(values.shape)}; INT32 of shape "
            f"{[len(scales)]} is accepted",
        )
    coding = info.quantization
    if coding is not None:
        off = np.abs(coding.scale - scales) / y.scale
        if coding.zero_point.any() or (off > BIAS_TOLERANCE).any():
            raise scope.unsupported(
                op,
                f"its bias {info.name!r} is not at the product of the input's and the weights' "
                "scales with zero point 0; quantise it again",
            )
    return values.astype(np.int32)


def convolution(
    scope: Scope,
    op: Operator,
    x: Value,
    weight: Int8Array,
    scales: npt.NDArray[np.float64],
    window: ir.Window,
    groups: int,
    extents: tuple[int, ...] | None = None,
    operand: int = 0,
    bias_operand: int = 2,
    *,
    twice: bool,
) -> None:
    """A convolution of ``operand``, whose value is ``x``, with a bias where there is one."""
    source, target = scope.input_coding(op, operand), scope.output_coding(op)
    products = source.scale * scales
    height, width = window.output_size(*scope.shape(x)[1:])
    biases = bias(scope, op, products, target, bias_operand)
    multiplier, shift = scope.multipliers(products / target.scale)
    low, high = scope.bounds(op, target)
    y = scope.result(op, (len(weight), height, width), extents)
    scope.emit(
        ir.Conv2d(
            scope.name(op),
            x.tensor,
            y,
            weight,
            biases,
            multiplier,
            shift,
            window,
            groups,
            low,
            high,
            twice,
        )
    )


def conv_2d(scope: Scope, op: Operator) -> None:
    """Weights [O, kh, kw, I/groups]."""
    x = scope.padded_value(op)
    values, scales = weights(scope, op, 0)
    channels = scope.map_shape(op, x)[0]
    if (
        values.ndim != 4
        or channels % values.shape[3]
        or values.shape[0] % (groups := channels // values.shape[3])
    ):
        raise scope.broken(
            op, f"weights {list(values.shape)} do not fit {channels} channels; convert again"
        )
    weight = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    window = _window(scope, op, x, weight.shape[2:], _dilation(op))
    convolution(scope, op, x, weight, scales, window, groups, twice=True)


def depthwise_conv_2d(scope: Scope, op: Operator) -> None:
    """Weights [1, kh, kw, I * multiplier]: a convolution of I groups."""
    x = scope.padded_value(op)
    values, scales = weights(scope, op, 3)
    channels = scope.map_shape(op, x)[0]
    if values.ndim != 4 or values.shape[0] != 1 or values.shape[3] % channels:
        raise scope.broken(
            op, f"weights {list(values.shape)} do not fit {channels} channels; convert again"
        )
    weight = np.ascontiguousarray(values.transpose(3, 0, 1, 2))
    window = _window(scope, op, x, weight.shape[2:], _dilation(op))
    convolution(scope, op, x, weight, scales, window, channels, twice=True)


def fully_connected(scope: Scope, op: Operator) -> None:
    """Weights [O, I]: a convolution of the whole map, or of every pixel where I is its channels."""
    x = scope.value(op)
    values, scales = weights(scope, op, 0)
    if op.options["WeightsFormat"] != 0:
        raise scope.unsupported(op, "its weights are shuffled; convert with the default format")
    channels, height, width = scope.shape(x)
    outputs = len(values)
    info = scope.output(op)
    if values.shape == (outputs, height * width * channels):
        weight = values.reshape(outputs, height, width, channels).transpose(0, 3, 1, 2)
        kernel = (height, width)
    elif values.shape == (outputs, channels) and x.extents[-1] == channels:
        weight, kernel = values[:, :, None, None], (1, 1)
    else:
        raise scope.broken(
            op,
            f"weights {list(values.shape)} do not fit an input of {list(x.extents)}; linear "
            "layers of whole maps and of their channels are accepted",
        )
    extents = None
    if map_shape(info.shape) is None and info.shape[-1:] == (outputs,):
        extents = info.shape
    weight, window = np.ascontiguousarray(weight), ir.Window(kernel)
    convolution(scope, op, x, weight, scales, window, 1, extents, twice=False)


# --- windows -----------------------------------------------------------------------------------
def _dilation(op: Operator) -> Pair:
    return op.options["DilationHFactor"], op.options["DilationWFactor"]


def _window(
    scope: Scope, op: Operator, x: Value, kernel: tuple[int, ...], dilation: Pair = (1, 1)
) -> ir.Window:
    """The operator's window on the bare map: its own padding and that which waits around ``x``."""
    _, height, width = scope.shape(x)
    top, bottom, left, right = x.padding
    stride = op.options["StrideH"], op.options["StrideW"]
    if min(*kernel, *stride, *dilation) < 1:
        raise scope.broken(
            op, f"kernel {kernel}, stride {stride}, dilation {dilation}; convert the model again"
        )
    same = op.options["Padding"] == "SAME"
    extents = (height + top + bottom, width + left + right)
    rows, columns = (
        _same_padding(extent, k, s, d) if same else (0, 0)
        for extent, k, s, d in zip(extents, kernel, stride, dilation, strict=True)
    )
    padding = top + rows[0], bottom + rows[1], left + columns[0], right + columns[1]
    window = ir.Window((kernel[0], kernel[1]), stride, padding, dilation)
    if min(window.output_size(height, width)) < 1:
        raise scope.broken(op, f"kernel {kernel} is larger than its map; convert the model again")
    return window


def _same_padding(extent: int, kernel: int, stride: int, dilation: int) -> Pair:
    """Padding before and behind for ceil(extent / stride) outputs, the odd one behind."""
    outputs = -(-extent // stride)
    total = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - extent, 0)
    return total // 2, total - total // 2


def _pool_window(scope: Scope, op: Operator, x: Value) -> ir.Window:
    kernel = op.options["FilterHeight"], op.options["FilterWidth"]
    return _window(scope, op, x, kernel)


def _whole_axes(window: ir.Window, shape: Shape) -> ir.Window:
    """Where a window has one position along an axis, it needs only what lies in the map."""
    outputs = window.output_size(*shape[1:])
    kernel, padding = list(window.kernel), list(window.padding)
    for axis in (0, 1):
        before, behind = padding[2 * axis : 2 * axis + 2]
        extent = shape[1 + axis]
        if outputs[axis] == 1 and before + behind:
            kernel[axis] = min(kernel[axis] - before, extent)
            padding[2 * axis : 2 * axis + 2] = 0, 0
    top, bottom, left, right = padding
    changed = replace(window, kernel=(kernel[0], kernel[1]), padding=(top, bottom, left, right))
    return changed if changed.output_size(*shape[1:]) == outputs else window


def max_pool_2d(scope: Scope, op: Operator) -> None:
    """A fused activation becomes a table behind the pool."""
    x = scope.padded_value(op)
    if x.padding != UNPADDED and scope.input_coding(op).zero_point != INT8_MIN:
        x = scope.value(op)  # the padding is above the least value, and may be the maximum
    channels, height, width = scope.map_shape(op, x)
    window = _pool_window(scope, op, x)
    target = same_coding(scope, op)
    low, high = scope.bounds(op, target)
    y = scope.result(op, (channels, *window.output_size(height, width)))
    bounded = (low, high) != (INT8_MIN, INT8_MAX)
    pooled = scope.declare(f"{y}:pooled", scope.tensors[y].shape, target) if bounded else y
    scope.emit(ir.MaxPool2d(scope.name(op), x.tensor, pooled, window))
    if bounded:
        table = np.clip(np.arange(INT8_MIN, INT8_MAX + 1), low, high).astype(np.int8)
        scope.emit(ir.Table(scope.name(op, "_clamp"), pooled, y, table))


def average_pool_2d(scope: Scope, op: Operator) -> None:
    """SAME's padding is left out of the mean."""
    x = scope.padded_value(op)
    shape = scope.map_shape(op, x)
    window = _pool_window(scope, op, x)
    if op.options["Padding"] == "SAME":
        if x.padding != UNPADDED:
            x = scope.value(op)
            shape, window = scope.shape(x), _pool_window(scope, op, x)
        window = _whole_axes(window, shape)
        if window.padding != UNPADDED:
            _partial_means(scope, op, x, shape, window)
            return
    target = same_coding(scope, op)
    even = (window.kernel[0] * window.kernel[1]) % 2 == 0
    _mean(scope, op, x, shape, window, target, -1 if even and target.zero_point < 0 else 0)


def _partial_means(scope: Scope, op: Operator, x: Value, shape: Shape, window: ir.Window) -> None:
    """The mean of what lies in the map; halves are rounded as ``_mean`` tells."""
    target = same_coding(scope, op)
    low, high = scope.bounds(op, target)
    y = scope.result(op, (shape[0], *window.output_size(*shape[1:])))
    full = window.kernel[0] * window.kernel[1]
    parts = {}
    for count in {full, *np.unique(ir.counts(window, UNPADDED, shape)).tolist()}:
        (multiplier,), (shift,) = (values.tolist() for values in scope.multipliers(1 / count))
        if count % 2 == 0 and target.zero_point < 0 and multiplier * count >= 1 << shift:
            multiplier -= 1  # what lies halfway goes down
        parts[count] = multiplier, shift
    multiplier, shift = parts.pop(full)
    scope.emit(
        ir.AvgPool2d(
            scope.name(op), x.tensor, y, window, multiplier, shift, low, high, UNPADDED,
            tuple((count, *part) for count, part in sorted(parts.items())),
        )
    )  # fmt: skip


def mean(scope: Scope, op: Operator) -> None:
    """Over height and width."""
    x = scope.value(op)
    shape = scope.map_shape(op, x)
    rank = len(x.extents)
    given = scope.integers(op, 1)
    if not all(-rank <= axis < rank for axis in given):
        raise scope.broken(op, f"it is over axes {given} of {list(x.extents)}; convert again")
    axes = {axis % rank for axis in given}
    if axes != set(range(1, rank - 1)) or not axes:
        raise scope.unsupported(
            op,
            f"it is over axes {sorted(axes)} of {list(x.extents)}; the mean over height and width "
            "is accepted",
        )
    window = ir.Window((shape[1], shape[2]))
    source, target = scope.input_coding(op), scope.output_coding(op)
    even = (shape[1] * shape[2]) % 2 == 0
    # LiteRT rounds the rescaled sum before it divides: half a step of that, upwards
    half = round(0.5 * target.scale / source.scale) if source.zero_point == INT8_MIN and even else 0
    _mean(scope, op, x, shape, window, target, half)


def _mean(
    scope: Scope,
    op: Operator,
    x: Value,
    shape: Shape,
    window: ir.Window,
    target: Coding,
    bias: int,
) -> None:
    """The mean over a window. ``bias``, in steps of the sum, moves what lies halfway between two
    codes where LiteRT's rounding does: away from zero, zero being code 0 for AVERAGE_POOL_2D, so
    that negative codes (most, below a negative zero point) go down.
    """
    ratio = scope.input_coding(op).scale / (target.scale * window.kernel[0] * window.kernel[1])
    low, high = scope.bounds(op, target) if op.options else (INT8_MIN, INT8_MAX)
    channels = shape[0]
    y = scope.result(op, (channels, *window.output_size(*shape[1:])))
    name = scope.name(op)
    if bias:
        scope.pointwise(
            op, name, x.tensor, y, ratio, window=window, low=low, high=high,
            weight=np.ones((channels, 1, *window.kernel), np.int8),
            bias=np.full(channels, bias, np.int32),
        )  # fmt: skip
        return
    (multiplier,), (shift,) = scope.multipliers(ratio)
    scope.emit(ir.AvgPool2d(name, x.tensor, y, window, int(multiplier), int(shift), low, high))


def same_coding(scope: Scope, op: Operator) -> Coding:
    """The output's coding, which must be the input's."""
    source, target = scope.input_coding(op), scope.output_coding(op)
    if source != target:
        raise scope.unsupported(
            op,
            f"its input is coded as {source.scale} * (q - {source.zero_point}), its output as "
            f"{target.scale} * (q - {target.zero_point}); equal ones are accepted, as TFLite's "
            "converter makes them",
        )
    return target


# --- padding -----------------------------------------------------------------------------------
def pad(scope: Scope, op: Operator) -> None:
    """Zero points around the map wait for the window that reads them (``Value.padding``)."""
    x = scope.padded_value(op)
    amounts = np.array(scope.integers(op, 1))
    target = same_coding(scope, op)
    rank = len(x.extents)
    if amounts.size != 2 * rank or (amounts < 0).any():
        raise scope.broken(op, f"it pads {amounts.tolist()}; two numbers for each axis are needed")
    if op.kind == "PADV2" and _constant_code(scope, op) != target.zero_point:
        raise scope.unsupported(
            op,
            f"it pads with {_constant_code(scope, op)}; padding with zero (code "
            f"{target.zero_point}) is accepted",
        )
    pairs: list[list[Any]] = amounts.reshape(rank, 2).tolist()
    around = [[0, 0], *pairs[1:-1]][-2:] if rank > 2 else [[0, 0], [0, 0]]
    if any(pairs[0]) or any(pairs[-1]):
        raise scope.unsupported(
            op, f"it pads {pairs} of {list(x.extents)}; height and width can be padded"
        )
    scope.map_shape(op, x)
    (top, bottom), (left, right) = around
    added: Padding = (top, bottom, left, right)
    a, b, c, d = (one + other for one, other in zip(x.padding, added, strict=True))
    extents = tuple(n + sum(pair) for n, pair in zip(x.extents, pairs, strict=True))
    info = scope.output(op)
    if info.shape != extents:
        raise scope.broken(
            op, f"it computes {list(extents)}, but declares {list(info.shape)}; convert again"
        )
    scope.values[info.index] = Value(x.tensor, extents, (a, b, c, d))


def _constant_code(scope: Scope, op: Operator) -> int:
    (value,) = scope.integers(op, 2)
    return value
