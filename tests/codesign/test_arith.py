"""Integer arithmetic against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import arith
from codesign.arith import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN, TWICE_SHIFT_MIN

EXACT = settings(max_examples=300)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT8 = st.integers(-128, 127)
LIMIT = 1 << (MULTIPLIER_BITS - 1)
MULTIPLIERS = st.integers(-LIMIT, LIMIT - 1)
SHIFTS = st.integers(SHIFT_MIN, SHIFT_MAX)
TWICE_SHIFTS = st.integers(TWICE_SHIFT_MIN, SHIFT_MAX)


def half_up(value):
    return math.floor(value + Fraction(1, 2))


@EXACT
@given(INT32, MULTIPLIERS, SHIFTS, INT8)
def test_requantize(acc, multiplier, shift, zero):
    expected = zero + half_up(Fraction(acc * multiplier, 1 << shift))
    assert arith.requantize(acc, multiplier, shift, zero) == expected
    array = arith.requantize(np.array([acc], np.int32), np.array([multiplier]), shift, zero)
    assert array.tolist() == [expected]


def high_mul(a, b):
    """gemmlowp's SaturatingRoundingDoublingHighMul, on integers: C++ divides towards zero."""
    if a == b == -(1 << 31):
        return (1 << 31) - 1
    nudge = 1 << 30 if a * b >= 0 else 1 - (1 << 30)
    return math.trunc(Fraction(a * b + nudge, 1 << 31))


def divide_by_power(x, exponent):
    """gemmlowp's RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def away_from_zero(value):
    return math.floor(value + Fraction(1, 2)) if value >= 0 else math.ceil(value - Fraction(1, 2))


@EXACT
@given(INT32, st.integers(1 - LIMIT, LIMIT - 1), TWICE_SHIFTS, INT8)
def test_requantize_twice_is_gemmlowps(acc, multiplier, shift, zero):
    """A multiplier of 24 bits is one of 31 whose last 7 are zero."""
    expected = zero + divide_by_power(high_mul(acc, multiplier << 7), shift - 24)
    assert arith.requantize_twice(acc, multiplier, shift, zero) == expected
    high = half_up(Fraction(acc * multiplier, 1 << 24))
    assert expected == zero + away_from_zero(Fraction(high, 1 << (shift - 24)))


@EXACT
@given(st.integers(-600, 600), st.integers(1, 20), st.integers(-1, 1), st.booleans())
def test_ties_of_both_roundings(half_steps, second, off, below):
    """Around every half step of the result, and half a step of the first rounding beside it."""
    high = (half_steps << (second - 1)) + off
    acc, shift = 2 * high - below, 24 + second
    expected = away_from_zero(Fraction(high, 1 << second))  # half a step below is rounded up
    assert arith.requantize_twice(acc, 1 << 23, shift, 0) == expected


def test_channels_choose_their_rounding():
    twice = np.array([True, False, True, False])
    shifts = np.array([26, 26, 25, 3])
    found = arith.requantize(np.full(4, -12), 1 << 23, shifts, 7, twice)
    # -12 * 2**23 / 2**26 = -1.5 goes away from zero, or up; / 2**25 = -3
    assert found[:3].tolist() == [5, 6, 4]
    assert found[3] == 7 - 12 * (1 << 20)
    assert arith.requantize(-12, 1 << 23, 26, 7, twice=True) == 5
    with pytest.raises(ValueError, match="a shift of 24 cannot be rounded twice; the least is 25"):
        arith.requantize(np.zeros(2, int), 1 << 23, np.array([25, 24]), 0, np.array([True, True]))


def test_a_convolution_is_litert_s_but_for_the_multiplier_s_last_bits():
    """LiteRT's factor has 31 bits: int8 results differ by a step, in less than 1 of 10,000."""
    rng = np.random.default_rng(5)
    different = count = 0
    for real in rng.uniform(2.0**-14, 2.0**-5, 40):
        multiplier, shift = arith.quantize_multiplier(real)
        mantissa, exponent = math.frexp(real)
        accs = rng.integers(-math.floor(128 / real), math.floor(128 / real), 1000)
        found = arith.requantize_twice(accs, multiplier, shift, 0)
        factor = math.floor(mantissa * (1 << 31) + 0.5)
        litert = [divide_by_power(high_mul(int(acc), factor), -exponent) for acc in accs]
        distance = np.abs(found - litert)
        assert distance.max() <= 1
        different += int(distance.sum())
        count += len(accs)
    assert different <= count / 10_000


