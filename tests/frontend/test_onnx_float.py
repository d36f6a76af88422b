"""Float ONNX models compute what ONNX's reference says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from codesign.frontend import network as net
from codesign.frontend.network import Network
from codesign.frontend.onnx import import_float, load_onnx
from codesign.frontend.onnx_file import from_proto
from codesign.frontend.passes import simplify
from codesign.quant.execute import execute
from codesign.quant.quantize import quantize_network
from tests.frontend.onnx_builder import Model

RNG = np.random.default_rng(11)
Array = np.ndarray[Any, Any]


def random(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def imported(model: Model, outputs: Sequence[str] | None = None, rank: int = 2) -> Network:
    proto = model.proto(outputs, rank=rank)
    onnx.checker.check_model(proto)
    return import_float(from_proto(proto, "net"))


def check(model: Model, rank: int = 4, batch: int = 3) -> Network:
    """The network, before and after simplification, against ONNX's reference."""
    network = imported(model, rank=rank)
    x = random(batch, *network.shapes["x"]).reshape(
        batch, *(dim.dim_value for dim in model.inputs[0].type.tensor_type.shape.dim[1:])
    )
    (expected,) = ReferenceEvaluator(model.proto(rank=rank)).run(None, {"x": x})
    for form in (network, simplify(network)):
        found = execute(form, x)[form.outputs[0]].reshape(np.shape(expected))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return network


