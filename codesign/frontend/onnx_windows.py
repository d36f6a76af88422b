"""ONNX's convolutions, linear layers, pools and padding."""

from __future__ import annotations

import numpy as np

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_file import Node
from codesign.frontend.onnx_scope import Scope, Weights, given
from codesign.ir import Padding, Pair, Shape, Window


def conv(scope: Scope, node: Node) -> None:
    """Weights [O, I/groups, kh, kw]."""
    x, shape = scope.map(node)
    weights = scope.weights_of(node, 4)
    groups = int(scope.attribute(node, "group", 1))
    outputs, per_group = weights.values.shape[:2]
    if groups < 1 or per_group * groups != shape[0] or outputs % groups:
        raise scope.broken(
            node, f"weights {list(weights.values.shape)} in {groups} groups do not fit {shape[0]} "
            "channels; export the model again"
        )  # fmt: skip
    kernel = (weights.values.shape[2], weights.values.shape[3])
    declared = scope.attribute(node, "kernel_shape", kernel)
    if tuple(declared) != kernel:
        raise scope.broken(
            node, f"kernel_shape {list(declared)} is not its weights' {kernel}; export it again"
        )
    window = _window(scope, node, kernel, shape)
    scope.weights[node.name] = weights
    scope.emit(
        node,
        net.Conv2d(
            node.name, x, node.outputs[0], weights.values, bias_of(scope, node, outputs), window,
            groups,
        ),
    )  # fmt: skip


def gemm(scope: Scope, node: Node) -> None:
    """y = x W + c, or x transposed(W) + c."""
    for name, neutral in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if scope.attribute(node, name, neutral) != neutral:
            raise scope.unsupported(
                node, f"its {name} is {node.attributes[name]}; {neutral} is accepted: scale or "
                "transpose constants instead"
            )  # fmt: skip
    arrange = np.asarray if scope.attribute(node, "transB", 0) else np.transpose
    weights = scope.weights_of(node, 2, arrange)
    _linear(scope, node, weights, bias_of(scope, node, len(weights.values)))


def matmul(scope: Scope, node: Node) -> None:
    """A vector times constant weights [I, O]."""
    weights = scope.weights_of(node, 2, np.transpose)
    _linear(scope, node, weights, np.zeros(len(weights.values), np.float32))


def _linear(scope: Scope, node: Node, weights: Weights, bias: FloatArray) -> None:
    x = scope.vector(node)
    features = scope.shapes[x][0]
    if weights.values.shape[1] != features:
        raise scope.broken(
            node, f"its weights take {weights.values.shape[1]} features of {features}; export the "
            "model again"
        )  # fmt: skip
    scope.weights[node.name] = weights
    op = net.Linear(node.name, x, node.outputs[0], weights.values, bias)
    scope.emit(node, op, (len(weights.values),))


def bias_of(scope: Scope, node: Node, channels: int) -> FloatArray:
    """Input 2: a number for each output channel, or for all."""
    if not given(node, 2):
        return np.zeros(channels, np.float32)
    values = scope.floats(node, 2)
    last = values.shape[-1] if values.ndim else 1
    if values.size not in (1, channels) or last != values.size:
        raise scope.unsupported(
            node, f"its bias has shape {list(values.shape)}; {channels} numbers are accepted"
        )
    return np.array(np.broadcast_to(values.reshape(-1), (channels,)), np.float32)


def batch_norm(scope: Scope, node: Node) -> None:
    """With frozen statistics."""
    if scope.attribute(node, "training_mode", 0) or len([y for y in node.outputs if y]) > 1:
        raise scope.unsupported(node, "it is in training mode; export the model for inference")
    value = scope.value(node)
    weight, bias, mean, variance = (scope.floats(node, position) for position in (1, 2, 3, 4))
    factor = weight / np.sqrt(variance + np.float32(scope.attribute(node, "epsilon", 1e-5)))
    op = net.BatchNorm(node.name, value.tensor, node.outputs[0], factor, bias - mean * factor)
    scope.emit(node, op, value.extents)


# --- pools -----------------------------------------------------------------------------------
def max_pool(scope: Scope, node: Node) -> None:
    """Its second output, the indices, is refused where something reads it."""
    x, shape = scope.map(node)
    window = _window(scope, node, _kernel(scope, node), shape)
    scope.emit(node, net.MaxPool2d(node.name, x, node.outputs[0], window))


def average_pool(scope: Scope, node: Node) -> None:
    """Padding counts where ``count_include_pad`` says so; what ``ceil_mode`` adds never does."""
    x, shape = scope.map(node)
    window = _window(scope, node, _kernel(scope, node), shape)
    counted: Padding = (0, 0, 0, 0)
    if scope.attribute(node, "count_include_pad", 0):
        counted = _window(scope, node, window.kernel, shape, ceil=False).padding
    pool = net.AvgPool2d(
        node.name, x, node.outputs[0], window,
        counted=None if counted == window.padding else counted,
    )  # fmt: skip
    scope.emit(node, pool)


def whole_map(scope: Scope, node: Node) -> None:
    """GlobalAveragePool and GlobalMaxPool."""
    x, (_, height, width) = scope.map(node)
    pool = net.MaxPool2d if node.kind == "GlobalMaxPool" else net.AvgPool2d
    scope.emit(node, pool(node.name, x, node.outputs[0], Window((height, width))))


