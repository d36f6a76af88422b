"""QONNX models give what Brevitas gives, and what the format's definition says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from codesign import ir
from codesign.errors import CodesignError, GraphError
from codesign.frontend.onnx import CalibratedWarning, Imported, import_qdq, load_qdq
from codesign.frontend.onnx_file import from_proto
from codesign.quant.values import Coding
from codesign.reference import graph as reference
from tests.frontend.onnx_builder import Model

DATA = Path(__file__).parent / "data"
DOMAIN = "qonnx.custom_op.general"
RNG = np.random.default_rng(8)
FloatArray = npt.NDArray[np.float32]


def run(graph: ir.Graph, x: FloatArray) -> npt.NDArray[np.int8]:
    source = graph.tensors[graph.inputs[0]]
    encoded = Coding(source.scale, source.zero_point).encode(x)
    return reference.run(graph, {graph.inputs[0]: encoded})[graph.outputs[0]]


@pytest.mark.parametrize("name", ["qonnx_int8", "qonnx_int4"])
def test_brevitas(name: str) -> None:
    """Weights of 8 bits by the dynamo exporter, of 4 by the other: every output code is equal."""
    golden = np.load(DATA / f"{name}.npz")
    graph = load_qdq(DATA / f"{name}.onnx", len(golden["inputs"])).graph
    found = run(graph, golden["inputs"])
    result = graph.tensors[graph.outputs[0]]
    expected = np.round(golden["outputs"] / result.scale) + result.zero_point
    np.testing.assert_array_equal(found[:, :, 0, 0], expected)
    assert np.ptp(expected) > 100


def test_truncating_pool_and_calibrated_logits() -> None:
    """Ties of the pool's rounding, one in 32 of its values, move logits by a step."""
    golden = np.load(DATA / "qonnx_trunc.npz")
    path = DATA / "qonnx_trunc.onnx"
    with pytest.raises(GraphError, match=r"Gemm node .*'linear' is not quantised; give --calib"):
        load_qdq(path)
    with pytest.warns(CalibratedWarning, match="does not quantise linear; calibration"):
        graph = load_qdq(path, len(golden["inputs"]), golden["inputs"]).graph
    result = graph.tensors[graph.outputs[0]]
    assert np.ptp(golden["outputs"]) / 255 == pytest.approx(result.scale, rel=0.02)
    expected = np.round(golden["outputs"] / result.scale) + result.zero_point
    difference = np.abs(run(graph, golden["inputs"])[:, :, 0, 0] - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.15


# --- nodes -------------------------------------------------------------------------------------
def quant(
    model: Model, scale: Any, zero: float = 0, bits: float = 8, signed: int = 1, narrow: int = 0,
    kind: str = "Quant", rounding: str = "ROUND", **options: Any,
) -> str:  # fmt: skip
    """A Quant node behind the last result."""
    return model.add(
        kind, np.asarray(scale, np.float32), np.float32(zero), np.float32(bits), domain=DOMAIN,
        signed=signed, narrow=narrow, rounding_mode=rounding, **options,
    )  # fmt: skip


def weights(model: Model, values: FloatArray, scale: Any, **options: Any) -> str:
    """Constants behind a Quant node; the chain goes on where it was."""
    before, name = model.last, f"w{len(model.nodes)}"
    model.constants[name] = values
    made = quant(model, scale, inputs=[name], **options)
    model.last = before
    return made


def imported(model: Model, outputs: list[str] | None = None, batch: int = 1) -> Imported:
    proto = model.proto(outputs, rank=4, domains={DOMAIN: 1})
    onnx.checker.check_model(proto)
    return import_qdq(from_proto(proto, "net"), batch)


def as_defined(
    x: FloatArray, scale: float, zero: int, bits: int, signed: int, narrow: int
) -> FloatArray:
    """The definition of Quant (QONNX, arXiv 2206.07527)."""
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    steps = np.round(np.clip(x / scale + zero, low, high)) - zero
    return (steps * scale).astype(np.float32)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize(("bits", "zero"), [(8, 0), (8, 3), (5, 0), (2, 0)])
def test_codes(bits: int, zero: int, signed: int, narrow: int) -> None:
    """Inputs that pass each code's middle and both ends."""
    model = Model(["N", 1, 1, 600])
    quant(model, 0.25, zero, bits, signed, narrow)
    model.add("Neg")
    quant(model, 0.25)
    graph = imported(model).graph
    x = (np.arange(-300, 300) * 0.25 + 0.1).astype(np.float32).reshape(1, 1, 1, 600)
    expected = as_defined(-as_defined(x, 0.25, zero, bits, signed, narrow), 0.25, 0, 8, 1, 0)
    np.testing.assert_array_equal(run(graph, x).astype(np.float32) * 0.25, expected)


def test_weights_keep_their_codes() -> None:
    """Narrow ranges, ties to even codes, a scale per channel."""
    model = Model(["N", 2, 3, 3])
    quant(model, 0.1)
    values = np.array([[0.5, 1.5], [-9, 0.26]], np.float32).reshape(2, 2, 1, 1)
    scale = np.array([1, 0.1], np.float32).reshape(2, 1, 1, 1)
    model.add("Conv", weights(model, values, scale, bits=4, narrow=1))
    quant(model, 0.1)
    (op,) = imported(model).graph.ops
    assert isinstance(op, ir.Conv2d)
    np.testing.assert_array_equal(op.weight.reshape(2, 2), [[0, 2], [-7, 3]])


def test_a_transposed_constant_keeps_its_codes() -> None:
    model = Model(["N", 3])
    quant(model, 0.1)
    values = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    made = weights(model, values, np.array([[0.5], [1]], np.float32))
    before = model.last
    turned = model.add("Transpose", inputs=[made], perm=[1, 0])
    model.add("MatMul", turned, inputs=[before])
    quant(model, 0.1)
    proto = model.proto(domains={DOMAIN: 1})
    (op,) = import_qdq(from_proto(proto, "net")).graph.ops
    assert isinstance(op, ir.Conv2d)
    np.testing.assert_array_equal(op.weight.reshape(2, 3), [[2, 4, 6], [4, 5, 6]])


def test_real_values_quantised_twice_are_computed_twice() -> None:
    """Neither coding is made of the other's codes."""
    model = Model(["N", 2, 4, 4])
    quant(model, 0.1)
    source = model.last
    model.add("Conv", weights(model, np.eye(2, dtype=np.float32)[:, :, None, None] * 7, 0.1))
    real = model.add("Relu")
    fine = quant(model, 0.05, signed=0)
    coarse = quant(model, 0.7, bits=4, inputs=[real])
    graph = imported(model, [fine, coarse], batch=2).graph
    assert source
    assert [type(op) for op in graph.ops] == [ir.Conv2d, ir.Conv2d]
    x = RNG.uniform(-3, 3, (2, 2, 4, 4)).astype(np.float32)
    exact = np.maximum(as_defined(x, 0.1, 0, 8, 1, 0) * np.float32(7), 0)
    codes = Coding(0.1, 0).encode(x)
    values = reference.run(graph, {graph.inputs[0]: codes})
    for name, expected in zip(graph.outputs, (as_defined(exact, 0.05, 0, 8, 0, 0),
                                              as_defined(exact, 0.7, 0, 4, 1, 0)),
                              strict=True):  # fmt: skip
        tensor = graph.tensors[name]
        found = Coding(tensor.scale, tensor.zero_point).decode(values[name])
        assert np.abs(found - expected).max() <= tensor.scale * 1.01
        assert (np.abs(found - expected) > tensor.scale / 2).mean() < 0.1


def truncated(model: Model) -> None:
    scale, eight = np.float32(0.1), np.float32(8)
    model.add("Trunc", scale, np.float32(0), np.float32(12), eight, domain=DOMAIN)


def with_weights(model: Model, values: FloatArray, scale: Any, **options: Any) -> None:
    quant(model, 0.1)
    model.add("Conv", weights(model, values, scale, **options))
    quant(model, 0.1)


ONES = np.ones((2, 2, 1, 1), np.float32)
REFUSED: dict[str, tuple[Any, str]] = {
    "bipolar": (
        lambda m: m.add("BipolarQuant", np.float32(1), domain=DOMAIN),
        "BipolarQuant node 'bipolarquant0' is not supported: .*quantise to 2..8 bits",
    ),
    "one signed bit": (lambda m: quant(m, 1, bits=1), "Quant node .*1 bits; 2..8 are accepted"),
    "minifloats": (
        lambda m: m.add("FloatQuant", np.float32(1), domain=DOMAIN), "FloatQuant .*to integers",
    ),
    "another node": (
        lambda m: m.add("XnorPopcount", domain=DOMAIN),
        "of its domain, IntQuant, Quant, Trunc are accepted",
    ),
    "rounding": (lambda m: quant(m, 1, rounding="CEIL"), "Quant node 'quant0' .*rounds by CEIL"),
    "wide activations": (
        lambda m: quant(m, 1, bits=9), r"codes are -256\.\.255; .*up to 8 bits are accepted",
    ),
    "a zero point without code": (
        lambda m: quant(m, 1, zero=200), r"zero point 200 is outside its codes -128\.\.127",
    ),
    "half a bit": (lambda m: quant(m, 1, bits=4.5), r"width \[4.5\] is no whole number"),
    "scales of activations": (
        lambda m: quant(m, np.ones((1, 2, 1, 1))), "2 scales for an activation; .*per tensor",
    ),
    "scale of zero": (lambda m: quant(m, 0.0), "scale 0.0 is not positive"),
    "wide weights": (
        lambda m: with_weights(m, 300 * ONES, 1, bits=16), r"have codes 300\.\.300; quantise them",
    ),
    "asymmetric weights": (
        lambda m: with_weights(m, ONES, 1, zero=2),
        r"Conv node .*weights 'w1' are asymmetric \(zero point 2\)",
    ),
    "scales that do not fit": (
        lambda m: with_weights(m, ONES, np.ones((3, 1, 1, 1))),
        r"scale \[3, 1, 1, 1\] .* do not fit its constant \[2, 2, 1, 1\]",
    ),
    "the first version of Trunc": (truncated, "Trunc node .*version 1.*Brevitas 0.12"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    build, match = REFUSED[name]
    model = Model(["N", 2, 4, 4])
    build(model)
    with pytest.raises(CodesignError, match=match):
        imported(model)