def windows() -> dict[str, Callable[[Model], object]]:
    def conv(kernel: int = 3, group: int = 1, outputs: int = 8, **options: Any) -> Any:
        return lambda m: m.add(
            "Conv", random(outputs, 4 // group, kernel, kernel), random(outputs), group=group,
            **options,
        )  # fmt: skip

    def pool(kind: str, **options: Any) -> Any:
        return lambda m: m.add(kind, **options)

    two = {"kernel_shape": [2, 2], "strides": [2, 2]}
    three = {"kernel_shape": [3, 3], "strides": [2, 2]}
    return {
        "conv": conv(),
        "pads": conv(pads=[1, 0, 2, 1]),
        "same upper": conv(auto_pad="SAME_UPPER", strides=[2, 2]),
        "same lower": conv(auto_pad="SAME_LOWER", strides=[2, 2]),
        "dilated": conv(dilations=[2, 1], pads=[2, 1, 2, 1]),
        "depthwise": conv(group=4),
        "grouped": conv(group=2),
        "max": pool("MaxPool", **two),
        "max padded": pool("MaxPool", **three, pads=[1, 1, 1, 1]),
        "max ceil": pool("MaxPool", **three, ceil_mode=1),
        "average": pool("AveragePool", **two),
        "average counted": pool("AveragePool", **three, pads=[1, 1, 1, 1], count_include_pad=1),
        "average of the map": pool("AveragePool", **three, pads=[1, 0, 1, 2]),
        "average ceil": pool("AveragePool", **three, ceil_mode=1),
        "average same": pool("AveragePool", **three, auto_pad="SAME_UPPER"),
        "global average": pool("GlobalAveragePool"),
        "global max": pool("GlobalMaxPool"),
        "mean": pool("ReduceMean", axes=[2, 3]),
        "mean of columns": pool("ReduceMean", axes=[-1]),
        "pad": lambda m: m.add("Pad", np.array([0, 0, 1, 2, 0, 0, 0, 1])),
    }


@pytest.mark.parametrize("counted", [0, 1])
def test_dilated_means(counted: int) -> None:
    """Of opset 19."""
    model = Model(["N", 4, 8, 8])
    model.add("AveragePool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 1, 1, 1],
              count_include_pad=counted)  # fmt: skip
    proto, x = model.proto(rank=4, opset=19), random(1, 4, 8, 8)
    network = import_float(from_proto(proto, "net"))
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    found = execute(network, x)[network.outputs[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", windows())
def test_windows(name: str) -> None:
    model = Model(["N", 4, 8, 8])
    windows()[name](model)
    check(model)


FUNCTIONS: dict[str, Callable[[Model], object]] = {
    "relu": lambda m: m.add("Relu"),
    "clip": lambda m: m.add("Clip", np.float32(-0.5), np.float32(6)),
    "clip from below": lambda m: m.add("Clip", np.float32(-0.5)),
    "clip from above": lambda m: m.add("Clip", "", np.float32(0.5)),
    "leaky": lambda m: m.add("LeakyRelu", alpha=0.2),
    "elu": lambda m: m.add("Elu", alpha=0.7),
    "sigmoid": lambda m: m.add("Sigmoid"),
    "tanh": lambda m: m.add("Tanh"),
    "hard sigmoid": lambda m: m.add("HardSigmoid", alpha=0.25, beta=0.4),
    "softplus": lambda m: m.add("Softplus"),
    "swish": lambda m: (m.add("Sigmoid"), m.add("Mul", "x")),
    "hard swish by parts": lambda m: (
        m.add("Add", np.float32(3)), m.add("Clip", np.float32(0), np.float32(6)),
        m.add("Mul", "x"), m.add("Div", np.float32(6)),
    ),
    "twice": lambda m: m.add("Add", "x"),
    "identity": lambda m: (m.add("Identity"), m.add("Dropout"), m.add("Relu")),
    "add a constant per channel": lambda m: m.add("Add", random(1, 4, 1, 1)),
    "subtract from a constant": lambda m: _from(m),
    "multiply by a constant": lambda m: m.add("Mul", random(4, 1, 1)),
    "divide by a number": lambda m: m.add("Div", np.float32(3)),
}  # fmt: skip


def _from(model: Model) -> str:
    model.constants["k"] = random(4, 1, 1)
    return model.add("Sub", inputs=["k", model.last])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    model = Model(["N", 4, 3, 5])
    FUNCTIONS[name](model)
    check(model)


def test_hard_swish_is_one_function() -> None:
    model = Model(["N", 4, 3, 5])
    FUNCTIONS["hard swish by parts"](model)
    (op,) = simplify(imported(model, rank=4)).ops
    assert isinstance(op, net.Unary)


def test_batch_normalisation_joins_its_convolution() -> None:
    model = Model(["N", 4, 6, 6])
    weight = random(8, 4, 3, 3)
    gamma, beta, mean, variance = random(8), random(8), random(8), np.abs(random(8)) + 0.1
    model.add("Conv", weight)
    plain = model.last
    model.add("BatchNormalization", gamma, beta, mean, variance, epsilon=1e-3)
    network = imported(model, [plain, model.last], rank=4)
    values = execute(network, random(2, 4, 6, 6))
    scaled = (values[plain] - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-3)
    expected = scaled * gamma[:, None, None] + beta[:, None, None]
    np.testing.assert_allclose(values[model.last], expected, rtol=1e-4, atol=1e-4)
    (op,) = simplify(imported(model, rank=4)).ops
    assert isinstance(op, net.Conv2d)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    model = Model(["N", 12])
    weight = random(5, 12) if transposed else random(12, 5)
    model.add("Gemm", weight, random(5), transB=transposed)
    check(model, 2)


def test_matmul_and_its_bias() -> None:
    model = Model(["N", 12])
    model.add("MatMul", random(12, 5))
    model.add("Add", random(5))
    assert len(simplify(check(model, 2)).ops) == 1


FLATTENS: dict[str, Callable[[Model], object]] = {
    "Flatten": lambda m: m.add("Flatten"),
    "Reshape": lambda m: m.add("Reshape", np.array([-1, 48])),
    "Reshape keeping the batch": lambda m: m.add("Reshape", np.array([0, -1])),
    "by Shape": lambda m: _by_shape(m),
}


def _by_shape(model: Model) -> None:
    """As torch exports x.view(x.size(0), -1)."""
    before = model.last
    model.add("Shape")
    model.add("Gather", np.array(0))
    model.add("Unsqueeze", np.array([0]))
    batch = model.last
    model.constants["rest"] = np.array([-1])
    shape = model.add("Concat", inputs=[batch, "rest"], axis=0)
    model.add("Reshape", inputs=[before, shape])


@pytest.mark.parametrize("name", FLATTENS)
def test_flattening(name: str) -> None:
    model = Model(["N", 3, 4, 4])
    model.add("Relu")
    FLATTENS[name](model)
    model.add("Gemm", random(7, 48), random(7), transB=1)
    network = check(model, 2)
    assert [type(op) for op in simplify(network).ops][-1] is net.Conv2d


def test_dropped_extents_of_one() -> None:
    model = Model([2, 3, 4, 4])
    model.add("GlobalAveragePool")
    model.add("Squeeze", np.array([2, 3]))
    model.add("Unsqueeze", np.array([2, 3]))
    model.add("Relu")
    assert imported(model, rank=4).shapes[model.last] == (3, 1, 1)
    check(model, 4, 2)


def test_residual() -> None:
    model = Model(["N", 4, 5, 5])
    first = model.add("Conv", random(4, 4, 3, 3), pads=[1, 1, 1, 1])
    model.add("Relu")
    model.add("Conv", random(4, 4, 1, 1))
    model.add("Sub", first)
    model.add("Relu")
    network = check(model)
    (add,) = [op for op in simplify(network).ops if isinstance(op, net.Add)]
    assert (add.b_factor, add.low) == (-1.0, 0.0)


def test_weights_that_are_computed_from_constants() -> None:
    model = Model(["N", 4, 5, 5])
    weight = random(6, 4, 1, 1)
    model.constants["raw"] = weight
    folded = model.add("Mul", np.float32(2), inputs=["raw"])
    model.add("Conv", inputs=["x", folded])
    (op,) = check(model).ops
    assert isinstance(op, net.Conv2d)
    np.testing.assert_array_equal(op.weight, 2 * weight)


def test_a_file_is_quantised(tmp_path: Any) -> None:
    model = Model(["N", 3, 8, 8])
    model.add("Conv", random(4, 3, 3, 3), random(4))
    model.add("HardSigmoid")
    model.add("GlobalAveragePool")
    onnx.save(model.proto(rank=4), tmp_path / "small.onnx")
    network = load_onnx(tmp_path / "small.onnx")
    assert network.name == "small"
    assert network.origin["conv0"] == "Conv node 'conv0'"
    graph = quantize_network(network, random(8, 3, 8, 8))
    assert graph.tensors[graph.outputs[0]].shape == (4, 1, 1)
