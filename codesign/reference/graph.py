"""The definition of what each operation of ``codesign.ir`` computes, in exact integers.

Sums of products are formed as float64 matrix products, kernel position by kernel position: every
partial sum is an integer far below 2**53, so that nothing is rounded, and BLAS does the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign import arith, ir
from codesign.arith import INT8_MAX, INT8_MIN

Int8Array = npt.NDArray[np.int8]
FloatArray = npt.NDArray[np.float64]

_EXACT = 1 << 53
"""Below it float64 holds every integer."""
_BIAS_BITS = 32


def run(graph: ir.Graph, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
    """Compute every tensor of ``graph``.

    Parameters
    ----------
    inputs:
        One int8 array [batch, C, H, W] for each name in ``graph.inputs``.

    Returns
    -------
    The int8 array [batch, C, H, W] of every tensor, inputs included.

    Raises
    ------
    GraphError
        The graph breaks a rule of ``codesign.ir``.
    TypeError, ValueError
        An input is missing, unknown, not int8 or not of its tensor's shape.
    """
    ir.verify(graph)
    values = _checked_inputs(graph, inputs)
    for op in graph.ops:
        values[op.y] = _compute(graph, op, values)
    return values


def _checked_inputs(graph: ir.Graph, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
    if set(inputs) != set(graph.inputs):
        raise ValueError(
            f"graph {graph.name!r} needs inputs {sorted(graph.inputs)}, not {sorted(inputs)}"
        )
    for name, value in inputs.items():
        shape = (graph.batch, *graph.tensors[name].shape)
        if value.dtype != np.int8:
            raise TypeError(f"input {name!r} has type {value.dtype}; quantise it to int8")
        if value.shape != shape:
            raise ValueError(f"input {name!r} has shape {value.shape}; the graph needs {shape}")
    return dict(inputs)


def _compute(graph: ir.Graph, op: ir.Op, values: Mapping[str, Int8Array]) -> Int8Array:
    zero_y = graph.tensors[op.y].zero_point
    if isinstance(op, ir.Add):
        zero_a, zero_b = graph.tensors[op.a].zero_point, graph.tensors[op.b].zero_point
        total = arith.add_requantized(
            values[op.a],
            zero_a,
            op.a_multiplier,
            values[op.b],
            zero_b,
            op.b_multiplier,
            op.shift,
            zero_y,
        )
        return arith.saturate(total, op.low, op.high).astype(np.int8)
    x, zero_x = values[op.x], graph.tensors[op.x].zero_point
    if isinstance(op, ir.Conv2d):
        acc = arith.wrap(
            _convolve(op, x, zero_x) + op.bias.astype(np.int64)[:, None, None], _BIAS_BITS
        )
        q = arith.requantize(
            acc,
            op.multiplier[:, None, None],
            op.shift[:, None, None],
            zero_y,
            op.twice_channels[:, None, None],
        )
        return arith.saturate(q, op.low, op.high).astype(np.int8)
    if isinstance(op, ir.MaxPool2d):
        return reduce(np.maximum, _slices(_pad(x, op.window, INT8_MIN), op.window))
    if isinstance(op, ir.AvgPool2d):
        centred = _pad(x, op.window, zero_x).astype(np.int64) - zero_x
        acc = reduce(np.add, _slices(centred, op.window))
        count = ir.counts(op.window, op.counted, graph.tensors[op.x].shape)
        parts = [op.part(int(n)) for n in count.ravel()]
        multiplier, shift = np.array(parts, np.int64).T.reshape(2, *count.shape)
        q = arith.requantize(acc, multiplier, shift, zero_y)
        return arith.saturate(q, op.low, op.high).astype(np.int8)
    if isinstance(op, ir.Table):
        return op.table[x.astype(np.int64) - INT8_MIN]
    if isinstance(op, ir.Upsample):
        return x.repeat(op.factor[0], axis=2).repeat(op.factor[1], axis=3)
    return x.reshape(len(x), -1, 1, 1)


def _convolve(op: ir.Conv2d, x: Int8Array, zero: int) -> arith.IntArray:
    """sum w * (x - zero) as int64 [B, O, H, W]."""
    window, groups = op.window, op.groups
    channels, per_group, kernel_y, kernel_x = op.weight.shape
    largest = per_group * kernel_y * kernel_x * (INT8_MAX - INT8_MIN) * -INT8_MIN
    if largest >= _EXACT:
        raise ValueError(
            f"{op.name!r}: sums of up to {largest} exceed float64's exact range; split the layer"
        )
    centred = _pad(x, window, zero).astype(np.float64) - zero
    weight = op.weight.astype(np.float64).reshape(groups, channels // groups, per_group, -1)
    height, width = window.output_size(*x.shape[2:])
    acc: FloatArray = np.zeros((len(x), groups, channels // groups, height * width))
    for position, part in enumerate(_slices(centred, window)):
        part = np.ascontiguousarray(part).reshape(len(x), groups, per_group, -1)
        w = weight[..., position]
        acc += w * part if per_group == 1 else np.matmul(w, part)
    return acc.reshape(len(x), channels, height, width).astype(np.int64)


def _pad(x: Int8Array, window: ir.Window, value: int) -> Int8Array:
    top, bottom, left, right = window.padding
    if window.base_dilation != (1, 1):
        apart_y, apart_x = window.base_dilation
        batch, channels, height, width = x.shape
        size = (batch, channels, apart_y * (height - 1) + 1, apart_x * (width - 1) + 1)
        spread = np.full(size, value, x.dtype)
        spread[:, :, ::apart_y, ::apart_x] = x
        x = spread
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def _slices(padded: npt.NDArray[Any], window: ir.Window) -> Iterator[npt.NDArray[Any]]:
    """For each kernel position, in row-major order, the [B, C, H, W] view of what it meets."""
    height, width = ir.Window(window.kernel, window.stride, dilation=window.dilation).output_size(
        *padded.shape[2:]
    )
    stride_y, stride_x = window.stride
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            y, x = ky * window.dilation[0], kx * window.dilation[1]
            yield padded[
                :,
                :,
                y : y + (height - 1) * stride_y + 1 : stride_y,
                x : x + (width - 1) * stride_x + 1 : stride_x,
            ]
