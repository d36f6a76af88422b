"""Core ATen operators, one by one, to operations of the float network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.frontend import network as net
from codesign.frontend import torch_upsampling as upsampling
from codesign.frontend.torch_scope import Scope
from codesign.ir import Padding, Pair, Shape, Window

aten = torch.ops.aten


def _pair(values: Any) -> Pair:
    values = [values] if isinstance(values, int) else list(values)
    return (int(values[0]), int(values[-1]))


def _symmetric(values: Any) -> Padding:
    y, x = _pair(values)
    return (y, y, x, x)


def _convolution(scope: Scope, node: Node) -> net.Op:
    weight = scope.required(node, 1, "weight")
    bias = scope.constant(node, 2, "bias")
    stride, padding, dilation = (
        scope.argument(node, i, n, None)
        for i, n in ((3, "stride"), (4, "padding"), (5, "dilation"))
    )
    if weight.ndim != 4:
        raise scope.unsupported(
            node, f"it has {weight.ndim - 2} spatial dimensions; convolutions of 2 are accepted"
        )
    if scope.argument(node, 6, "transposed", False):
        return upsampling.transposed(
            scope, node, weight, _pair(stride), _pair(padding), _pair(dilation)
        )
    return net.Conv2d(
        scope.name(node), scope.tensor(node, 0, "input"), node.name, weight,
        np.zeros(weight.shape[0], np.float32) if bias is None else bias,
        Window(_pair(weight.shape[2:]), _pair(stride), _symmetric(padding), _pair(dilation)),
        int(scope.argument(node, 8, "groups", 1)),
    )  # fmt: skip


def _addmm(scope: Scope, node: Node) -> net.Op:
    if scope.argument(node, 3, "beta", 1) != 1 or scope.argument(node, 4, "alpha", 1) != 1:
        raise scope.unsupported(
            node, "alpha and beta other than 1 are not accepted; scale weight and bias instead"
        )
    weight = scope.required(node, 2, "mat2").T
    bias = np.broadcast_to(scope.required(node, 0, "self").reshape(-1), weight.shape[:1])
    return net.Linear(scope.name(node), scope.tensor(node, 1, "mat1"), node.name, weight, bias)


def _mm(scope: Scope, node: Node) -> net.Op:
    weight = scope.required(node, 1, "mat2").T
    bias = np.zeros(weight.shape[0], np.float32)
    return net.Linear(scope.name(node), scope.tensor(node, 0, "self"), node.name, weight, bias)


def _batch_norm(scope: Scope, node: Node) -> net.Op:
    mean, variance = scope.required(node, 3, "running_mean"), scope.required(node, 4, "running_var")
    weight, bias = scope.constant(node, 1, "weight"), scope.constant(node, 2, "bias")
    factor = (1.0 if weight is None else weight) / np.sqrt(variance + float(node.args[6]))  # type: ignore[arg-type]
    offset = (0.0 if bias is None else bias) - mean * factor
    x = scope.tensor(node, 0, "input")
    return net.BatchNorm(
        scope.name(node), x, node.name, factor.astype(np.float32), offset.astype(np.float32)
    )


def _clamp(scope: Scope, node: Node, low: Any, high: Any) -> net.Op:
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    return net.Clamp(scope.name(node), scope.tensor(node, 0, "input"), node.name, low, high)


def _max_pool(scope: Scope, node: Node) -> net.Op:
    kernel = _pair(node.args[1])
    stride = _pair(scope.argument(node, 2, "stride", ()) or kernel)
    padding = _symmetric(scope.argument(node, 3, "padding", 0))
    window = Window(kernel, stride, padding, _pair(scope.argument(node, 4, "dilation", 1)))
    if scope.argument(node, 5, "ceil_mode", False):
        window = _reach(window, scope.input_shape(node), scope.shape(node))
    return net.MaxPool2d(scope.name(node), scope.tensor(node, 0, "input"), node.name, window)


def _reach(window: Window, x: Shape, y: Shape) -> Window:
    """The window with padding below and at the right up to the last position that ``ceil_mode``
    adds.
    """
    added = []
    for axis in (0, 1):
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        before, after = window.padding[2 * axis : 2 * axis + 2]
        added.append(
            max(after, (y[axis + 1] - 1) * window.stride[axis] + reach - x[axis + 1] - before)
        )
    top, _, left, _ = window.padding
    return Window(window.kernel, window.stride, (top, added[0], left, added[1]), window.dilation)


def _avg_pool(scope: Scope, node: Node) -> net.Op:
    kernel = _pair(node.args[1])
    padding = _symmetric(scope.argument(node, 3, "padding", 0))
    window = Window(kernel, _pair(scope.argument(node, 2, "stride", ()) or kernel), padding)
    counted = padding if scope.argument(node, 5, "count_include_pad", True) else (0, 0, 0, 0)
    if scope.argument(node, 6, "divisor_override", None) is not None:
        raise scope.unsupported(
            node, "divisor_override is not accepted; scale the next layer's weights instead"
        )
    if scope.argument(node, 4, "ceil_mode", False):
        window = _reach(window, scope.input_shape(node), scope.shape(node))
    return net.AvgPool2d(
        scope.name(node), scope.tensor(node, 0, "input"), node.name, window,
        counted=None if counted == window.padding else counted,
    )  # fmt: skip


def _adaptive_window(scope: Scope, node: Node) -> Window:
    _, height, width = scope.input_shape(node)
    _, out_height, out_width = scope.shape(node)
    if height % out_height or width % out_width:
        raise scope.unsupported(
            node,
            f"{out_height}x{out_width} does not divide the map {height}x{width}; choose divisors",
        )
    kernel = (height // out_height, width // out_width)
    return Window(kernel, kernel)


def _reduced_window(scope: Scope, node: Node) -> Window:
    """The whole map along the axes that a reduction names."""
    value: Any = node.args[0]
    rank = value.meta["val"].dim()
    axes = {int(axis) % rank for axis in scope.argument(node, 1, "dim", None) or range(rank)}
    _, height, width = scope.input_shape(node)
    if rank != 4 or not axes <= {2, 3}:
        raise scope.unsupported(
            node, f"it reduces dimensions {sorted(axes)} of {rank}; those over H and W are accepted"
        )
    return Window((height if 2 in axes else 1, width if 3 in axes else 1))


def _adaptive_avg_pool(scope: Scope, node: Node) -> net.Op:
    x, window = scope.tensor(node, 0, "input"), _adaptive_window(scope, node)
    return net.AvgPool2d(scope.name(node), x, node.name, window)


def _adaptive_max_pool(scope: Scope, node: Node) -> net.Op:
    x, window = scope.tensor(node, 0, "input"), _adaptive_window(scope, node)
    return net.MaxPool2d(scope.name(node), x, node.name, window)


def _mean(scope: Scope, node: Node) -> net.Op:
    x, window = scope.tensor(node, 0, "input"), _reduced_window(scope, node)
    return net.AvgPool2d(scope.name(node), x, node.name, window)


def _amax(scope: Scope, node: Node) -> net.Op:
    x, window = scope.tensor(node, 0, "input"), _reduced_window(scope, node)
    return net.MaxPool2d(scope.name(node), x, node.name, window)


def _pad(scope: Scope, node: Node) -> net.Op:
    sides = [int(side) for side in node.args[1]]  # type: ignore[union-attr, arg-type]
    left, right, top, bottom = [*sides, 0, 0, 0, 0][:4]
    value = float(scope.argument(node, 2, "value", 0.0))
    if min(sides) < 0 or any(sides[4:]) or value != 0.0:
        raise scope.unsupported(
            node, f"it pads {sides} with {value}; zeros around H and W are accepted"
        )
    return net.Pad(
        scope.name(node), scope.tensor(node, 0, "input"), node.name, (top, bottom, left, right)
    )


CONVERTERS: dict[Any, Callable[[Scope, Node], net.Op]] = {
    aten.convolution.default: _convolution,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.relu.default: lambda scope, node: _clamp(scope, node, 0.0, None),
    aten.hardtanh.default: lambda scope, node: _clamp(
        scope,
        node,
        scope.argument(node, 1, "min_val", -1.0),
        scope.argument(node, 2, "max_val", 1.0),
    ),
    aten.clamp.default: lambda scope, node: _clamp(
        scope, node, scope.argument(node, 1, "min", None), scope.argument(node, 2, "max", None)
    ),
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _avg_pool,
    aten._adaptive_avg_pool2d.default: _adaptive_avg_pool,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    aten.mean.dim: _mean,
    aten.amax.default: _amax,
    aten.constant_pad_nd.default: _pad,
    aten.upsample_nearest2d.vec: upsampling.upsample,
    aten.upsample_nearest2d.default: upsampling.upsample,
    aten.index.Tensor: upsampling.index,
}
