"""Rewrites keep what the network computes, and do what they are for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.frontend.passes import PASSES, simplify
from codesign.ir import Shape, Window
from codesign.quant.execute import execute

RNG = np.random.default_rng(5)


def build(shape: Shape, ops: Sequence[net.Op], outputs: tuple[str, ...] = ()) -> net.Network:
    """A network on input ``x`` that ends with the last operation's tensor."""
    shapes = {"x": shape}
    for op in ops:
        shapes[op.y] = net.output_shape(op, shapes)
    return net.Network("n", shapes, tuple(ops), ("x",), outputs or (ops[-1].y,))


def conv(name: str, x: str, y: str, inputs: int, outputs: int, window: Window) -> net.Conv2d:
    weight = RNG.standard_normal((outputs, inputs, *window.kernel)).astype(np.float32)
    return net.Conv2d(name, x, y, weight, RNG.standard_normal(outputs).astype(np.float32), window)


def check(network: net.Network) -> net.Network:
    """Every pass keeps the outputs; returns the simplified network."""
    net.verify(network)
    inputs = RNG.standard_normal((3, *network.shapes["x"])).astype(np.float32)
    expected = [execute(network, inputs)[name] for name in network.outputs]
    for one in PASSES:
        network = one(network)
        net.verify(network)
        for name, value in zip(network.outputs, expected, strict=True):
            np.testing.assert_allclose(execute(network, inputs)[name], value, 1e-4, 1e-5)
    return network


RELU = (0.0, math.inf)


def test_clamp_joins_its_producer() -> None:
    network = check(
        build(
            (2, 4, 4), [conv("c", "x", "a", 2, 3, Window((3, 3))), net.Clamp("r", "a", "b", *RELU)]
        )
    )
    (op,) = network.ops
    assert isinstance(op, net.Conv2d)
    assert (op.low, op.high) == RELU


def test_clamps_in_a_row_intersect_or_collapse() -> None:
    first, second = net.Clamp("r", "a", "b", 0.0, 6.0), net.Clamp("s", "b", "c", -3.0, -1.0)
    network = check(build((2, 4, 4), [conv("c", "x", "a", 2, 2, Window((1, 1))), first, second]))
    (op,) = network.ops
    assert isinstance(op, net.Conv2d)
    assert (op.low, op.high) == (-1.0, -1.0)


def test_clamp_of_a_shared_tensor_stays_a_function() -> None:
    ops = [
        conv("c", "x", "a", 2, 2, Window((1, 1))),
        net.Clamp("r", "a", "b", *RELU),
        net.Add("s", "a", "b", "y"),
    ]
    assert [type(op) for op in check(build((2, 4, 4), ops)).ops] == [net.Conv2d, net.Unary, net.Add]


def test_clamp_of_an_output_leaves_the_output_alone() -> None:
    ops = [conv("c", "x", "a", 2, 2, Window((1, 1))), net.Clamp("r", "a", "b", *RELU)]
    network = check(build((2, 4, 4), ops, ("a", "b")))
    assert [type(op) for op in network.ops] == [net.Conv2d, net.Unary]


def test_clamp_moves_before_a_max_pool() -> None:
    ops = [
        conv("c", "x", "a", 2, 2, Window((1, 1))),
        net.MaxPool2d("p", "a", "b", Window((3, 3), (2, 2), (1, 1, 1, 1))),
        net.Clamp("r", "b", "y", 0.5, 1.0),
    ]
    first, second = check(build((2, 5, 5), ops)).ops
    assert isinstance(first, net.Conv2d)
    assert isinstance(second, net.MaxPool2d)
    assert (first.low, first.high) == (0.5, 1.0)


def test_linear_behind_a_flatten_convolves_the_map() -> None:
    weight = RNG.standard_normal((4, 2 * 3 * 5)).astype(np.float32)
    ops = [
        net.Identity("d", "x", "a"),
        net.Flatten("f", "a", "b"),
        net.Linear("l", "b", "y", weight, np.zeros(4, np.float32)),
    ]
    (op,) = check(build((2, 3, 5), ops)).ops
    assert isinstance(op, net.Conv2d)
    assert op.window == Window((3, 5))


def test_flatten_at_the_end_stays() -> None:
    ops = [net.Flatten("f", "x", "a"), net.Clamp("r", "a", "y", *RELU)]
    assert [type(op) for op in check(build((2, 3, 5), ops)).ops] == [net.Unary, net.Flatten]


def test_pads_join_convolutions_and_pools_and_survive_before_others() -> None:
    ops = [
        net.Pad("p", "x", "a", (1, 0, 2, 0)),
        conv("c", "a", "b", 2, 2, Window((2, 2), padding=(1, 1, 1, 1))),
        net.Pad("q", "b", "d", (0, 1, 0, 1)),
        net.AvgPool2d("m", "d", "e", Window((2, 2))),
        net.Pad("t", "e", "f", (1, 1, 1, 1)),
        net.MaxPool2d("n", "f", "y", Window((2, 2))),
    ]
    network = check(build((2, 4, 4), ops))
    assert [type(op) for op in network.ops] == [
        net.Conv2d, net.AvgPool2d, net.AvgPool2d, net.MaxPool2d,
    ]  # fmt: skip
    assert network.ops[0].window.padding == (2, 1, 3, 1)  # type: ignore[union-attr]


STRIDES = [
    ((4, 4), Window((4, 4), (4, 4)), (1, 1)),
    ((4, 8), Window((4, 2), (4, 2)), (2, 2)),
    ((8, 4), Window((2, 4), (2, 4)), (2, 2)),
    ((5, 5), Window((4, 4), (4, 4)), (4, 4)),  # a stride of 1 would find a second position
    ((8, 8), Window((2, 2), (2, 2)), (2, 2)),
]


@pytest.mark.parametrize(("size", "window", "stride"), STRIDES)
def test_strides_that_say_nothing(
    size: tuple[int, int], window: Window, stride: tuple[int, int]
) -> None:
    (op,) = check(build((2, *size), [net.AvgPool2d("p", "x", "y", window)])).ops
    assert isinstance(op, net.AvgPool2d)
    assert op.window.stride == stride


def test_dead_operations_go() -> None:
    ops = [net.Clamp("r", "x", "a", *RELU), net.MaxPool2d("p", "x", "y", Window((2, 2)))]
    network = check(build((2, 4, 4), ops))
    assert [op.name for op in network.ops] == ["p"]
    assert set(network.shapes) == {"x", "y"}


BROKEN = [
    ({"shapes": {"x": (2, 4, 4), "y": (2, 3, 3)}}, "'r' produces (2, 4, 4), but 'y' is declared"),
    ({"inputs": ()}, "'r' reads 'x', which nothing before it produces"),
    ({"outputs": ("z",)}, "output 'z' is not produced"),
    ({"inputs": ("x", "y")}, "'r' writes 'y', which is already written"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[text for _, text in BROKEN])
def test_verifier(change: dict[str, object], message: str) -> None:
    network = build((2, 4, 4), [net.Clamp("r", "x", "y", *RELU)])
    broken = dataclasses.replace(network, **change)  # type: ignore[arg-type]
    with pytest.raises(GraphError) as error:
        simplify(broken)
    assert message in str(error.value)
