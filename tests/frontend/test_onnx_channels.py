"""Channels that ONNX models move: exactly as ONNX's reference, and rounded once where quantised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from codesign.errors import CodesignError
from codesign.frontend import network as net
from codesign.frontend.onnx import import_float, import_qdq
from codesign.frontend.onnx_file import from_proto
from codesign.frontend.passes import simplify
from codesign.quant.execute import execute
from codesign.quant.quantize import quantize_network
from codesign.quant.values import Coding
from codesign.reference import graph as reference
from tests.frontend.onnx_builder import Model

RNG = np.random.default_rng(21)
LAST = np.iinfo(np.int64).max


def random(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def three_parts(model: Model) -> None:
    a = model.add("Conv", random(3, 4, 1, 1))
    b = model.add("Sigmoid", inputs=["x"])
    model.add("Concat", b, "x", inputs=[a], axis=1)


def parts_of_a_split(model: Model, **options: Any) -> None:
    sizes = [] if options else [np.array([1, 3])]
    model.add("Split", *sizes, outputs=2, axis=1, **options)
    first, second = "t0", "t0_1"
    model.add("Concat", first, inputs=[second], axis=-3)


def whole_axes(model: Model) -> None:
    model.add("Slice", np.array([0, 1]), np.array([LAST, 3]), np.array([2, 1]), np.array([1, 1]))


def vectors(model: Model) -> None:
    model.add("GlobalAveragePool")
    x = model.add("Flatten")
    y = model.add("Gemm", random(4, 6))
    model.add("Concat", y, inputs=[x], axis=-1)


MOVES: dict[str, Callable[[Model], Any]] = {
    "concatenation": lambda m: m.add("Concat", "x", axis=1),
    "three parts": three_parts,
    "one part": lambda m: (m.add("Concat", axis=1), m.add("Relu")),
    "a split by sizes": parts_of_a_split,
    "a slice": whole_axes,
    "a slice backwards": lambda m: m.add(
        "Slice", np.array([-1]), np.array([-LAST]), np.array([1]), np.array([-2])
    ),
    "vectors": vectors,
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    model = Model(["N", 4, 5, 3])
    MOVES[name](model)
    rank = 2 if name == "vectors" else 4
    proto = model.proto(rank=rank)
    onnx.checker.check_model(proto)
    x = random(3, 4, 5, 3)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    network = import_float(from_proto(proto, "net"))
    for form in (network, simplify(network)):
        found = execute(form, x)[form.outputs[0]].reshape(expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_equal_parts() -> None:
    """ONNX leaves the smaller part to the end."""
    model = Model(["N", 5, 2, 2])
    model.add("Split", outputs=2, axis=1, num_outputs=2)
    network = import_float(from_proto(model.proto(["t0", "t0_1"], rank=4, opset=18), "net"))
    x = random(1, 5, 2, 2)
    values = execute(network, x)
    np.testing.assert_array_equal(values["t0"], x[:, :3])
    np.testing.assert_array_equal(values["t0_1"], x[:, 3:])


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_calibrated_copies_are_exact(method: Any) -> None:
    """Whatever the ranges of the parts, each value is rounded to the whole's scale once."""
    model = Model(["N", 4, 6, 6])
    three_parts(model)
    whole = model.last
    model.add("Slice", np.array([2]), np.array([8]), np.array([1]), inputs=[whole])
    network = import_float(from_proto(model.proto([whole, model.last], rank=4), "net"))
    x = random(8, 4, 6, 6)
    graph = quantize_network(network, x, 8, method)
    source = graph.tensors["x"]
    codes = reference.run(graph, {"x": Coding(source.scale, source.zero_point).encode(x)})
    taken = codes[graph.outputs[1]]
    np.testing.assert_array_equal(taken, codes[graph.outputs[0]][:, 2:8])
    joined = graph.tensors[graph.outputs[0]]
    coding = Coding(joined.scale, joined.zero_point)
    part = Coding(source.scale, source.zero_point).decode(codes["x"])
    difference = coding.encode(part).astype(int) - codes[graph.outputs[0]][:, 7:]
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


