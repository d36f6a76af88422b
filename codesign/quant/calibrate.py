"""Ranges of every tensor of a float network over calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from codesign.errors import GraphError
from codesign.frontend.network import Network
from codesign.quant.execute import Values, execute
from codesign.quant.values import coding

Method = Literal["minmax", "percentile", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")
_BINS = 2048
_CANDIDATES = 80
_CHUNK = 64


@dataclass(frozen=True)
class Calibration:
    """(low, high) of each tensor, and how they were found."""

    ranges: Mapping[str, tuple[float, float]]
    method: Method
    samples: int


def calibrate(
    network: Network,
    inputs: npt.NDArray[np.float32],
    method: Method = "minmax",
    percentile: float = 99.99,
) -> Calibration:
    """Run the network over ``inputs`` [K, C, H, W] and choose the range of every tensor.

    Parameters
    ----------
    method:
        ``minmax``: all that occurred. ``percentile``: cut what lies outside the central
        ``percentile`` per cent, half of it on each side. ``mse``: of ranges shrunk towards zero,
        the one whose int8 codes have the least mean squared error. R. Banner, Y. Nahshan,
        D. Soudry, "Post training 4-bit quantization of convolutional networks for
        rapid-deployment", NeurIPS 2019, find it for assumed distributions; here the histogram is
        searched.
    percentile:
        Between 50 and 100, for ``percentile`` alone.
    """
    if method not in METHODS:
        raise ValueError(
            f"calibration method {method!r} is unknown; choose one of {', '.join(METHODS)}"
        )
    if not 50.0 <= percentile <= 100.0:
        raise ValueError(f"percentile {percentile} is outside 50..100; 99.99 is a good start")
    if not len(inputs):
        raise ValueError("calibration needs at least one input")
    extremes = _extremes(network, inputs)
    if method == "minmax":
        return Calibration(extremes, method, len(inputs))
    ranges = {}
    for name, counts in _histograms(network, inputs, extremes).items():
        low, high = extremes[name]
        edges = np.linspace(low, high, _BINS + 1)
        if low == high:
            ranges[name] = (low, high)
        elif method == "percentile":
            ranges[name] = _central(counts, edges, percentile)
        else:
            ranges[name] = _least_error(counts, edges)
    return Calibration(ranges, method, len(inputs))


def _chunks(network: Network, inputs: npt.NDArray[np.float32]) -> Iterator[Values]:
    for start in range(0, len(inputs), _CHUNK):
        yield execute(network, inputs[start : start + _CHUNK])


def _extremes(network: Network, inputs: npt.NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    ranges: dict[str, tuple[float, float]] = {}
    for values in _chunks(network, inputs):
        for name, value in values.items():
            if not np.isfinite(value).all():
                operation = network.producer(name)
                where = f"operation {operation.name!r}" if operation else "the calibration input"
                raise GraphError(
                    f"{where} has values that are not finite; calibrate on inputs it is defined for"
                )
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return ranges


def _histograms(
    network: Network, inputs: npt.NDArray[np.float32], extremes: Mapping[str, tuple[float, float]]
) -> dict[str, npt.NDArray[np.int64]]:
    counts = {name: np.zeros(_BINS, np.int64) for name in extremes}
    for values in _chunks(network, inputs):
        for name, value in values.items():
            low, high = extremes[name]
            if low < high:
                counts[name] += np.histogram(value, _BINS, (low, high))[0]
    return counts


def _central(
    counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float64], percentile: float
) -> tuple[float, float]:
    """The range that holds the central share, to a bin's width, never smaller."""
    outside = counts.sum() * (1.0 - percentile / 100.0) / 2.0
    low = int(np.searchsorted(np.cumsum(counts), outside, side="right"))
    high = _BINS - int(np.searchsorted(np.cumsum(counts[::-1]), outside, side="right"))
    low, high = min(low, _BINS - 1), max(high, 1)
    return float(edges[low]), float(edges[max(high, low + 1)])


def _least_error(
    counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float64]
) -> tuple[float, float]:
    centres = (edges[:-1] + edges[1:]) / 2
    low, high = float(edges[0]), float(edges[-1])
    best, best_error = (low, high), np.inf
    for step in range(_CANDIDATES):
        keep = 1.0 - step / _CANDIDATES
        candidate = coding(low * keep, high * keep)
        error = float(counts @ (candidate.decode(candidate.encode(centres)) - centres) ** 2)
        if error < best_error:
            best, best_error = (low * keep, high * keep), error
    return best
