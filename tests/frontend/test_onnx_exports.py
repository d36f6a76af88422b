"""Models as torch's exporters write them, and as ONNX Runtime's static quantiser makes of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from codesign.arch import preset
from codesign.cli.compare import compare
from codesign.cli.golden import load_subject
from codesign.compiler import compile as compile_graph
from codesign.frontend.onnx import load_onnx, load_qdq
from codesign.frontend.onnx_golden import tensors
from codesign.quant.execute import execute
from codesign.quant.quantize import quantize_network
from tests.compiler.execution import check

runtime = pytest.importorskip("onnxruntime")
quantization = pytest.importorskip("onnxruntime.quantization")

DATA = Path(__file__).parent / "data"
NAMES = [
    f"{network}_{exporter}"
    for network in ("mixed", "residual", "inverted")
    for exporter in ("dynamo", "script")
]
SIZE = 32
ARCH = dataclasses.replace(preset("tiny"), tables=8)


def images(count: int, size: int = SIZE) -> npt.NDArray[np.float32]:
    return np.random.default_rng(9).standard_normal((count, 3, size, size)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_float(name: str) -> None:
    """The network computes what ONNX Runtime does, softmax included."""
    path, x = DATA / f"{name}.onnx", images(4)
    (expected,) = runtime.InferenceSession(str(path)).run(None, {"x": x})
    network = load_onnx(path)
    found = execute(network, x)[network.outputs[0]].reshape(expected.shape)
    if network.host_steps:
        assert network.host_steps == ((0, "softmax"),)
        powers = np.exp(found)
        found = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_compiled(name: str) -> None:
    """As it is, calibrated; the machine computes what the graph says."""
    graph = quantize_network(load_onnx(DATA / f"{name}.onnx"), images(4))
    check(compile_graph(graph, ARCH), np.random.default_rng(1))


class Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.samples: Iterator[Any] = iter(images(8))

    def get_next(self) -> dict[str, Any] | None:
        sample = next(self.samples, None)
        return None if sample is None else {"x": sample[None]}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("activations", "per_channel"), [("QUInt8", True), ("QInt8", False)])
def test_statically_quantised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, activations: str,
    per_channel: bool,
) -> None:  # fmt: skip
    """Every layer as ONNX Runtime computes it, but for ties; fed with its own inputs, no layer adds
    more than a step."""
    path = tmp_path / "int8.onnx"
    with caplog.at_level(logging.ERROR):  # it advises preprocessing
        quantization.quantize_static(
            DATA / f"{name}.onnx", path, Samples(),
            quant_format=quantization.QuantFormat.QDQ, per_channel=per_channel,
            activation_type=getattr(quantization.QuantType, activations),
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
    subject = load_subject(str(path), images(8), 0)
    rows = compare(subject, images(8), tensors(path, images(8)))
    computed = {layer.tensor for layer in subject.layers}
    assert len(rows) == len(computed) >= 10
    assert [row for row in rows if row.alone is None or row.alone > 1] == []
    assert [row for row in rows if row.max_lsb > 3] == []
    assert sum(row.ties + row.beyond for row in rows) < 0.01 * sum(row.values for row in rows)


def test_a_quantised_model_compiles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        quantization.quantize_static(
            DATA / "mixed_dynamo.onnx", tmp_path / "int8.onnx", Samples(),
            quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
    imported = load_qdq(tmp_path / "int8.onnx")
    assert [step.op for step in imported.host_steps] == ["softmax"]
    check(compile_graph(imported.graph, ARCH), np.random.default_rng(2))


def test_brevitas_compiles() -> None:
    graph = load_qdq(DATA / "qonnx_int4.onnx").graph
    check(compile_graph(graph, ARCH), np.random.default_rng(3))


def test_data_of_the_exporters_checks() -> None:
    for path in DATA.glob("*.onnx"):
        onnx.checker.check_model(onnx.load(path), full_check=not path.name.startswith("qonnx"))
