"""Core ATen's transposed convolutions and nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.torch_scope import Scope
from codesign.frontend.upsampling import repeats, transposed_window, turned
from codesign.ir import Pair

_INDEX = (
    "values cannot be picked by index; where this is padding that reflects or repeats, pad with "
    "zeros; where it resizes, scale by whole numbers"
)


def transposed(
    scope: Scope, node: Node, weight: FloatArray, stride: Pair, padding: Pair, dilation: Pair
) -> net.Op:
    """A transposed convolution; ``weight`` [I, O/groups, kh, kw]."""
    groups = int(scope.argument(node, 8, "groups", 1))
    kernel = weight.shape[2], weight.shape[3]
    source, target = scope.input_shape(node)[1:], scope.shape(node)[1:]
    try:
        window = transposed_window(kernel, stride, dilation, padding, source, target)
    except ValueError as error:
        raise scope.unsupported(node, str(error)) from error
    kernels = turned(weight, groups)
    bias = scope.constant(node, 2, "bias")
    return net.Conv2d(
        scope.name(node), scope.tensor(node, 0, "input"), node.name, kernels,
        np.zeros(len(kernels), np.float32) if bias is None else bias, window, groups,
    )  # fmt: skip


def upsample(scope: Scope, node: Node) -> net.Op:
    """interpolate(mode="nearest"): torch itself tells, of a map of places, which it takes. A factor
    that is no whole number says more than the extents."""
    _, height, width = scope.input_shape(node)
    lines, columns = torch.arange(height), torch.arange(width)
    places = torch.stack(torch.meshgrid(lines, columns, indexing="ij"))[None].float()
    target: Any = node.target
    (y, x) = target(places, *node.args[1:], **node.kwargs)[0].int()
    indices = y[:, 0].tolist(), x[0].tolist()
    return _upsample(scope, node, indices, "scale by whole numbers")


def index(scope: Scope, node: Node) -> net.Op:
    """Lines and columns by constant indices, as mode="nearest-exact" becomes."""
    given: Any = node.args[1]
    lines, columns = ([*given, None, None, None, None][axis] for axis in (2, 3))
    if len(given) != 4 or any(given[:2]) or not {lines, columns} <= scope.constants.keys():
        raise scope.unsupported(node, _INDEX)
    y, x = scope.constants[lines], scope.constants[columns]
    if y.shape[1:] != (1,) or x.ndim != 1:
        raise scope.unsupported(node, _INDEX)
    return _upsample(scope, node, (y.reshape(-1).tolist(), x.tolist()), _INDEX)


def _upsample(scope: Scope, node: Node, indices: Sequence[Sequence[int]], remedy: str) -> net.Op:
    """The operation that takes these lines and columns."""
    extents = scope.input_shape(node)[1:]
    y, x = (repeats(at, extent) for at, extent in zip(indices, extents, strict=True))
    if not y or not x:
        raise scope.unsupported(
            node, f"it makes {scope.shape(node)[1:]} of {extents}, which does not repeat every "
            f"pixel equally often; {remedy}"
        )  # fmt: skip
    return net.Upsample(scope.name(node), scope.tensor(node, 0, "input"), node.name, (y, x))
