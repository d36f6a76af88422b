"""Operations of a simplified float network, one by one, in the arithmetic of ``codesign.arith``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arith import WEIGHT_MAX, quantize_multiplier, quantize_multiplier_pair
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.quant.values import CODES, Coding

BIAS_LIMIT = 1 << 30
"""Biases stay below, so that the sum of products (and constants folded in by the compiler) cannot
overflow 32 bits.
"""
MULTIPLIER_FLOOR = 2.0**-24
"""No channel's scale is finer than this multiplier needs: finer weights would change no output,
only lose its bits.
"""


def quantize_op(
    op: net.Op,
    codings: Mapping[str, Coding],
    shapes: Mapping[str, ir.Shape],
    scales: npt.NDArray[np.float64] | None = None,
) -> ir.Op:
    """An operation of a simplified network in int8.

    ``codings`` and ``shapes`` are of tensors; ``scales`` [O] of a convolution's weights, where they
    are given.

    Raises
    ------
    ValueError
        Scales are out of all proportion.
    """
    y = codings[op.y]
    if isinstance(op, net.Conv2d):
        return _conv(op, codings[op.x], y, scales)
    if isinstance(op, net.MaxPool2d):
        return ir.MaxPool2d(op.name, op.x, op.y, op.window)
    if isinstance(op, net.AvgPool2d):
        area = op.window.kernel[0] * op.window.kernel[1]
        ratio = codings[op.x].scale / y.scale
        found = np.unique(ir.counts(op.window, op.counted, shapes[op.x])).tolist()
        parts = tuple((n, *quantize_multiplier(ratio / max(1, n))) for n in found if n < area)
        return ir.AvgPool2d(
            op.name, op.x, op.y, op.window, *quantize_multiplier(ratio / area),
            y.bound(op.low), y.bound(op.high), counted=op.counted, parts=parts,
        )  # fmt: skip
    if isinstance(op, net.Add):
        factors = (
            op.a_factor * codings[op.a].scale / y.scale,
            op.b_factor * codings[op.b].scale / y.scale,
        )
        pair = quantize_multiplier_pair(*factors)
        return ir.Add(op.name, op.a, op.b, op.y, *pair, y.bound(op.low), y.bound(op.high))
    if isinstance(op, net.Unary):
        return ir.Table(op.name, op.x, op.y, y.encode(op.function(codings[op.x].decode(CODES))))
    if isinstance(op, net.Flatten):
        return ir.Flatten(op.name, op.x, op.y)
    if isinstance(op, net.Upsample):
        return ir.Upsample(op.name, op.x, op.y, op.factor)
    raise GraphError(
        f"{op.name!r} is a {type(op).__name__}; simplify the network before quantising it"
    )


def _conv(
    op: net.Conv2d, x: Coding, y: Coding, scales: npt.NDArray[np.float64] | None
) -> ir.Conv2d:
    weight, bias = op.weight.astype(np.float64), op.bias.astype(np.float64)
    scale = weight_scales(weight, bias, x, y) if scales is None else scales
    if (np.abs(bias) > BIAS_LIMIT * x.scale * scale * (1 + 2.0**-20)).any():
        largest = np.abs(bias / (x.scale * scale)).max()
        raise ValueError(
            f"its bias is {largest:.3g} steps of input times weight, above {BIAS_LIMIT}; "
            "quantise its weights with a larger scale"
        )
    codes = np.clip(np.floor(weight / scale[:, None, None, None] + 0.5), -WEIGHT_MAX, WEIGHT_MAX)
    pairs = [quantize_multiplier(x.scale * float(one) / y.scale) for one in scale]
    return ir.Conv2d(
        op.name, op.x, op.y, codes.astype(np.int8),
        np.floor(bias / (x.scale * scale) + 0.5).astype(np.int32),
        np.array([multiplier for multiplier, _ in pairs], np.int32),
        np.array([shift for _, shift in pairs], np.int32),
        op.window, op.groups, y.bound(op.low), y.bound(op.high),
    )  # fmt: skip


def weight_scales(
    weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], x: Coding, y: Coding
) -> npt.NDArray[np.float64]:
    """Scale of each output channel's weights [O, ...]: its largest weight becomes 127.

    Channels whose weights are (almost) zero get the scale at which the bias still fits
    (``BIAS_LIMIT``) and the multiplier keeps its precision (``MULTIPLIER_FLOOR``).
    """
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1) / WEIGHT_MAX
    for_bias = np.abs(bias) / (x.scale * BIAS_LIMIT)
    floor = MULTIPLIER_FLOOR * y.scale / x.scale
    scales: npt.NDArray[np.float64] = np.maximum(np.maximum(largest, for_bias), floor)
    return scales
