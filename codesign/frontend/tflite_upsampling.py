"""TFLite's transposed convolutions, and resizing to the nearest neighbour."""

from __future__ import annotations

import numpy as np

from codesign import ir
from codesign.frontend.tflite_file import Operator
from codesign.frontend.tflite_scope import Scope, round_away
from codesign.frontend.tflite_windows import convolution, same_coding, weights
from codesign.frontend.upsampling import repeats, transposed_window, turned
from codesign.ir import Pair

_X, _BIAS = 2, 3
"""Operands of TRANSPOSE_CONV: the shape of its output, weights, input, bias."""


def transpose_conv(scope: Scope, op: Operator) -> None:
    """Weights [O, kh, kw, I]; the output's extents are operand 0."""
    x = scope.value(op, _X)
    values, scales = weights(scope, op, 0)
    channels, height, width = scope.map_shape(op, x)
    shape = list(scope.output(op).shape)
    wanted = scope.integers(op, 0) if scope.is_constant(op, 0) else shape
    stride = op.options["StrideH"], op.options["StrideW"]
    if values.ndim != 4 or values.shape[3] != channels or wanted != shape or len(shape) != 4:
        raise scope.broken(
            op, f"weights {list(values.shape)} and output shape {wanted} do not fit {channels} "
            f"channels and its output {shape}; convert again"
        )  # fmt: skip
    kernel, target = (values.shape[1], values.shape[2]), (shape[1], shape[2])
    if min(*kernel, *stride) < 1:
        raise scope.broken(op, f"kernel {kernel}, stride {stride}; convert the model again")
    same = op.options["Padding"] == "SAME"
    before = (
        _before(target[0], kernel[0], stride[0], same),
        _before(target[1], kernel[1], stride[1], same),
    )
    try:
        window = transposed_window(kernel, stride, (1, 1), before, (height, width), target)
    except ValueError as error:
        raise scope.unsupported(op, str(error)) from error
    weight = turned(values.transpose(3, 0, 1, 2), 1)
    convolution(scope, op, x, weight, scales, window, 1, operand=_X, bias_operand=_BIAS, twice=True)


def _before(size: int, kernel: int, stride: int, same: bool) -> int:
    """What the output is cut by, above or at the left: the padding of the convolution that would
    make the input of it (TFLite, ComputePaddingHeightWidth)."""
    steps = -(-size // stride) if same else (size + stride - kernel) // stride
    return max(0, (steps - 1) * stride + kernel - size) // 2


def resize_nearest_neighbor(scope: Scope, op: Operator) -> None:
    """Where every pixel is repeated equally often."""
    x = scope.value(op)
    channels, height, width = scope.map_shape(op, x)
    sizes = scope.integers(op, 1) if scope.is_constant(op, 1) else scope.output(op).shape[1:3]
    if len(sizes) != 2 or min(sizes) < 1:
        raise scope.broken(op, f"its size is {sizes}; two extents are needed; convert again")
    align, half = op.options["AlignCorners"], op.options["HalfPixelCenters"]
    y, x_factor = (
        repeats(_indices(extent, size, align, half), extent)
        for extent, size in zip((height, width), sizes, strict=True)
    )
    if not y or not x_factor:
        raise scope.unsupported(
            op, f"it makes {sizes[0]}x{sizes[1]} of {height}x{width} (align_corners "
            f"{bool(align)}, half_pixel_centers {bool(half)}), which does not repeat every pixel "
            "equally often; scale by whole numbers, without align_corners"
        )  # fmt: skip
    factor: Pair = (y, x_factor)
    same_coding(scope, op)
    made = scope.result(op, (channels, height * y, width * x_factor))
    scope.emit(ir.Upsample(scope.name(op), x.tensor, made, factor))


def _indices(extent: int, size: int, align: bool, half: bool) -> list[int]:
    """The pixel that each output pixel is, along an axis, in TFLite's float32
    (GetNearestNeighbor)."""
    aligned = align and size > 1
    scale = np.float32((extent - 1) / (size - 1)) if aligned else np.float32(extent / size)
    places = (np.arange(size, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale
    rounded = round_away(places) if align else np.floor(places).astype(np.int64)
    return [int(at) for at in np.clip(rounded, 0, extent - 1)]
