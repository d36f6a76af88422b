"""What cannot be imported is refused by name, position and remedy; damage never passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign import ir
from codesign.errors import CodesignError, GraphError, UnsupportedOpError
from codesign.frontend.tflite import Imported, import_model, load_tflite
from codesign.frontend.tflite_file import parse_model
from tests.frontend.tflite_builder import Model, conv, fused, pool

CODING = {"scale": 0.05, "zero": -7}
MAP = (1, 4, 4, 6)


def imported(data: bytes) -> Imported:
    return import_model(parse_model(data, "test.tflite", "test"))


def stem(**coding: Any) -> tuple[Model, int]:
    """A ReLU before the operator in question, so that its position matters."""
    model = Model()
    x = model.input(MAP, **CODING)
    return model, model.op("RELU", [x], MAP, **(CODING | coding))


def ended(model: Model, output: int) -> bytes:
    model.outputs = [output]
    return model.bytes()


def one(kind: str, options: Any = None, shape: Any = MAP, **more: Any) -> bytes:
    model, x = stem()
    return ended(model, model.op(kind, [x], shape, options, **(CODING | more)))


def convolution(**changes: Any) -> bytes:
    """A convolution of 2 outputs whose weights (or bias) are changed."""
    model, x = stem()
    weights = {"scale": [0.1, 0.2], "zero": [0, 0], "axis": 0, "dtype": np.int8} | changes
    bias = weights.pop("bias", None)
    shape = weights.pop("shape", (1, 4, 4, 2))
    w = model.constant("w", np.ones((2, 1, 1, 6)), **weights)
    operands = [x, w] + ([] if bias is None else [model.constant("b", [1, 2], np.int32, **bias)])
    return ended(model, model.op("CONV_2D", operands, shape, conv(), **CODING))


def two(kind: str, shapes: tuple[Any, Any], options: Any) -> bytes:
    model = Model()
    operands = [model.input(shape, **CODING) for shape in shapes]
    return ended(model, model.op(kind, operands, shapes[0], options, **CODING))


def with_constants(kind: str, constants: list[Any], shape: Any, options: Any = None) -> bytes:
    model, x = stem()
    operands = [model.constant(f"c{n}", at, np.int32) for n, at in enumerate(constants)]
    return ended(model, model.op(kind, [x, *operands], shape, options, **CODING))


def float_model() -> bytes:
    model = Model()
    real = {"dtype": np.float32, "scale": None}
    x = model.input(MAP, **real)
    w = model.constant("w", np.ones((2, 1, 1, 6)), np.float32, scale=None)
    return ended(model, model.op("CONV_2D", [x, w], (1, 4, 4, 2), conv(), **real))


def int16_model() -> bytes:
    model = Model()
    x = model.input(MAP, dtype=np.int16)
    return ended(model, model.op("RELU", [x], MAP, dtype=np.int16))


def dynamic() -> bytes:
    model = Model()
    x = model.input(MAP, signature=(-1, -1, 4, 6), **CODING)
    return ended(model, model.op("RELU", [x], MAP, **CODING))


def batch_of_two() -> bytes:
    model = Model()
    x = model.input((2, 4, 4, 6), **CODING)
    return ended(model, model.op("RELU", [x], (2, 4, 4, 6), **CODING))


def softmax_inside() -> bytes:
    model, x = stem()
    p = model.op("SOFTMAX", [x], MAP, ("SoftmaxOptions", {"Beta": 1.0}), **CODING)
    return ended(model, model.op("TANH", [p], MAP, **CODING))


def dequantised_inside() -> bytes:
    model, x = stem()
    real = model.op("DEQUANTIZE", [x], MAP, dtype=np.float32, scale=None)
    return ended(model, model.op("TANH", [real], MAP, dtype=np.float32, scale=None))


def reshaped_map() -> bytes:
    model, x = stem()
    y = model.op("RESHAPE", [x], (1, 2, 8, 6), **CODING)
    return ended(model, model.op("MAX_POOL_2D", [y], (1, 1, 7, 6), pool((2, 2)), **CODING))


def moved(axes: list[int], shape: Any) -> bytes:
    return with_constants("TRANSPOSE", [axes], shape)


def two_outputs_of_one_map() -> bytes:
    model, x = stem()
    p = model.op("SOFTMAX", [x], MAP, ("SoftmaxOptions", {"Beta": 1.0}), **CODING)
    model.outputs = [x, p]
    return model.bytes()


def short_constant() -> bytes:
    model, x = stem()
    w = model.constant("w", np.ones((2, 1, 1, 6)), scale=0.1)
    model.tensors[w].shape = (3, 1, 1, 6)
    return ended(model, model.op("CONV_2D", [x, w], (1, 4, 4, 3), conv(), **CODING))


def relu_subgraphs(**more: Any) -> bytes:
    model, x = stem()
    model.outputs = [x]
    return model.bytes(**more)


REFUSED: dict[str, tuple[Callable[[], bytes], type[CodesignError], list[str]]] = {
    "unknown operator": (
        lambda: one("L2_NORMALIZATION"), UnsupportedOpError,
        ["operator 1 L2_NORMALIZATION ('l2_normalization1')", "the machine executes ADD, ARG_MAX"],
    ),
    "transposed convolution": (
        lambda: one("TRANSPOSE_CONV"), GraphError,
        ["operator 1 TRANSPOSE_CONV has no TransposeConvOptions"],
    ),
    "resize": (
        lambda: with_constants(
            "RESIZE_NEAREST_NEIGHBOR", [[12, 12]], (1, 12, 12, 6),
            ("ResizeNearestNeighborOptions", {"AlignCorners": True}),
        ), UnsupportedOpError,
        ["operator 1 RESIZE_NEAREST_NEIGHBOR", "align_corners True", "repeat every pixel equally"],
    ),
    "bilinear": (
        lambda: one("RESIZE_BILINEAR"), UnsupportedOpError,
        ["operator 1 RESIZE_BILINEAR", "use RESIZE_NEAREST_NEIGHBOR"],
    ),
    "float": (
        float_model, UnsupportedOpError,
        ["operator 0 CONV_2D", "reads the input 'input0', which is FLOAT32",
         "convert with full-integer quantisation"],
    ),
    "int16": (
        int16_model, UnsupportedOpError,
        ["operator 0 RELU", "'input0', which is INT16", "full-integer quantisation"],
    ),
    "dynamic": (dynamic, GraphError, ["tensor 0 'input0'", "dynamic shape [-1, -1, 4, 6]"]),
    "batch": (batch_of_two, GraphError, ["input 'input0' has shape [2, 4, 4, 6]", "batch of 1"]),
    "several subgraphs": (
        lambda: relu_subgraphs(subgraphs=2), GraphError,
        ["'test.tflite': the model has 2 subgraphs, one is accepted"],
    ),
    "version": (
        lambda: relu_subgraphs(version=2), GraphError, ["schema version 2, this importer reads 3"],
    ),
    "asymmetric weights": (
        lambda: convolution(zero=[0, 3]), UnsupportedOpError,
        ["operator 1 CONV_2D", "weights 'w' are asymmetric (zero point 3)", "symmetrically"],
    ),
    "axis of the scales": (
        lambda: convolution(axis=3, scale=[0.1] * 6, zero=[0] * 6), UnsupportedOpError,
        ["operator 1 CONV_2D", "scales along axis 3", "along axis 0, is accepted"],
    ),
    "scales of no axis": (
        lambda: convolution(axis=2, scale=[0.1] * 6, zero=[0] * 6), GraphError,
        ["'w' of shape [2, 1, 1, 6] has 6 scales and 6 zero points along axis 2"],
    ),
    "scale that is no scale": (
        lambda: convolution(scale=[0.1, float("nan")]), GraphError,
        ["'w' has a scale that is not positive; quantise it again"],
    ),
    "bias of another scale": (
        lambda: convolution(bias={"scale": [0.5, 0.5], "zero": [0, 0]}), UnsupportedOpError,
        ["its bias 'b' is not at the product of the input's and the weights' scales"],
    ),
    "weights of another type": (
        lambda: convolution(dtype=np.int16), UnsupportedOpError,
        ["its weights 'w' are INT16; quantise them to INT8"],
    ),
    "shape that does not follow": (
        lambda: convolution(shape=(1, 4, 3, 2)), GraphError,
        ["operator 1 CONV_2D", "it computes [1, 4, 4, 2], but declares [1, 4, 3, 2]"],
    ),
    "constant that is too short": (
        short_constant, GraphError, ["'w' of shape [3, 1, 1, 6] has 12 bytes of INT8"],
    ),
    "pool that rescales": (
        lambda: one("MAX_POOL_2D", pool((1, 1)), scale=0.1), UnsupportedOpError,
        ["its input is coded as 0.05", "its output as 0.1", "equal ones are accepted"],
    ),
    "softmax inside": (
        softmax_inside, UnsupportedOpError,
        ["operator 2 TANH", "the result of softmax, which runs on the host", "last operation"],
    ),
    "floats inside": (
        dequantised_inside, UnsupportedOpError,
        ["operator 2 TANH", "is FLOAT32, INT8 is accepted"],
    ),
    "reshape to another map": (
        reshaped_map, UnsupportedOpError,
        ["operator 2 MAX_POOL_2D", "it reads [1, 2, 8, 6], reshaped from a map of [1, 4, 4, 6]"],
    ),
    "transpose": (
        lambda: moved([0, 3, 1, 2], (1, 6, 4, 4)), UnsupportedOpError,
        ["operator 1 TRANSPOSE", "it moves values ([0, 3, 1, 2] of [1, 4, 4, 6])"],
    ),
    "broadcast": (
        lambda: two("ADD", (MAP, (1, 1, 1, 6)), fused("AddOptions")), UnsupportedOpError,
        ["operator 0 ADD", "it broadcasts [1, 4, 4, 6] with [1, 1, 1, 6]"],
    ),
    "computed product": (
        lambda: two("MUL", (MAP, MAP), fused("MulOptions")), UnsupportedOpError,
        ["operator 0 MUL", "multiplies two computed tensors; one of them must be constant"],
    ),
    "concatenated lines": (
        lambda: two("CONCATENATION", (MAP, MAP), fused("ConcatenationOptions", Axis=1)),
        UnsupportedOpError, ["it is along axis 1 of 4; along channels (the last)"],
    ),
    "mean of channels": (
        lambda: with_constants("MEAN", [[3]], (1, 4, 4)), UnsupportedOpError,
        ["operator 1 MEAN", "it is over axes [3] of [1, 4, 4, 6]"],
    ),
    "slice of lines": (
        lambda: with_constants("SLICE", [[0, 1, 0, 0], [1, 2, 4, 6]], (1, 2, 4, 6)),
        UnsupportedOpError, ["slices of channels (the last) are accepted"],
    ),
    "padded channels": (
        lambda: with_constants("PAD", [[[0, 0], [0, 0], [0, 0], [1, 1]]], (1, 4, 4, 8)),
        UnsupportedOpError, ["operator 1 PAD", "height and width can be padded"],
    ),
    "mean of no axis": (
        lambda: with_constants("MEAN", [[1, 2, 7]], (1, 6)), GraphError,
        ["operator 1 MEAN", "it is over axes [1, 2, 7] of [1, 4, 4, 6]"],
    ),
    "transpose of no axis": (
        lambda: moved([0, 1, 2, 7], MAP), GraphError,
        ["operator 1 TRANSPOSE", "[0, 1, 2, 7] does not order [1, 4, 4, 6]"],
    ),
    "slice by offsets": (
        lambda: with_constants(
            "STRIDED_SLICE", [[0, 0, 0, 1], [1, 4, 4, 2], [1, 1, 1, 1]], (1, 4, 4, 2),
            ("StridedSliceOptions", {"Offset": True}),
        ),
        UnsupportedOpError, ["operator 1 STRIDED_SLICE", "its ends are offsets"],
    ),
    "one map as two outputs": (
        two_outputs_of_one_map, GraphError, ["several outputs are 'relu0'", "keep one of them"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_where_and_what_instead(name: str) -> None:
    make, kind, texts = REFUSED[name]
    with pytest.raises(kind) as raised:
        imported(make())
    for text in texts:
        assert text in str(raised.value)


def whole() -> bytes:
    model, x = stem()
    w = model.constant("w", np.ones((3, 3, 3, 6)), scale=[0.1, 0.2, 0.3], zero=[0, 0, 0])
    b = model.constant("b", [1, 2, 3], np.int32, scale=[0.005, 0.01, 0.015], zero=[0, 0, 0])
    y = model.op("CONV_2D", [x, w, b], (1, 2, 2, 3), conv(), **CODING)
    return ended(model, model.op("MAX_POOL_2D", [y], (1, 1, 1, 3), pool((2, 2)), **CODING))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    for content in (b"", b"TFL3", b"PK\x03\x04 something else"):
        path.write_bytes(content)
        with pytest.raises(GraphError, match=r"'other.tflite' is no TFLite model: its identifier"):
            load_tflite(path)


def test_every_truncation_is_refused() -> None:
    data = whole()
    assert len(imported(data).graph.ops) == 3
    for length in range(8, len(data), 7):
        with pytest.raises(GraphError):
            imported(data[:length])


@pytest.mark.filterwarnings("ignore:.*became -127")
def test_damage_is_refused_or_harmless() -> None:
    """Whatever four bytes hold: an error of ours, or a graph that keeps every rule."""
    data, rng = whole(), np.random.default_rng(3)
    refused = 0
    for position in rng.integers(8, len(data) - 4, 600):
        damaged = bytearray(data)
        damaged[position : position + 4] = rng.integers(0, 256, 4, np.uint8).tobytes()
        try:
            ir.verify(imported(bytes(damaged)).graph)
        except CodesignError:
            refused += 1
    assert refused > 300
