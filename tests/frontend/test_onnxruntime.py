"""Models of ONNX Runtime's static quantiser give what ONNX Runtime gives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from codesign.frontend.onnx import import_float, load_qdq
from codesign.frontend.onnx_file import from_proto
from codesign.frontend.onnx_pointwise import FUNCTIONS
from codesign.quant.execute import execute
from codesign.quant.values import Coding
from codesign.reference import graph as reference
from tests.frontend.onnx_builder import Model

runtime = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")

SHAPE = (3, 12, 12)
BATCH = 32
FUNCTION_OPSET = 20
"""The oldest that has all of ``FUNCTIONS``."""


def network(random: np.random.Generator) -> onnx.ModelProto:
    """Every kind of layer: plain, depthwise, pointwise and strided convolutions, a residual sum."""

    def weights(*shape: int) -> Any:
        fan = np.prod(shape[1:]) if len(shape) > 1 else 10
        return (random.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    model = Model(["N", *SHAPE])
    model.add("Conv", weights(8, 3, 3, 3), weights(8), pads=[1, 1, 1, 1])
    first = model.add("Relu")
    model.add("Conv", weights(8, 1, 3, 3), weights(8), pads=[1, 1, 1, 1], group=8)
    model.add("Clip", np.float32(0), np.float32(6))
    model.add("Conv", weights(8, 8, 1, 1), weights(8))
    model.add("Add", first)
    model.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    model.add("Sigmoid")
    model.add("Conv", weights(12, 8, 3, 3), weights(12), strides=[2, 2], auto_pad="SAME_UPPER")
    model.add("LeakyRelu", alpha=0.1)
    model.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    model.add("Flatten")
    model.add("Gemm", weights(10, 48), weights(10), transB=1)
    return model.proto()


def session(proto: onnx.ModelProto) -> Any:
    """Without fusions: QDQ nodes are computed as they are written."""
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime.InferenceSession(proto.SerializeToString(), options)


def quantised(folder: Path, random: np.random.Generator, **options: Any) -> Path:
    samples = random.standard_normal((20, 1, *SHAPE)).astype(np.float32)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples: Iterator[Any] = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self.samples, None)
            return None if sample is None else {"x": sample}

    onnx.save(network(random), folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        weight_type=quantization.QuantType.QInt8, **options,
    )  # fmt: skip
    return folder / "int8.onnx"


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("activation", ["QUInt8", "QInt8"])
def test_static_quantisation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, per_channel: bool, symmetric: bool,
    activation: str,
) -> None:  # fmt: skip
    random = np.random.default_rng(5)
    with caplog.at_level(logging.ERROR):  # it advises preprocessing
        path = quantised(
            tmp_path, random, per_channel=per_channel,
            activation_type=getattr(quantization.QuantType, activation),
            extra_options={"ActivationSymmetric": symmetric},
        )  # fmt: skip
    graph = load_qdq(path, BATCH).graph
    x = random.standard_normal((BATCH, *SHAPE)).astype(np.float32)
    (expected,) = session(onnx.load(path)).run(None, {"x": x})
    source, result = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    encoded = Coding(source.scale, source.zero_point).encode(x)
    found = reference.run(graph, {graph.inputs[0]: encoded})[graph.outputs[0]].reshape(BATCH, -1)
    steps = np.round(expected / result.scale) + result.zero_point
    difference = np.abs(steps - found)
    assert (difference <= 1).mean() >= 0.99
    assert difference.max() <= 2


@pytest.mark.parametrize("kind", sorted(FUNCTIONS))
def test_functions(kind: str) -> None:
    model = Model(["N", 3, 4, 4])
    model.add(kind)
    proto = model.proto(opset=FUNCTION_OPSET, rank=4)
    x = (3 * np.random.default_rng(6).standard_normal((2, 3, 4, 4))).astype(np.float32)
    (expected,) = session(proto).run(None, {"x": x})
    made = import_float(from_proto(proto, "net"))
    np.testing.assert_allclose(execute(made, x)[made.outputs[0]], expected, rtol=1e-5, atol=1e-5)


def test_batch_normalisation() -> None:
    random = np.random.default_rng(7)
    model = Model(["N", 3, 4, 4])
    parameters = random.uniform(0.5, 2, (4, 3)).astype(np.float32)
    model.add("BatchNormalization", *parameters, epsilon=1e-3)
    proto = model.proto(rank=4)
    x = random.standard_normal((2, 3, 4, 4)).astype(np.float32)
    (expected,) = session(proto).run(None, {"x": x})
    made = import_float(from_proto(proto, "net"))
    np.testing.assert_allclose(execute(made, x)[made.outputs[0]], expected, rtol=1e-5, atol=1e-5)
