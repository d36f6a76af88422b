"""Codings represent zero exactly and saturate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.quant.values import CODES, Coding, coding

FLOATS = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(FLOATS, FLOATS)
def test_ranges_are_covered_to_half_a_step_and_zero_is_exact(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    code = coding(low, high)
    assert code.decode(code.encode(0.0)) == 0.0
    for value in (low, high):
        assert abs(float(code.decode(code.encode(value))) - value) <= 0.51 * code.scale + 1e-6


@given(FLOATS, FLOATS)
def test_codes_survive_decoding(a: float, b: float) -> None:
    code = coding(min(a, b), max(a, b))
    np.testing.assert_array_equal(code.encode(code.decode(CODES)), CODES)


def test_encoding_rounds_ties_upwards_and_saturates() -> None:
    code = Coding(2.0, 3)
    values = [0.9, 1.0, -1.0, -1.1, 1e30, -1e30, math.inf, -math.inf, math.nan]
    np.testing.assert_array_equal(code.encode(values), [3, 4, 3, 2, 127, -128, 127, -128, 3])


def test_bounds() -> None:
    code = Coding(0.5, -128)
    assert [code.bound(v) for v in (-math.inf, 0.0, 6.0, 1e9, math.inf)] == [
        -128, -128, -116, 127, 127,
    ]  # fmt: skip


def test_constant_zero_has_a_coding() -> None:
    assert coding(0.0, 0.0) == Coding(1.0, 0)


def test_infinite_range() -> None:
    with pytest.raises(ValueError, match=r"the range 0\.0\.\.inf is not finite"):
        coding(0.0, math.inf)
