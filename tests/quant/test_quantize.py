"""Operations of the quantised graph, one by one, against the float network."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codesign import ir
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.quant.accuracy import run_graph
from codesign.quant.calibrate import calibrate
from codesign.quant.execute import run
from codesign.quant.operations import BIAS_LIMIT, weight_scales
from codesign.quant.quantize import quantize, quantize_network
from codesign.quant.values import Coding
from codesign.reference import graph as reference

RNG = np.random.default_rng(11)


def single(op: net.Op, shape: ir.Shape) -> net.Network:
    """A network of one operation from ``x`` to ``y``."""
    return net.Network(
        "n", {"x": shape, "y": net.output_shape(op, {"x": shape})}, (op,), ("x",), ("y",)
    )


def inputs(shape: ir.Shape, count: int = 32) -> net.FloatArray:
    return RNG.standard_normal((count, *shape)).astype(np.float32)


def conv(weight: net.FloatArray, bias: net.FloatArray, **changes: object) -> net.Conv2d:
    height, width = weight.shape[2:]
    op = net.Conv2d("c", "x", "y", weight, bias, ir.Window((height, width)))
    return dataclasses.replace(op, **changes)  # type: ignore[arg-type]


def error_in_steps(network: net.Network, data: net.FloatArray) -> float:
    """Largest difference of graph and float network on ``data``, in steps of the output."""
    graph = quantize_network(network, data)
    expected = run(network, data)["y"]
    return float(np.abs(run_graph(graph, data) - expected).max() / graph.tensors["y"].scale)


@st.composite
def windows(draw: st.DrawFn) -> tuple[ir.Window, ir.Shape]:
    """A window and the shape of a map that it fits."""
    extents = st.integers(1, 4)
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    window = ir.Window(
        draw(st.tuples(extents, extents)), draw(st.sampled_from([(1, 1), (2, 2)])), padding,
        draw(st.sampled_from([(1, 1), (2, 1)])),
    )  # fmt: skip
    shape = (2 * draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    assume(min(window.output_size(*shape[1:])) >= 1)
    return window, shape


@settings(max_examples=30)
@given(windows(), st.sampled_from(["dense", "grouped", "depthwise"]), st.integers(0, 99))
def test_convolutions(case: tuple[ir.Window, ir.Shape], kind: str, seed: int) -> None:
    window, shape = case
    groups = {"dense": 1, "grouped": 2, "depthwise": shape[0]}[kind]
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((2 * groups, shape[0] // groups, *window.kernel))
    bias = generator.standard_normal(2 * groups)
    op = conv(
        weight.astype(np.float32), bias.astype(np.float32), window=window, groups=groups, low=0.0
    )
    network = single(op, shape)
    data = generator.standard_normal((8, *shape)).astype(np.float32)
    graph = quantize_network(network, data)
    x, y = graph.tensors["x"], graph.tensors["y"]
    # half a step of every input times its weight, half a step of every weight times its input
    terms = np.abs(weight).reshape(len(weight), -1)
    bound = (terms.sum(1) * x.scale / 2).max()
    bound += (np.abs(data).max() + x.scale) * (terms.max(1) / 254 * terms.shape[1]).max()
    error = np.abs(run_graph(graph, data) - run(network, data)["y"]).max()
    assert error <= bound + 0.6 * y.scale


@settings(max_examples=30)
@given(windows())
def test_pools(case: tuple[ir.Window, ir.Shape]) -> None:
    window, shape = case
    plain = dataclasses.replace(window, dilation=(1, 1))
    assume(min(plain.output_size(*shape[1:])) >= 1)
    average = single(net.AvgPool2d("p", "x", "y", plain, 0.0, 1.0), shape)
    data = RNG.standard_normal((4, *shape)).astype(np.float32)
    graph = quantize_network(average, data)
    error = np.abs(run_graph(graph, data) - run(average, data)["y"]).max()
    assert error <= 0.51 * (graph.tensors["x"].scale + graph.tensors["y"].scale)


def test_max_pool_shares_its_inputs_coding() -> None:
    network = single(net.MaxPool2d("p", "x", "y", ir.Window((2, 2), (2, 2))), (2, 6, 6))
    data = inputs((2, 6, 6))
    graph = quantize_network(network, data)
    x, y = graph.tensors["x"], graph.tensors["y"]
    assert (x.scale, x.zero_point) == (y.scale, y.zero_point)
    assert error_in_steps(network, data) <= 0.51


@pytest.mark.parametrize("factors", [(1.0, 1.0), (1.0, -1.0), (0.25, 3.0)])
def test_add(factors: tuple[float, float]) -> None:
    shape = (2, 4, 4)
    half = net.Unary("half", "x", "h", lambda x: np.sin(3 * x))
    add = net.Add("a", "x", "h", "y", *factors)
    shapes = {"x": shape, "h": shape, "y": shape}
    network = net.Network("n", shapes, (half, add), ("x",), ("y",))
    data = inputs(shape)
    graph = quantize_network(network, data)
    x, h, y = (graph.tensors[name].scale / 2 for name in ("x", "h", "y"))
    bound = abs(factors[0]) * x + abs(factors[1]) * (3 * x + h) + 1.1 * y  # sine's slope is 3
    assert np.abs(run_graph(graph, data) - run(network, data)["y"]).max() <= bound


def test_relu_and_relu6_bounds() -> None:
    weight, bias = np.full((1, 1, 1, 1), 4.0, np.float32), np.zeros(1, np.float32)
    for low, high in ((0.0, math.inf), (0.0, 6.0)):
        network = single(conv(weight, bias, low=low, high=high), (1, 4, 4))
        graph = quantize_network(network, inputs((1, 4, 4)))
        (op,) = graph.ops
        assert isinstance(op, ir.Conv2d)
        y = graph.tensors["y"]
        assert op.low == y.zero_point == -128
        assert op.high == 127
        assert y.scale == pytest.approx(
            min(high, run(network, inputs((1, 4, 4)))["y"].max()) / 255, 0.5
        )


def test_bounds_inside_the_range() -> None:
    clamped = net.Clamp("c", "x", "h", 0.0, 2.0)  # x itself reaches beyond
    shapes = {"x": (1, 4, 4), "h": (1, 4, 4), "y": (1, 4, 4)}
    add = net.Add("a", "x", "h", "y")
    graph = quantize_network(
        net.Network("n", shapes, (clamped, add), ("x",), ("y",)), inputs((1, 4, 4), 200)
    )
    table = graph.ops[0]
    assert isinstance(table, ir.Table)
    x, h = graph.tensors["x"], graph.tensors["h"]
    real = Coding(x.scale, x.zero_point).decode(np.arange(-128, 128))
    expected = Coding(h.scale, h.zero_point).encode(np.clip(real, 0.0, 2.0))
    np.testing.assert_array_equal(table.table, expected)


def test_tables_saturate_where_a_function_is_not_finite() -> None:
    def reciprocal(x: net.FloatArray) -> net.FloatArray:
        with np.errstate(divide="ignore"):
            return (1 / x).astype(np.float32)

    network = single(net.Unary("inv", "x", "y", reciprocal), (1, 2, 2))
    data = np.linspace(0.5, 4.0, 32, dtype=np.float32).reshape(8, 1, 2, 2)
    (table,) = quantize_network(network, data).ops
    assert isinstance(table, ir.Table)
    assert table.table[0] == 127  # the code of zero: 1/0 is infinite


def test_dead_channels_have_sane_scales() -> None:
    weight = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    weight[1], weight[2] = 0.0, 1e-30
    bias = np.array([0.1, 0.5, -3.0, 0.0], np.float32)
    network = single(conv(weight, bias), (2, 6, 6))
    data = inputs((2, 6, 6))
    graph = quantize_network(network, data)
    (op,) = graph.ops
    assert isinstance(op, ir.Conv2d)
    assert np.abs(op.bias).max() <= BIAS_LIMIT
    assert (op.multiplier >= 1 << 16).all()
    assert not op.weight[1:3].any()
    error = np.abs(run_graph(graph, data) - run(network, data)["y"])[:, 1:3]
    assert error.max() <= 0.51 * graph.tensors["y"].scale


def test_all_zero_layer() -> None:
    network = single(conv(np.zeros((3, 2, 1, 1), np.float32), np.zeros(3, np.float32)), (2, 3, 3))
    data = inputs((2, 3, 3))
    np.testing.assert_array_equal(run_graph(quantize_network(network, data), data), 0.0)


@given(st.floats(1e-20, 1e20), st.floats(1e-10, 1e10), st.floats(1e-10, 1e10), st.floats(0, 1e20))
def test_biases_fit_whatever_the_scales(w: float, sx: float, sy: float, bias: float) -> None:
    scales = weight_scales(np.full((1, 1), w), np.array([bias]), Coding(sx, 0), Coding(sy, 0))
    assert bias / (sx * scales[0]) <= BIAS_LIMIT * (1 + 1e-9)
    assert w / scales[0] <= 127 * (1 + 1e-9)


def test_origin_batch_and_names() -> None:
    network = single(net.MaxPool2d("p", "x", "y", ir.Window((2, 2))), (2, 6, 6))
    network = dataclasses.replace(network, origin={"p": "block.p (MaxPool2d), a.py:3"})
    graph = quantize_network(network, inputs((2, 6, 6)), batch=5)
    assert graph.batch == 5
    assert graph.origin == {"p": "block.p (MaxPool2d), a.py:3"}
    assert reference.run(graph, {"x": np.zeros((5, 2, 6, 6), np.int8)})["y"].shape == (5, 2, 5, 5)


def test_refusals() -> None:
    network = single(net.Clamp("r", "x", "y", 0.0, 1.0), (1, 2, 2))
    calibration = calibrate(network, inputs((1, 2, 2)))
    with pytest.raises(GraphError, match="'r' is a Clamp; simplify the network"):
        quantize(network, calibration)
    other = dataclasses.replace(calibration, ranges={"x": (0.0, 1.0)})
    with pytest.raises(GraphError, match="no range for tensor 'y'; calibrate this very network"):
        quantize(network, other)


def test_scales_out_of_proportion_name_the_operation() -> None:
    weight = np.full((1, 1, 1, 1), 1e6, np.float32)
    network = single(conv(weight, np.zeros(1, np.float32)), (1, 2, 2))
    calibration = dataclasses.replace(
        calibrate(network, inputs((1, 2, 2))), ranges={"x": (-1.0, 1.0), "y": (0.0, 1e-3)}
    )
    message = re.escape("'c' (no origin): multiplier")
    with pytest.raises(GraphError, match=message):
        quantize(network, calibration)
