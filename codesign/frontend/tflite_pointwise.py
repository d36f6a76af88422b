"""TFLite's functions of single values: sums, products, and unary functions as tables.

Tables are computed as LiteRT's kernels compute them, rounding included: 31-bit multipliers with two
roundings (gemmlowp), or look-up tables of float32 functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arith import INT8_MAX, INT8_MIN, WEIGHT_MAX, quantize_multiplier_pair
from codesign.frontend.tflite_file import Operator
from codesign.frontend.tflite_scope import Scope, activation_bounds, round_away
from codesign.quant.values import CODES, Coding

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


LARGEST_EXPONENT = 15
"""Of a ratio of scales: beyond it every value but zero saturates."""


# --- LiteRT's arithmetic -----------------------------------------------------------------------
def fixed_multiplier(real: float) -> tuple[int, int]:
    """real as multiplier * 2**(exponent - 31), the multiplier of 31 bits (QuantizeMultiplier)."""
    if real == 0.0:
        return 0, 0
    mantissa, exponent = math.frexp(real)
    fixed = int(round_away(mantissa * (1 << 31)))
    if fixed == 1 << 31:
        fixed, exponent = fixed // 2, exponent + 1
    return (0, 0) if exponent < -31 else (fixed, exponent)


def multiply(x: IntArray, real: float) -> IntArray:
    """x * real as MultiplyByQuantizedMultiplier rounds it: twice.

    Raises
    ------
    ValueError
        The product leaves 32 bits for values of int8.
    """
    fixed, exponent = fixed_multiplier(real)
    if exponent > LARGEST_EXPONENT:
        raise ValueError(f"its scales have the ratio {real:.3g}; quantise the model again")
    product = x * (1 << max(exponent, 0)) * fixed
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.trunc((product + nudge) / 2.0**31).astype(np.int64)
    return divide_by_power(high, max(-exponent, 0))


def divide_by_power(x: IntArray, exponent: int) -> IntArray:
    """x / 2**exponent, halves away from zero (gemmlowp's RoundingDivideByPOT)."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def _saturated(values: IntArray, low: int = INT8_MIN, high: int = INT8_MAX) -> npt.NDArray[np.int8]:
    clamped: npt.NDArray[np.int8] = np.clip(values, low, high).astype(np.int8)
    return clamped


def _looked_up(function: Callable[[FloatArray], FloatArray], x: Coding, y: Coding) -> IntArray:
    """A float32 function of every code (LUTPopulate)."""
    real = np.float32(x.scale) * (CODES - x.zero_point).astype(np.float32)
    inverse = np.float32(1) / np.float32(y.scale)
    return round_away(function(real).astype(np.float32) * inverse) + y.zero_point


# --- unary functions ---------------------------------------------------------------------------
def _rescaled(x: Coding, y: Coding) -> IntArray:
    return y.zero_point + multiply(CODES - x.zero_point, x.scale / y.scale)


def _logistic(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        result: FloatArray = np.float32(1) / (np.float32(1) + np.exp(-x))
    return result


def _leaky_relu(x: Coding, y: Coding, alpha: float) -> IntArray:
    steps = CODES - x.zero_point
    negative = multiply(steps, x.scale * alpha / y.scale)
    return y.zero_point + np.where(steps >= 0, multiply(steps, x.scale / y.scale), negative)


def _hard_swish(x: Coding, y: Coding) -> IntArray:
    """x * relu6(x + 3) / 6 in 16-bit fixed point (reference_ops::HardSwish)."""
    fine = np.float32(x.scale) * np.float32(1 / 128)
    to_output, output_exponent = fixed_multiplier(float(fine / np.float32(y.scale)))
    to_unit, unit_exponent = fixed_multiplier(float(fine / np.float32(3 / 32768)))
    if output_exponent > 0 or unit_exponent > LARGEST_EXPONENT:
        raise ValueError(
            f"its scales are {x.scale:.3g} and {y.scale:.3g}; quantise the model again"
        )
    steps = (CODES - x.zero_point) * 128
    scaled = _high_product(steps, _short(to_output))
    gate = steps
    if unit_exponent > 0:
        gate = _short_range(gate << (unit_exponent - 1))
    gate = _high_product(gate, _short(to_unit))
    if unit_exponent > 0:
        gate = _short_range(gate << 1)
    elif unit_exponent < 0:
        gate = divide_by_power(gate, -unit_exponent)
    gate = (gate + (1 << 15)) >> 1
    product = np.trunc(gate * scaled / 2.0**15).astype(np.int64)
    shifted = divide_by_power(product, -output_exponent) if output_exponent < 0 else product
    return shifted + y.zero_point


def _short(fixed: int) -> int:
    """A 31-bit multiplier in 15 bits (DownScaleInt32ToInt16Multiplier)."""
    return min((fixed + (1 << 15)) >> 16, (1 << 15) - 1)


def _short_range(x: IntArray) -> IntArray:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


def _high_product(x: IntArray, factor: int) -> IntArray:
    """Upper half of a 16-bit product, rounded (SaturatingRoundingDoublingHighMul)."""
    product = x * factor
    nudge = np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _short_range(np.trunc((product + nudge) / 2.0**15).astype(np.int64))


_LOOKED_UP: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "LOGISTIC": _logistic,
    "TANH": np.tanh,
}
_CLAMPS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")


def unary(scope: Scope, op: Operator) -> None:
    """Any function of one int8 value becomes a table of 256."""
    x = scope.value(op)
    source, target = scope.input_coding(op), scope.output_coding(op)
    low, high = INT8_MIN, INT8_MAX
    if op.kind in _LOOKED_UP:
        values = _looked_up(_LOOKED_UP[op.kind], source, target)
    elif op.kind == "HARD_SWISH":
        values = _hard_swish(source, target)
    elif op.kind == "LEAKY_RELU":
        values = _leaky_relu(source, target, float(op.options["Alpha"]))
    else:
        values = _rescaled(source, target)
        low, high = activation_bounds(op.kind, target) or (low, high)
    _table(scope, op, x.tensor, _saturated(values, low, high))


def _table(scope: Scope, op: Operator, x: str, table: npt.NDArray[np.int8]) -> None:
    y = scope.result(op, scope.tensors[x].shape, scope.output(op).shape)
    scope.emit(ir.Table(scope.name(op), x, y, table))


# --- two operands ------------------------------------------------------------------------------
def add(scope: Scope, op: Operator) -> None:
    """ADD and SUB: of two maps of one shape, or of a map and a constant."""
    constants = [position for position in (0, 1) if scope.is_constant(op, position)]
    if constants:
        _add_constant(scope, op, constants[0])
        return
    a, b = scope.value(op, 0), scope.value(op, 1)
    target = scope.output_coding(op)
    if scope.shape(a) != scope.shape(b) or a.extents != b.extents:
        raise scope.unsupported(
            op,
            f"it broadcasts {list(a.extents)} with {list(b.extents)}; equal shapes, or a constant "
            "for each channel, are accepted",
        )
    sign = -1.0 if op.kind == "SUB" else 1.0
    ratios = (
        scope.input_coding(op, 0).scale / target.scale,
        sign * scope.input_coding(op, 1).scale / target.scale,
    )
    pair = quantize_multiplier_pair(*ratios)
    low, high = scope.bounds(op, target)
    y = scope.result(op, scope.shape(a), a.extents)
    scope.emit(ir.Add(scope.name(op), a.tensor, b.tensor, y, *pair, low, high))


def multiply_constant(scope: Scope, op: Operator) -> None:
    """MUL by a number is a table, by a number for each channel a depthwise convolution."""
    constants = [position for position in (0, 1) if scope.is_constant(op, position)]
    if not constants:
        raise scope.unsupported(
            op, "it multiplies two computed tensors; one of them must be constant"
        )
    x, coding, steps = _operands(scope, op, constants[0])
    target = scope.output_coding(op)
    low, high = scope.bounds(op, target)
    ratio = coding.scale * _constant_coding(scope, op, constants[0]).scale / target.scale
    if steps.size == 1:
        values = target.zero_point + multiply((CODES - coding.zero_point) * int(steps[0]), ratio)
        _table(scope, op, x, _saturated(values, low, high))
        return
    y = scope.result(op, scope.tensors[x].shape)
    scope.pointwise(op, scope.name(op), x, y, ratio * steps, low=low, high=high)


def _add_constant(scope: Scope, op: Operator, position: int) -> None:
    x, coding, steps = _operands(scope, op, position)
    target = scope.output_coding(op)
    low, high = scope.bounds(op, target)
    signs = {"ADD": (1.0, 1.0), "SUB": (1.0, -1.0) if position == 1 else (-1.0, 1.0)}[op.kind]
    added = signs[1] * _constant_coding(scope, op, position).scale * steps
    if steps.size == 1:
        values = signs[0] * coding.scale * (CODES - coding.zero_point) + added[0]
        table = round_away(values / target.scale) + target.zero_point
        _table(scope, op, x, _saturated(table, low, high))
        return
    channels = len(steps)
    # the largest weight gives the bias the finest unit
    biases = round_away(signs[0] * added * WEIGHT_MAX / coding.scale)
    if np.abs(biases).max() >= 1 << 30:
        raise scope.broken(
            op, f"its constant is {np.abs(added).max() / coding.scale:.3g} steps of its input; "
            "quantise it again"
        )  # fmt: skip
    y = scope.result(op, scope.tensors[x].shape)
    scope.pointwise(
        op, scope.name(op), x, y, signs[0] * coding.scale / (WEIGHT_MAX * target.scale),
        weight=np.full((channels, 1, 1, 1), WEIGHT_MAX, np.int8),
        bias=biases.astype(np.int32), low=low, high=high,
    )  # fmt: skip


def _operands(scope: Scope, op: Operator, position: int) -> tuple[str, Coding, IntArray]:
    """The computed operand's tensor and coding, and the constant's steps from its zero point: one,
    or one for each channel."""
    x = scope.value(op, 1 - position)
    constant = scope.constant(op, position)
    coding = _constant_coding(scope, op, position)
    steps = constant.astype(np.int64) - coding.zero_point
    if constant.size > 1:
        channels = scope.map_shape(op, x)[0]
        if constant.shape[-1] != channels or constant.size != channels:
            raise scope.unsupported(
                op,
                f"its constant has shape {list(constant.shape)}; a number, or one for each of "
                f"{channels} channels, is accepted",
            )
    return x.tensor, scope.input_coding(op, 1 - position), steps.reshape(-1)


def _constant_coding(scope: Scope, op: Operator, position: int) -> Coding:
    return scope.coding(op, scope.info(op, position))
