"""QDQ models keep their own scales, and give what ONNX's reference gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from codesign import ir
from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend.onnx import ClampedWeightsWarning, Imported, import_qdq
from codesign.frontend.onnx_file import from_proto
from codesign.quant.values import Coding
from codesign.reference import graph as reference
from tests.frontend.onnx_builder import Model

RNG = np.random.default_rng(12)
BATCH = 4


def codes(*shape: int) -> npt.NDArray[np.int8]:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def imported(model: Model, batch: int = 1, rank: int = 4) -> Imported:
    proto = model.proto(rank=rank)
    onnx.checker.check_model(proto)
    return import_qdq(from_proto(proto, "net"), batch)


def check(model: Model, scale: float, rank: int = 4) -> ir.Graph:
    """At least 99 % of the values are within one step, none further than two."""
    graph = imported(model, BATCH, rank).graph
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert result.scale == np.float32(scale)
    x = RNG.standard_normal((BATCH, *source.shape)).astype(np.float32)
    given = x.reshape(BATCH, *source.shape[: len(model.inputs[0].type.tensor_type.shape.dim) - 1])
    (expected,) = ReferenceEvaluator(model.proto(rank=rank, opset=19)).run(None, {"x": given})
    encoded = Coding(source.scale, source.zero_point).encode(x)
    found = reference.run(graph, {graph.inputs[0]: encoded})[graph.outputs[0]]
    steps = np.round(np.asarray(expected, np.float64) / result.scale) + result.zero_point
    difference = np.abs(steps.reshape(found.shape) - found)
    assert (difference <= 1).mean() >= 0.99
    assert difference.max() <= 2
    assert np.ptp(found.astype(int)) > 20, "the values must differ"
    return graph


def conv(
    model: Model, outputs: int, inputs: int, kernel: int = 3, per_channel: bool = True,
    dtype: Any = np.int8, **options: Any,
) -> str:  # fmt: skip
    weight = codes(outputs, inputs, kernel, kernel)
    scale = RNG.uniform(0.002, 0.004, outputs if per_channel else ())
    offset = 128 if dtype == np.uint8 else 0
    w = model.dequantized(
        (weight.astype(int) + offset).astype(dtype), scale, np.full(scale.shape, offset)
    ) if per_channel or offset else model.dequantized(weight, scale)  # fmt: skip
    b = model.dequantized(RNG.integers(-4000, 4000, outputs).astype(np.int32), 0.02 * scale)
    return model.add("Conv", w, b, **options)


@pytest.mark.parametrize(("dtype", "zero"), [(np.uint8, 120), (np.int8, -8)])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", [None, "Relu", "Clip"])
def test_convolution(dtype: Any, zero: int, per_channel: bool, activation: str | None) -> None:
    model = Model(["N", 3, 8, 8])
    model.quantized(0.02, zero, dtype)
    conv(model, 6, 3, per_channel=per_channel, pads=[1, 1, 1, 1], strides=[2, 2])
    if activation == "Relu":
        model.add("Relu")
    elif activation:
        model.add("Clip", np.float32(-0.5), np.float32(1))
    model.quantized(0.03, zero, dtype)
    graph = check(model, 0.03)
    (op,) = graph.ops
    assert isinstance(op, ir.Conv2d)
    shift = 128 if dtype == np.uint8 else 0
    assert graph.tensors["x"].zero_point == zero - shift
    assert op.low == (-128 if activation is None else zero - shift - 17 * (activation == "Clip"))
    np.testing.assert_array_equal(op.weight, model.constants[weights(model)[0]])


def weights(model: Model) -> list[str]:
    """Names of constants of four dimensions."""
    return [name for name, value in model.constants.items() if value.ndim == 4]


def test_unsigned_weights_with_their_zero_in_the_middle() -> None:
    model = Model(["N", 3, 8, 8])
    model.quantized(0.02, 128)
    conv(model, 4, 3, dtype=np.uint8)
    model.quantized(0.03, 128)
    (op,) = check(model, 0.03).ops
    assert isinstance(op, ir.Conv2d)
    stored = model.constants[weights(model)[0]].astype(int)
    np.testing.assert_array_equal(op.weight, stored - 128)


def test_a_network() -> None:
    model = Model(["N", 3, 8, 8])
    model.quantized(0.02, 131)
    conv(model, 8, 3, pads=[1, 1, 1, 1])
    model.add("Relu")
    first = model.quantized(0.02, 0)
    conv(model, 8, 1, pads=[1, 1, 1, 1], group=8)
    model.quantized(0.02, 128)
    model.add("Add", first)
    model.quantized(0.03, 100)
    model.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    model.quantized(0.03, 100)
    model.add("Sigmoid")
    model.quantized(1 / 256, 0)
    model.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    model.quantized(1 / 200, 0)
    model.add("Flatten")
    model.quantized(1 / 200, 0)
    w = model.dequantized(codes(72, 10), RNG.uniform(0.002, 0.004, 10), axis=1)
    model.add("Gemm", w, RNG.standard_normal(10).astype(np.float32))
    model.quantized(0.04, 128)
    graph = check(model, 0.04, rank=2)
    assert [type(op) for op in graph.ops] == [
        ir.Conv2d, ir.Conv2d, ir.Add, ir.MaxPool2d, ir.Table, ir.AvgPool2d, ir.Conv2d,
    ]  # fmt: skip


def test_an_activation_behind_a_coded_convolution_is_not_merged() -> None:
    model = Model(["N", 3, 6, 6])
    model.quantized(0.02, 0, np.int8)
    conv(model, 4, 3)
    model.quantized(0.005, 0, np.int8)  # saturates
    model.add("Relu")
    model.quantized(0.02, -128, np.int8)
    graph = check(model, 0.02)
    assert [type(op) for op in graph.ops] == [ir.Conv2d, ir.Table]


def test_coding_again_is_a_table() -> None:
    model = Model(["N", 3, 6, 6])
    model.quantized(0.02, 0, np.int8)
    model.add("MaxPool", kernel_shape=[2, 2])
    model.quantized(0.03, 5, np.int8)
    assert [type(op) for op in check(model, 0.03).ops] == [ir.MaxPool2d, ir.Table]


def test_padding_and_numbers() -> None:
    model = Model(["N", 3, 6, 6])
    model.quantized(0.02, 7, np.int8)
    model.add("Pad", np.array([0, 0, 1, 1, 0, 0, 0, 2]))
    model.quantized(0.02, 7, np.int8)
    conv(model, 4, 3)
    model.quantized(0.03, -3, np.int8)
    model.add("Mul", model.dequantized(np.int8(100), 0.01))
    model.quantized(0.03, -3, np.int8)
    graph = check(model, 0.03)
    assert [type(op) for op in graph.ops] == [ir.Conv2d, ir.Table]


def test_batch_normalisation_scales_its_convolution() -> None:
    """Codes stay, a negative factor turns their signs; one that is zero leaves the offset."""
    model = Model(["N", 3, 8, 8])
    model.quantized(0.02, 128)
    conv(model, 4, 3, per_channel=False)
    factor = np.array([2, -1.5, 0, 0.3], np.float32)
    variance = np.full(4, 1 - 1e-5, np.float32)
    offset = np.array([0.5, 1, -2, 0], np.float32)
    model.add("BatchNormalization", factor, offset, np.zeros(4, np.float32), variance)
    model.quantized(0.05, 100)
    (op,) = check(model, 0.05).ops
    assert isinstance(op, ir.Conv2d)
    expected = model.constants[weights(model)[0]] * np.array([1, -1, 0, 1])[:, None, None, None]
    np.testing.assert_array_equal(op.weight, expected)


def test_a_factor_and_an_offset_for_each_channel() -> None:
    """As static quantisation codes them: constants of one scale, asymmetric too."""
    model = Model(["N", 3, 8, 8])
    model.quantized(0.0213, 120)
    model.add("Mul", model.dequantized(np.array([[[200]], [[20]], [[90]]], np.uint8), 0.0107, 40))
    model.quantized(0.0371, 117)
    model.add("Add", model.dequantized(np.array([[[[3]], [[-90]], [[50]]]], np.int8), 0.0103, 8))
    model.quantized(0.0397, 111)
    graph = check(model, 0.0397)
    assert [type(op) for op in graph.ops] == [ir.Conv2d, ir.Conv2d]
    assert all(isinstance(op, ir.Conv2d) and op.groups == 3 for op in graph.ops)


def test_codes_in_and_out_and_softmax_on_the_host() -> None:
    model = Model(["N", 12], TensorProto.UINT8)
    parameters = (np.float32(0.02), np.array(130, np.uint8))
    model.add("DequantizeLinear", *parameters)
    model.add("Gemm", model.dequantized(codes(5, 12), 0.01), transB=1)
    model.quantized(0.03, 128)
    model.add("Softmax", axis=-1)
    model.quantized(1 / 256, 0)
    made = imported(model, rank=2)
    assert made.graph.tensors["x"].zero_point == 2
    (step,) = made.host_steps
    assert (step.op, step.tensor, step.parameters) == (
        "softmax", made.graph.outputs[0], {"beta": 1.0},
    )  # fmt: skip


def test_least_weights_are_clamped_and_counted() -> None:
    model = Model(["N", 3, 4, 4])
    model.quantized(0.02, 0, np.int8)
    weight = codes(2, 3, 1, 1)
    weight[0, :2] = -128
    model.add("Conv", model.dequantized(weight, 0.01))
    model.quantized(0.03, 0, np.int8)
    with pytest.warns(ClampedWeightsWarning, match="2 weights of -128 .* 2 in Conv node"):
        graph = imported(model).graph
    (op,) = graph.ops
    assert isinstance(op, ir.Conv2d)
    np.testing.assert_array_equal(op.weight, np.maximum(weight, -127))


def test_codes_that_are_read_as_they_are() -> None:
    model = Model(["N", 3, 6, 6], TensorProto.INT8)
    model.add("MaxPool", kernel_shape=[2, 2])
    refused(model, UnsupportedOpError, "it reads codes; put a DequantizeLinear before it")


# --- refusals ----------------------------------------------------------------------------------
def refused(model: Model, error: type[Exception], match: str, rank: int = 4) -> None:
    with pytest.raises(error, match=match):
        imported(model, rank=rank)


def begun() -> Model:
    model = Model(["N", 3, 6, 6])
    model.quantized(0.02, 0, np.int8)
    return model


def test_asymmetric_weights() -> None:
    model = begun()
    model.add("Conv", model.dequantized(codes(2, 3, 1, 1), 0.01, 3))
    model.quantized(0.03, 0, np.int8)
    refused(model, UnsupportedOpError, r"Conv node 'conv3'.*asymmetric \(zero point 3\).*QInt8")


def test_weights_that_are_not_quantised() -> None:
    model = begun()
    model.add("Conv", np.ones((2, 3, 1, 1), np.float32))
    model.quantized(0.03, 0, np.int8)
    refused(model, UnsupportedOpError, "weights 'c2_0' are not quantised; quantise every layer")


def test_scales_along_the_wrong_axis() -> None:
    model = begun()
    model.add("Conv", model.dequantized(codes(2, 3, 1, 1), [0.1, 0.2, 0.3], axis=1))
    model.quantized(0.03, 0, np.int8)
    refused(model, UnsupportedOpError, "several scales in one output channel")


def test_a_result_without_codes() -> None:
    model = begun()
    conv(model, 4, 3)
    model.add("Sigmoid")
    model.quantized(0.01, 0, np.int8)
    refused(model, GraphError, "Conv node 'conv4': its result 't4' is not quantised")


def test_a_tensor_read_both_ways() -> None:
    model = begun()
    real = conv(model, 4, 3)
    model.quantized(0.03, 0, np.int8)
    model.add("Add", real)
    model.quantized(0.03, 0, np.int8)
    refused(model, UnsupportedOpError, "Add node .* reads 't4' unquantised, others read its codes")


def test_wide_codes() -> None:
    model = Model(["N", 3, 6, 6])
    parameters = (np.float32(0.01), np.array(0, np.int16))
    model.add("QuantizeLinear", *parameters)
    model.add("DequantizeLinear", *parameters)
    model.add("Relu")
    with pytest.raises(UnsupportedOpError, match="its codes are int16; int8 and uint8"):
        import_qdq(from_proto(model.proto(opset=21), "net"))


def test_another_scale_at_the_other_side() -> None:
    model = Model(["N", 3, 6, 6])
    model.add("QuantizeLinear", np.float32(0.01), np.int8(0))
    model.add("DequantizeLinear", np.float32(0.02), np.int8(0))
    refused(model, UnsupportedOpError, "another scale or zero point")


def test_scales_that_are_not_positive() -> None:
    model = Model(["N", 3, 6, 6])
    model.quantized(0.0, 0, np.int8)
    refused(model, GraphError, "QuantizeLinear node .*its scale 0.0 is not positive")


def test_softmax_in_the_middle() -> None:
    model = Model(["N", 6])
    model.quantized(0.02, 0, np.int8)
    model.add("Gemm", model.dequantized(codes(6, 6), 0.01))
    model.quantized(0.02, 0, np.int8)
    model.add("Softmax", axis=1)
    model.quantized(0.02, 0, np.int8)
    model.add("Relu")
    model.quantized(0.02, 0, np.int8)
    refused(model, UnsupportedOpError, "reads the result of softmax, which runs on the host", 2)
