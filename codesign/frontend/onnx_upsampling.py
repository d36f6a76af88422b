"""ONNX's transposed convolutions, and resizing to the nearest neighbour."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

from codesign.frontend import network as net
from codesign.frontend.onnx_file import Node
from codesign.frontend.onnx_scope import Scope, given
from codesign.frontend.onnx_windows import bias_of, pair_of
from codesign.frontend.upsampling import repeats, transposed_window, turned
from codesign.ir import Pair, Shape

_HALF = Fraction(1, 2)


def conv_transpose(scope: Scope, node: Node) -> None:
    """Weights [I, O/groups, kh, kw]."""
    x, shape = scope.map(node)
    groups = int(scope.attribute(node, "group", 1))
    extents = scope.floats(node, 1).shape
    if groups < 1 or len(extents) != 4 or extents[0] != shape[0] or shape[0] % groups:
        raise scope.broken(
            node, f"weights {list(extents)} in {groups} groups do not fit {shape[0]} channels; "
            "export the model again"
        )  # fmt: skip
    weights = scope.weights_of(node, 4, partial(turned, groups=groups))
    kernel = extents[2], extents[3]
    declared = scope.attribute(node, "kernel_shape", kernel)
    if tuple(declared) != kernel:
        raise scope.broken(
            node, f"kernel_shape {list(declared)} is not its weights' {kernel}; export it again"
        )
    stride = pair_of(scope, node, "strides", (1, 1))
    dilation = pair_of(scope, node, "dilations", (1, 1))
    before, target = _extents(scope, node, kernel, stride, dilation, shape)
    try:
        window = transposed_window(kernel, stride, dilation, before, shape[1:], target)
    except ValueError as error:
        raise scope.unsupported(node, str(error)) from error
    scope.weights[node.name] = weights
    bias = bias_of(scope, node, len(weights.values))
    scope.emit(
        node,
        net.Conv2d(node.name, x, node.outputs[0], weights.values, bias, window, groups),
    )


def _extents(
    scope: Scope, node: Node, kernel: Pair, stride: Pair, dilation: Pair, shape: Shape
) -> tuple[Pair, Pair]:
    """What the output is cut by, above and at the left, and its extents."""
    pads = [int(pad) for pad in scope.attribute(node, "pads", (0, 0, 0, 0))]
    extra = [int(one) for one in scope.attribute(node, "output_padding", (0, 0))]
    wanted = [int(one) for one in scope.attribute(node, "output_shape", ())][-2:]
    mode = scope.attribute(node, "auto_pad", "NOTSET")
    if len(pads) != 4 or len(extra) != 2 or min(*pads, *extra) < 0 or len(wanted) == 1:
        raise scope.broken(
            node, f"its pads {pads}, output_padding {extra} or output_shape {wanted} are not "
            "numbers from 0, two for each axis or one; export the model again"
        )  # fmt: skip
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise scope.broken(node, f"its auto_pad is {mode!r}; export the model again")
    before, target = [], []
    for axis in (0, 1):
        whole = stride[axis] * (shape[axis + 1] - 1) + dilation[axis] * (kernel[axis] - 1) + 1
        whole += extra[axis]
        first, last = (pads[axis], pads[axis + 2]) if mode == "NOTSET" else (0, 0)
        size = whole - first - last
        if wanted or mode.startswith("SAME"):
            size = wanted[axis] if wanted else stride[axis] * shape[axis + 1]
            if not wanted and size > whole:
                raise scope.unsupported(
                    node, f"its auto_pad {mode} of a kernel {kernel} below its stride {stride} "
                    "means one thing to ONNX, another to ONNX Runtime; give output_shape"
                )  # fmt: skip
            cut = max(0, whole - size)
            first = cut // 2 if mode == "SAME_UPPER" else cut - cut // 2
        before.append(first)
        target.append(size)
    return (before[0], before[1]), (target[0], target[1])


def resize(scope: Scope, node: Node) -> None:
    """Where every pixel is repeated equally often."""
    x, (_, height, width) = scope.map(node)
    mode = scope.attribute(node, "mode", "nearest")
    if mode != "nearest":
        raise scope.unsupported(
            node, f"its mode is {mode!r}; 'nearest' is accepted, and a ConvTranspose, which "
            "interpolates with the right weights"
        )  # fmt: skip
    scales = _scales(scope, node, (height, width))
    y, x_factor = (
        repeats(_indices(scope, node, extent, scale), extent)
        for extent, scale in zip((height, width), scales, strict=True)
    )
    if not y or not x_factor:
        made = [float(height * scales[0]), float(width * scales[1])]
        raise scope.unsupported(
            node, f"it makes {made} of {[height, width]} by {_how(scope, node)}, which does not "
            "repeat every pixel equally often; scale by whole numbers, with "
            "coordinate_transformation_mode 'asymmetric' and nearest_mode 'floor' for instance"
        )  # fmt: skip
    scope.emit(node, net.Upsample(node.name, x, node.outputs[0], (y, x_factor)))


def _scales(scope: Scope, node: Node, extents: Pair) -> list[Fraction]:
    """Of height and width, from the sizes that are asked for or from the scales themselves."""
    sized = given(node, 3)
    axes = [int(axis) % 4 for axis in scope.attribute(node, "axes", range(4))]
    numbers = [float(one) for one in scope.required(node, 3 if sized else 2).reshape(-1)]
    if len(numbers) != len(axes) or min(numbers, default=0) <= 0:
        raise scope.broken(
            node, f"its {'sizes' if sized else 'scales'} {numbers} do not fit axes {axes}; export "
            "the model again"
        )  # fmt: skip
    by_axis = dict(zip(axes, numbers, strict=True))
    if sized and scope.attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise scope.unsupported(node, "it keeps the aspect ratio; give the scales instead")
    whole = (scope.model.batch, scope.map(node)[1][0]) if sized else (1, 1)
    moved = [axis for axis in (0, 1) if by_axis.get(axis, whole[axis]) != whole[axis]]
    if moved:
        raise scope.unsupported(node, f"it resizes axis {moved[0]}; height and width are accepted")
    found = []
    for axis, extent in zip((2, 3), extents, strict=True):
        if axis not in by_axis:
            found.append(Fraction(1))
        elif sized:
            found.append(Fraction(int(by_axis[axis]), extent))
        else:
            found.append(Fraction(by_axis[axis]))
    return found


def _how(scope: Scope, node: Node) -> tuple[str, str]:
    """coordinate_transformation_mode and nearest_mode."""
    return (
        str(scope.attribute(node, "coordinate_transformation_mode", "half_pixel")),
        str(scope.attribute(node, "nearest_mode", "round_prefer_floor")),
    )


def _indices(scope: Scope, node: Node, extent: int, scale: Fraction) -> list[int]:
    """The pixel that each output pixel is, along an axis (ONNX, operator Resize)."""
    transformation, rounding = _how(scope, node)
    size = math.floor(extent * scale)
    asymmetric = [Fraction(at) / scale for at in range(size)]
    half = [(at + _HALF) / scale - _HALF for at in range(size)]
    centre = extent * (1 - Fraction(size) / (extent * scale)) / 2
    places = {
        "asymmetric": asymmetric,
        "half_pixel": half,
        "pytorch_half_pixel": half if size > 1 else [Fraction(0)],
        "half_pixel_symmetric": [centre + at for at in half],
        "tf_half_pixel_for_nn": [at + _HALF for at in half],
        "align_corners": [Fraction(at * (extent - 1), max(1, size - 1)) for at in range(size)],
    }.get(transformation)
    rounded = {
        "floor": math.floor,
        "ceil": math.ceil,
        "round_prefer_floor": lambda at: math.ceil(at - _HALF),
        "round_prefer_ceil": lambda at: math.floor(at + _HALF),
    }.get(rounding)
    if places is None or rounded is None:
        raise scope.unsupported(
            node, f"its coordinate_transformation_mode is {transformation!r}, its nearest_mode "
            f"{rounding!r}; 'asymmetric' and 'floor', for instance, are accepted"
        )  # fmt: skip
    return [min(max(rounded(at), 0), extent - 1) for at in places]
