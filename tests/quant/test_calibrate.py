"""Calibration methods find the ranges that they promise."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.quant.calibrate import METHODS, Method, calibrate
from codesign.quant.values import coding

SHAPE = (2, 5, 5)
RNG = np.random.default_rng(2)


def logarithm(x: net.FloatArray) -> net.FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(x)


RELU = net.Clamp("relu", "x", "y", 0.0, math.inf)
NETWORK = net.Network("n", {"x": SHAPE, "y": SHAPE}, (RELU,), ("x",), ("y",))
LOGARITHM = net.Network(
    "n", NETWORK.shapes, (net.Unary("log", "x", "y", logarithm),), ("x",), ("y",)
)


def normal(count: int = 200) -> net.FloatArray:
    return RNG.standard_normal((count, *SHAPE)).astype(np.float32)


def test_minmax_over_all_chunks() -> None:
    data = normal()
    data[0, 0, 0, 0], data[-1, 0, 0, 0] = -9.0, 8.0
    ranges = calibrate(NETWORK, data).ranges
    assert ranges == {"x": (-9.0, 8.0), "y": (0.0, 8.0)}


def test_percentile_cuts_outliers_on_both_sides() -> None:
    data = normal()
    data[0, 0, 0, 0], data[1, 0, 0, 0] = -50.0, 50.0
    low, high = calibrate(NETWORK, data, "percentile", 99.0).ranges["x"]
    expected = np.percentile(data, [0.5, 99.5])
    np.testing.assert_allclose((low, high), expected, atol=2 * 100 / 2048)


def test_percentile_of_a_hundred_is_minmax() -> None:
    data = normal()
    cut, full = calibrate(NETWORK, data, "percentile", 100.0), calibrate(NETWORK, data)
    for name in NETWORK.shapes:
        np.testing.assert_allclose(cut.ranges[name], full.ranges[name], rtol=1e-6)


def test_mse_has_no_larger_error_than_minmax_and_cuts_a_rare_outlier() -> None:
    data = normal()
    data[0, 0, 0, 0] = 20.0
    errors = {}
    for method in METHODS:
        code = coding(*calibrate(NETWORK, data, method).ranges["x"])
        errors[method] = float(((code.decode(code.encode(data)) - data) ** 2).mean())
    assert errors["mse"] <= 1.001 * min(errors.values())
    data = RNG.laplace(size=(2000, *SHAPE)).astype(np.float32)
    low, high = calibrate(NETWORK, data, "mse").ranges["x"]
    assert high - low < 0.95 * (data.max() - data.min())


@pytest.mark.parametrize("method", METHODS)
def test_constant_tensors(method: Method) -> None:
    data = np.full((3, *SHAPE), -2.0, np.float32)
    assert calibrate(NETWORK, data, method).ranges == {"x": (-2.0, -2.0), "y": (0.0, 0.0)}


def test_refusals() -> None:
    message = "calibration method 'best' is unknown; choose one of minmax, percentile, mse"
    with pytest.raises(ValueError, match=re.escape(message)):
        calibrate(NETWORK, normal(2), "best")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=re.escape("percentile 1.0 is outside 50..100")):
        calibrate(NETWORK, normal(2), "percentile", 1.0)
    with pytest.raises(ValueError, match="at least one input"):
        calibrate(NETWORK, normal(0))
    with pytest.raises(ValueError, match=re.escape("the network takes [B, 2, 5, 5]")):
        calibrate(NETWORK, normal(2)[:, :1])


def test_values_that_are_not_finite() -> None:
    with pytest.raises(GraphError, match="operation 'log' has values that are not finite"):
        calibrate(LOGARITHM, normal(2))
    data = normal(2)
    data[0, 0, 0, 0] = np.nan
    with pytest.raises(GraphError, match="the calibration input has values that are not finite"):
        calibrate(NETWORK, data)
