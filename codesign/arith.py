"""Integer arithmetic of the accelerator, defined once.

RTL, references, quantiser and fake-quantised torch modules all follow these functions. The scheme
is that of TFLite's int8 networks (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018), with a multiplier of 24 bits instead of
31 (``docs/numbers.md`` tells what comes of it).

All functions take and return numpy arrays or integers and compute in int64, which no intermediate
value exceeds: a 32-bit sum times a multiplier has 57 bits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
IntLike = int | npt.NDArray[np.integer]
BoolLike = bool | npt.NDArray[np.bool_]

MULTIPLIER_BITS = 25
"""Width of a signed multiplier: 24 bits of magnitude and a sign; fits the 25-bit port of a
DSP48."""
MAGNITUDE_BITS = MULTIPLIER_BITS - 1
SHIFT_BITS = 6
SHIFT_MIN, SHIFT_MAX = 1, 55
"""Beyond SHIFT_MAX, a multiplier of full magnitude takes every 32-bit sum to zero: smaller ones
lose nothing by sharing the largest shift."""
TWICE_SHIFT = 24
"""First of the two shifts of ``requantize_twice``, whatever the second is."""
TWICE_SHIFT_MIN = TWICE_SHIFT + 1
"""Least whole shift that can be rounded twice."""
INT8_MIN, INT8_MAX = -128, 127
WEIGHT_MIN, WEIGHT_MAX = -127, 127
"""Weights are symmetric: -128 would overflow the packed pair of a DSP48 (see ``hw/pe.py``)."""


def saturate(x: IntLike, low: IntLike, high: IntLike) -> IntArray:
    """Clamp to [low, high]."""
    return np.minimum(np.maximum(np.asarray(x, np.int64), low), high).astype(np.int64)


def wrap(x: IntLike, bits: int) -> IntArray:
    """Two's-complement wrap-around to ``bits`` bits: what an accumulator of that width holds."""
    half = 1 << (bits - 1)
    return (np.asarray(x, np.int64) + half) % (1 << bits) - half


def shift_round_half_up(x: IntLike, shift: IntLike) -> IntArray:
    """floor(x / 2**shift + 1/2) for shift >= 1: ties go towards plus infinity."""
    x = np.asarray(x, np.int64)
    return ((x >> (np.asarray(shift, np.int64) - 1)) + 1) >> 1


def requantize(
    acc: IntLike,
    multiplier: IntLike,
    shift: IntLike,
    zero_point: IntLike,
    twice: BoolLike = False,
) -> IntArray:
    """zero_point + round_half_up(acc * multiplier / 2**shift), not yet saturated; as
    ``requantize_twice`` where ``twice`` holds.

    ``acc`` is a 32-bit accumulator (bias included), ``multiplier`` fits MULTIPLIER_BITS signed and
    ``shift`` lies in [SHIFT_MIN, SHIFT_MAX]; multiplier, shift and ``twice`` broadcast along the
    channels.
    """
    product = np.asarray(acc, np.int64) * np.asarray(multiplier, np.int64)
    once = shift_round_half_up(product, shift) + np.asarray(zero_point, np.int64)
    if not np.any(twice):
        return once
    shift = np.where(twice, shift, TWICE_SHIFT_MIN)
    return np.where(twice, requantize_twice(acc, multiplier, shift, zero_point), once)


def requantize_twice(
    acc: IntLike, multiplier: IntLike, shift: IntLike, zero_point: IntLike
) -> IntArray:
    """acc * multiplier / 2**shift rounded twice, as the convolutions of TFLite round.

    h = round_half_up(acc * multiplier / 2**TWICE_SHIFT), then zero_point + h / 2**(shift -
    TWICE_SHIFT) with ties away from zero. ``shift`` lies in [TWICE_SHIFT_MIN, SHIFT_MAX].

    The two steps are gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT
    (https://github.com/google/gemmlowp, ``fixedpoint/fixedpoint.h``), with fewer bits in the
    multiplier.

    Raises
    ------
    ValueError
        A shift leaves no second step.
    """
    shift = np.asarray(shift, np.int64)
    if (shift < TWICE_SHIFT_MIN).any():
        raise ValueError(
            f"a shift of {int(shift.min())} cannot be rounded twice; the least is {TWICE_SHIFT_MIN}"
        )
    high = requantize(acc, multiplier, TWICE_SHIFT, 0)
    second = shift - TWICE_SHIFT
    half = np.left_shift(np.int64(1), second - 1)
    rounded: IntArray = (high + half - (high < 0)) >> second
    return rounded + np.asarray(zero_point, np.int64)


def add_requantized(
    a: IntLike,
    a_zero: int,
    a_multiplier: int,
    b: IntLike,
    b_zero: int,
    b_multiplier: int,
    shift: int,
    zero_point: int,
) -> IntArray:
    """zero_point + round_half_up((ma*(a - za) + mb*(b - zb)) / 2**shift): the residual add, not yet
    saturated.

    ``a`` and ``b`` are int8 values, both multipliers fit MULTIPLIER_BITS signed and share one
    shift.
    """
    total = a_multiplier * (np.asarray(a, np.int64) - a_zero) + b_multiplier * (
        np.asarray(b, np.int64) - b_zero
    )
    return shift_round_half_up(total, shift) + zero_point


def quantize_multiplier(real: float) -> tuple[int, int]:
    """The (multiplier, shift) nearest to ``real``: |multiplier| in [2**23, 2**24) wherever the
    shift allows.

    Raises
    ------
    ValueError
        ``real`` is not finite, or is too large for the smallest shift.
    """
    if not math.isfinite(real):
        raise ValueError(
            f"multiplier {real} is not finite; check the scales that it is the ratio of"
        )
    if real == 0.0:
        return 0, SHIFT_MIN
    mantissa, exponent = math.frexp(
        abs(real)
    )  # abs(real) = mantissa * 2**exponent, mantissa in [0.5, 1)
    limit = 1 << MAGNITUDE_BITS
    magnitude, shift = round(mantissa * limit), MAGNITUDE_BITS - exponent
    if magnitude == limit:
        magnitude, shift = limit // 2, shift - 1
    if shift < SHIFT_MIN:
        raise ValueError(
            f"multiplier {real} is above the largest, {limit - 1}/2**{SHIFT_MIN}; "
            "rescale the tensors"
        )
    if shift > SHIFT_MAX:
        magnitude, shift = int(shift_round_half_up(magnitude, shift - SHIFT_MAX)), SHIFT_MAX
    return (magnitude if real > 0 else -magnitude), shift


def quantize_multiplier_pair(a: float, b: float) -> tuple[int, int, int]:
    """(ma, mb, shift) with one shift for both, as the residual add needs: the larger keeps its full
    precision."""
    larger = a if abs(a) >= abs(b) else b
    if larger == 0.0:
        return 0, 0, SHIFT_MIN
    _, shift = quantize_multiplier(larger)
    scale = 2.0**shift
    limit = (1 << MAGNITUDE_BITS) - 1
    return (
        int(saturate(math.floor(a * scale + 0.5), -limit, limit)),
        int(saturate(math.floor(b * scale + 0.5), -limit, limit)),
        shift,
    )
