"""Means of TFLite files round as LiteRT's do."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.reference import graph as graph_reference
from tests.frontend.test_tflite_ops import imported
from tests.frontend.tflite_builder import PADDING, Model, pool

RANDOM = np.random.default_rng(12)


def test_halves_of_an_average_go_away_from_zero() -> None:
    """LiteRT's AveragePool: (sum - n/2) / n towards zero, of codes below zero."""
    coding = {"scale": 0.1, "zero": -128}
    model = Model()
    x = model.input((1, 8, 8, 4), **coding)
    options = pool((2, 2), (2, 2))
    model.outputs = [model.op("AVERAGE_POOL_2D", [x], (1, 4, 4, 4), options, **coding)]
    graph = imported(model).graph
    values = RANDOM.integers(-128, 1, (1, 4, 8, 8)).astype(np.int8)
    found = graph_reference.run(graph, {graph.inputs[0]: values})[graph.outputs[0]]
    sums = values.reshape(1, 4, 4, 2, 4, 2).sum(axis=(3, 5), dtype=np.int64)
    assert (sums % 4 == 2).any()
    np.testing.assert_array_equal(found, -((2 - sums) // 4))


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((2, 5), 3)])
def test_padding_of_an_average_is_left_out(kernel: tuple[int, int], stride: int) -> None:
    """LiteRT divides by the pixels that lie in the map."""
    coding = {"scale": 0.1, "zero": -128}
    out = -(-7 // stride)
    model = Model()
    x = model.input((1, 7, 7, 4), **coding)
    options = pool(kernel, (stride, stride), PADDING.SAME)
    model.outputs = [model.op("AVERAGE_POOL_2D", [x], (1, out, out, 4), options, **coding)]
    graph = imported(model).graph
    values = RANDOM.integers(-128, 1, (1, 4, 7, 7)).astype(np.int8)
    found = graph_reference.run(graph, {graph.inputs[0]: values})[graph.outputs[0]]
    before = [max((out - 1) * stride + k - 7, 0) // 2 for k in kernel]
    for y, x in np.ndindex(out, out):
        rows, columns = (
            slice(max(0, at * stride - pad), max(0, at * stride - pad + k))
            for at, pad, k in zip((y, x), before, kernel, strict=True)
        )
        seen = values[0, :, rows, columns].reshape(4, -1).astype(np.int64)
        count = seen.shape[1]
        expected = -((count // 2 - seen.sum(axis=1)) // count)
        np.testing.assert_array_equal(found[0, :, y, x], expected, err_msg=f"{y}, {x}")