@EXACT
@given(INT8, INT8, MULTIPLIERS, INT8, INT8, MULTIPLIERS, SHIFTS, INT8)
def test_add_requantized(a, za, ma, b, zb, mb, shift, zero):
    total = ma * (a - za) + mb * (b - zb)
    expected = zero + half_up(Fraction(total, 1 << shift))
    assert arith.add_requantized(a, za, ma, b, zb, mb, shift, zero) == expected


def test_ties_go_up():
    halves = np.array([-3, -1, 1, 3])
    assert arith.shift_round_half_up(halves, 1).tolist() == [-1, 0, 1, 2]


@EXACT
@given(st.integers(-(1 << 60), 1 << 60), st.integers(2, 40))
def test_wrap(value, bits):
    wrapped = int(arith.wrap(value, bits))
    assert -(1 << (bits - 1)) <= wrapped < 1 << (bits - 1)
    assert (wrapped - value) % (1 << bits) == 0


@EXACT
@given(INT32, INT8, INT8)
def test_saturate(value, one, other):
    low, high = min(one, other), max(one, other)
    assert arith.saturate(value, low, high) == sorted((low, value, high))[1]


@EXACT
@given(st.floats(2.0**-31, 2.0**22), st.booleans())
def test_quantize_multiplier_is_within_half_a_unit_of_24_bits(real, negative):
    multiplier, shift = arith.quantize_multiplier(-real if negative else real)
    assert (multiplier < 0) == negative
    assert 1 << 23 <= abs(multiplier) < 1 << 24
    assert SHIFT_MIN <= shift <= SHIFT_MAX
    error = abs(Fraction(abs(multiplier), 1 << shift) - Fraction(real))
    assert error <= Fraction(1, 1 << (shift + 1))


@EXACT
@given(st.floats(0, 2.0**-31), INT32)
def test_small_multipliers_keep_the_largest_shift(real, acc):
    multiplier, shift = arith.quantize_multiplier(real)
    error = abs(Fraction(multiplier, 1 << shift) - Fraction(real))
    assert error <= Fraction(1, 1 << SHIFT_MAX)
    assert abs(arith.requantize(acc, multiplier, shift, 0)) <= 1
    if real < 2.0**-33:  # no sum is large enough for half a step: nothing is lost
        assert arith.requantize(acc, multiplier, shift, 0) == 0


def test_multipliers_that_cannot_be():
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"multiplier {value} is not finite"):
            arith.quantize_multiplier(value)
    with pytest.raises(ValueError, match=r"8388608\.0 is above the largest, 16777215/2"):
        arith.quantize_multiplier(8388608.0)
    assert arith.quantize_multiplier(0.0) == (0, SHIFT_MIN)


@EXACT
@given(
    st.floats(-(2.0**15), 2.0**15, allow_subnormal=False),
    st.floats(-(2.0**15), 2.0**15, allow_subnormal=False),
)
def test_a_pair_shares_its_shift(a, b):
    ma, mb, shift = arith.quantize_multiplier_pair(a, b)
    for real, multiplier in ((a, ma), (b, mb)):
        assert abs(multiplier) < LIMIT
        error = abs(Fraction(multiplier, 1 << shift) - Fraction(real))
        assert error <= Fraction(1, 1 << shift)