def reduce_map(scope: Scope, node: Node) -> None:
    """ReduceMean and ReduceMax over height, width or both."""
    x, (channels, height, width) = scope.map(node)
    axes = scope.axes(node, 1)
    if axes is None:
        axes = [0, 1, 2, 3]
    found = {axis % 4 for axis in axes}
    if not found or not found <= {2, 3}:
        raise scope.unsupported(
            node, f"it reduces axes {axes}; height and width (2 and 3) are accepted"
        )
    window = Window((height if 2 in found else 1, width if 3 in found else 1))
    pool = net.MaxPool2d if node.kind == "ReduceMax" else net.AvgPool2d
    extents: tuple[int, ...] = (
        channels, 1 if 2 in found else height, 1 if 3 in found else width
    )  # fmt: skip
    if not scope.attribute(node, "keepdims", 1):
        if found != {2, 3}:
            raise scope.unsupported(node, "it drops one axis of a map; keep it (keepdims=1)")
        extents = (channels,)
    scope.emit(node, pool(node.name, x, node.outputs[0], window), extents)


def pad(scope: Scope, node: Node) -> None:
    """Zeros around height and width."""
    x, _ = scope.map(node)
    amounts = [int(amount) for amount in scope.required(node, 1).reshape(-1)]
    value = scope.constant(node, 2)
    axes = [0, 1, 2, 3]
    if given(node, 3):
        axes = [int(axis) % 4 for axis in scope.required(node, 3).reshape(-1)]
    mode = scope.attribute(node, "mode", "constant")
    if len(amounts) != 2 * len(axes):
        raise scope.broken(node, f"it pads {amounts} on axes {axes}; two numbers each are needed")
    around = {axis: (amounts[i], amounts[i + len(axes)]) for i, axis in enumerate(axes)}
    zero = value is None or not np.asarray(value, np.float64).any()
    moved = [axis for axis in (0, 1) if any(around.get(axis, (0, 0)))]
    if mode != "constant" or not zero or min(amounts) < 0 or moved:
        raise scope.unsupported(
            node, f"it pads {amounts} on axes {axes} in mode {mode!r} with "
            f"{0 if value is None else value}; zeros around height and width are accepted"
        )  # fmt: skip
    padding = (*around.get(2, (0, 0)), *around.get(3, (0, 0)))
    scope.emit(node, net.Pad(node.name, x, node.outputs[0], padding))


# --- windows -----------------------------------------------------------------------------------
def _kernel(scope: Scope, node: Node) -> Pair:
    return pair_of(scope, node, "kernel_shape", ())


def pair_of(scope: Scope, node: Node, name: str, default: tuple[int, ...]) -> Pair:
    values = tuple(int(value) for value in scope.attribute(node, name, default))
    if len(values) != 2 or min(values) < 1:
        raise scope.unsupported(
            node, f"its {name} is {list(values)}; two positive extents are accepted"
        )
    return values[0], values[1]


def _window(
    scope: Scope, node: Node, kernel: Pair, shape: Shape, ceil: bool | None = None
) -> Window:
    """The node's window on a map of ``shape``, by its own ``ceil_mode`` where ``ceil`` is None."""
    stride = pair_of(scope, node, "strides", (1, 1))
    dilation = pair_of(scope, node, "dilations", (1, 1))
    pads = [int(pad) for pad in scope.attribute(node, "pads", (0, 0, 0, 0))]
    mode = scope.attribute(node, "auto_pad", "NOTSET")
    if len(pads) != 4 or min(pads) < 0:
        raise scope.unsupported(node, f"its pads are {pads}; four numbers from 0 are accepted")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise scope.broken(node, f"its auto_pad is {mode!r}; export the model again")
    up = bool(scope.attribute(node, "ceil_mode", 0)) if ceil is None else ceil
    sides: list[int] = []
    for axis in (0, 1):
        before, behind = (pads[axis], pads[axis + 2]) if mode == "NOTSET" else (0, 0)
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        extent, step = shape[axis + 1], stride[axis]
        if mode.startswith("SAME"):
            total = max((-(-extent // step) - 1) * step + reach - extent, 0)
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
            behind = total - before
        elif up and mode == "VALID" and (extent - reach) % step:
            raise scope.unsupported(
                node, "its ceil_mode with auto_pad VALID means one thing to ONNX, another to ONNX "
                "Runtime; give pads instead"
            )  # fmt: skip
        elif up:
            behind = max(behind, _reach(extent, before, behind, reach, step))
        sides += [before, behind]
    window = Window(kernel, stride, (sides[0], sides[1], sides[2], sides[3]), dilation)
    if min(window.output_size(*shape[1:])) < 1:
        raise scope.broken(node, f"kernel {kernel} is larger than its map {shape[1:]}")
    return window


def _reach(extent: int, before: int, behind: int, reach: int, stride: int) -> int:
    """Padding behind that the last window of ``ceil_mode`` needs; one that would start in the
    padding is left out, as ONNX has it."""
    last = -(-(extent + before + behind - reach) // stride)
    if last * stride >= extent + before:
        last -= 1
    return last * stride + reach - extent - before
