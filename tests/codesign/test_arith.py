"""Integer arithmetic against exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import arith
from codesign.arith import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN

EXACT = settings(max_examples=300)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT8 = st.integers(-128, 127)
LIMIT = 1 << (MULTIPLIER_BITS - 1)
MULTIPLIERS = st.integers(-LIMIT, LIMIT - 1)
SHIFTS = st.integers(SHIFT_MIN, SHIFT_MAX)


def half_up(value):
    return math.floor(value + Fraction(1, 2))


@EXACT
@given(INT32, MULTIPLIERS, SHIFTS, INT8)
def test_requantize(acc, multiplier, shift, zero):
    expected = zero + half_up(Fraction(acc * multiplier, 1 << shift))
    assert arith.requantize(acc, multiplier, shift, zero) == expected
    array = arith.requantize(np.array([acc], np.int32), np.array([multiplier]), shift, zero)
    assert array.tolist() == [expected]


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
@given(st.floats(2.0**-30, 2.0**15), st.booleans())
def test_quantize_multiplier_is_within_half_a_unit_of_17_bits(real, negative):
    multiplier, shift = arith.quantize_multiplier(-real if negative else real)
    assert (multiplier < 0) == negative
    assert 1 << 16 <= abs(multiplier) < 1 << 17
    assert SHIFT_MIN <= shift <= SHIFT_MAX
    error = abs(Fraction(abs(multiplier), 1 << shift) - Fraction(real))
    assert error <= Fraction(1, 1 << (shift + 1))


@EXACT
@given(st.floats(0, 2.0**-31))
def test_small_multipliers_keep_the_largest_shift(real):
    multiplier, shift = arith.quantize_multiplier(real)
    error = abs(Fraction(multiplier, 1 << shift) - Fraction(real))
    assert error <= Fraction(1, 1 << SHIFT_MAX)


def test_multipliers_that_cannot_be():
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"multiplier {value} is not finite"):
            arith.quantize_multiplier(value)
    with pytest.raises(ValueError, match=r"65536\.0 is above the largest, 131071/2"):
        arith.quantize_multiplier(65536.0)
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
