"""The fast execution equals the reference in every bit, whatever the network."""

import dataclasses

import numpy as np
import pytest

from codesign import ir
from codesign.arith import TWICE_SHIFT_MIN
from codesign.frontend.torch_export import from_module
from codesign.quant import fast
from codesign.quant.accuracy import accuracy, run_graph
from codesign.quant.quantize import quantize_network
from codesign.reference import graph as reference
from codesign.zoo.demo import small_network
from codesign.zoo.resnet8 import resnet8
from tests.compiler.builder import Builder
from tests.compiler.networks import random_layer, random_network

SAMPLES = 40
"""More than one chunk, the last not full."""


def samples(graph: ir.Graph, seed: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(-128, 128, (count, *graph.tensors[name].shape)).astype(np.int8)
        for name in graph.inputs
    }


def check(graph: ir.Graph, seed: int = 0, count: int = SAMPLES) -> None:
    inputs = samples(graph, seed, count)
    expected = reference.run(dataclasses.replace(graph, batch=count), inputs)
    found = fast.run(graph, inputs)
    assert set(found) == set(graph.outputs)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name])


def slow_operations(graph: ir.Graph) -> list[str]:
    """Those that are left to the reference."""
    return [op.name for op in graph.ops if fast.step(graph, op).slow]


@pytest.mark.parametrize("seed", range(60))
def test_random_layers_are_exact(seed: int) -> None:
    check(random_layer(seed), seed, 7)


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_are_exact(seed: int) -> None:
    check(random_network(seed), seed, 7)


@pytest.mark.parametrize("make", [resnet8, small_network])
def test_networks_of_the_zoo_are_exact_and_all_fast(make) -> None:
    model, example = make()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(SAMPLES, *example.shape[1:])).astype(np.float32)
    graph = quantize_network(from_module(model, example), images)
    check(graph)
    assert not slow_operations(graph)
    labels = rng.integers(0, 10, SAMPLES)
    assert fast.evaluate(graph, images, labels) == accuracy(run_graph(graph, images), labels)


def test_sums_beyond_float32_are_exact() -> None:
    """All weights and values as large as can be: 521 input channels break the bound, so that
    parts of them are summed, and a kernel of 33 by 33 breaks it for each."""
    for channels, kernel, slow in (
        (520, 1, False),
        (521, 1, False),
        (1600, 1, False),
        (2, 33, True),
    ):
        b = Builder(np.random.default_rng(channels))
        x = b.input((channels, kernel, kernel))
        y = b.conv(x, 3, (kernel, kernel), padding=(0,) * 4)
        graph = b.graph(y)
        (op,) = graph.ops
        tensors = {**graph.tensors, x: dataclasses.replace(graph.tensors[x], zero_point=-128)}
        weight = np.full_like(op.weight, 127)
        weight[:, ::2] -= 1  # odd sums
        op = dataclasses.replace(op, weight=weight, bias=np.array([1, -1, 0], np.int32))
        graph = dataclasses.replace(graph, tensors=tensors, ops=(op,))
        assert bool(slow_operations(graph)) == slow, channels
        inputs = samples(graph, 0, 5)
        inputs[x][0] = 127
        expected = reference.run(dataclasses.replace(graph, batch=5), inputs)[y]
        np.testing.assert_array_equal(fast.run(graph, inputs)[y], expected)


@pytest.mark.parametrize("seed", range(8))
def test_rounding_twice_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    b = Builder(rng)
    graph = b.graph(b.conv(b.input((5, 6, 7)), 9))
    (op,) = graph.ops
    shift = rng.integers(TWICE_SHIFT_MIN - 3, 40, 9).astype(np.int32)
    op = dataclasses.replace(
        op, twice=True, shift=shift, bias=rng.integers(-5000, 5000, 9).astype(np.int32)
    )
    graph = dataclasses.replace(graph, ops=(op,))
    check(graph, seed)
    assert not slow_operations(graph)


@pytest.mark.parametrize("shift", [1, 24, 47, 52, 53, 54, 55])
def test_every_shift_is_exact(shift: int) -> None:
    b = Builder(np.random.default_rng(shift))
    x, other = b.input((4, 3, 3)), b.input((4, 3, 3))
    graph = b.graph(b.add(b.conv(x, 4), other))
    conv, add = graph.ops
    conv = dataclasses.replace(conv, shift=np.full(4, shift, np.int32))
    add = dataclasses.replace(add, shift=shift)
    check(dataclasses.replace(graph, ops=(conv, add)))


def test_accuracy_is_of_one_output() -> None:
    graph = random_layer(1)
    two = dataclasses.replace(graph, outputs=(*graph.outputs, graph.inputs[0]))
    with pytest.raises(ValueError, match="2 outputs; accuracy is that of one"):
        fast.evaluate(two, np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.int64))


def test_images_of_another_shape_are_refused() -> None:
    """Channels last, as many frameworks have them, would otherwise be taken for other images."""
    model, example = resnet8()
    graph = quantize_network(from_module(model, example), example.numpy())
    images, labels = np.zeros((2, 32, 32, 3), np.float32), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r"has shape \(2, 32, 32, 3\); .* takes \[K, 3, 32, 32\]"):
        fast.evaluate(graph, images, labels)
    with pytest.raises(ValueError, match="K of 1 or more"):
        fast.evaluate(graph, np.zeros((0, 3, 32, 32), np.float32), labels[:0])
    with pytest.raises(TypeError, match="has type float32; quantise it"):
        fast.run(graph, {graph.inputs[0]: np.zeros((1, 3, 32, 32), np.float32)})  # type: ignore[dict-item]