def test_quantised_parts_of_different_scales() -> None:
    model = Model(["N", 4, 6, 6])
    x = model.quantized(0.0211, 120)
    model.add("Sigmoid")
    y = model.quantized(1 / 256, 0)
    model.add("Concat", x, y, inputs=[x], axis=1)
    model.quantized(0.0257, 110)
    model.add("Split", outputs=2, axis=1)
    first, second = model.nodes[-1].output
    model.add("Add", second, inputs=[first])
    model.quantized(0.0319, 100)
    proto = model.proto(rank=4)
    graph = import_qdq(from_proto(proto, "net"), 3).graph
    values = random(3, 4, 6, 6)
    (expected,) = ReferenceEvaluator(model.proto(rank=4, opset=19)).run(None, {"x": values})
    encoded = Coding(np.float32(0.0211), -8).encode(values)
    found = reference.run(graph, {"x": encoded})[graph.outputs[0]]
    steps = np.round(expected / np.float32(0.0319)) + 100 - 128
    assert np.abs(steps - found).max() <= 1
    assert (steps != found).mean() < 0.02


def test_a_product_of_codes_of_one_tensor_is_a_table() -> None:
    """x * sigmoid(x), as static quantisation codes it: rounded as often, and nothing left of it."""
    model = Model(["N", 4, 6, 6])
    x = model.quantized(0.02, 120)
    model.add("Sigmoid")
    model.quantized(1 / 256, 0)
    model.add("Mul", x)
    model.quantized(0.015, 20)
    graph = import_qdq(from_proto(model.proto(rank=4), "net"), 3).graph
    assert len(graph.ops) == 1
    values = random(3, 4, 6, 6)
    (expected,) = ReferenceEvaluator(model.proto(rank=4, opset=19)).run(None, {"x": values})
    found = reference.run(graph, {"x": Coding(0.02, -8).encode(values)})[graph.outputs[0]]
    steps = np.round(expected / np.float32(0.015)) + 20 - 128
    assert np.abs(steps - found).max() <= 1
    assert (steps != found).mean() < 0.01


REFUSED: dict[str, tuple[Callable[[Model], Any], str]] = {
    "along lines": (
        lambda m: m.add("Concat", "x", axis=2), r"Concat node .*along axis 2 of 4; .*\(axis 1\)",
    ),
    "maps of other extents": (
        lambda m: (m.add("MaxPool", kernel_shape=[2, 2]), m.add("Concat", "x", axis=1)),
        r"Concat node .*joins \[\[4, 4, 2\], \[4, 5, 3\]\]",
    ),
    "a constant part": (
        lambda m: m.add("Concat", random(1, 4, 5, 3), axis=1), "Concat node .*is constant; join",
    ),
    "sizes that do not add up": (
        lambda m: m.add("Split", np.array([1, 2]), outputs=2, axis=1),
        r"Split node .*splits 4 channels into \[1, 2\]",
    ),
    "lines of a map": (
        lambda m: m.add("Slice", np.array([1]), np.array([3]), np.array([2])),
        r"Slice node .*slices of channels \(axis 1\) are accepted",
    ),
    "computed bounds": (
        lambda m: m.add("Slice", "x", np.array([3]), np.array([1])), "must be a constant",
    ),
    "a slope for each channel": (
        lambda m: m.add("PRelu", random(4, 1, 1)), r"PRelu node .*4 slopes.*num_parameters=1",
    ),
    "a cast to integers": (
        lambda m: m.add("Cast", to=onnx.TensorProto.INT8), "Cast node .*casts to INT8; leave it",
    ),
    "the larger of two tensors": (
        lambda m: (m.add("Conv", random(4, 4, 1, 1)), m.add("Max", "x")),
        "Max node .*of several tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    build, match = REFUSED[name]
    model = Model(["N", 4, 5, 3])
    build(model)
    with pytest.raises(CodesignError, match=match):
        import_float(from_proto(model.proto(rank=4), "net"))


def test_functions_that_exporters_write() -> None:
    model = Model(["N", 4, 5, 3])
    model.add("Cast", to=onnx.TensorProto.FLOAT)
    model.add("PRelu", np.full((1, 1), 0.3, np.float32))
    model.add("Max", np.float32(-0.2))
    model.constants["two"] = np.float32(2)
    model.add("Min", inputs=["two", model.last])
    proto = model.proto(rank=4)
    network = import_float(from_proto(proto, "net"))
    x = 3 * random(2, 4, 5, 3)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(execute(network, x)[network.outputs[0]], expected, rtol=1e-6)
    (op,) = simplify(network).ops
    assert isinstance(op, net.Unary)
