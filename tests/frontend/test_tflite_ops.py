"""Operators of small TFLite files compute what real numbers would, to the last step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from codesign import ir
from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from codesign.frontend.tflite import Imported, import_model
from codesign.frontend.tflite_file import parse_model
from codesign.reference import graph as graph_reference
from tests.compiler import execution
from tests.frontend.tflite_builder import ACTIVATION, PADDING, Model, conv, depthwise, fused, pool

FloatArray = npt.NDArray[np.float64]
RANDOM = np.random.default_rng(11)
INPUT = {"scale": 0.05, "zero": -7}
OUTPUT = {"scale": 0.21, "zero": 5}


def codes(shape: Sequence[int]) -> npt.NDArray[np.int8]:
    return RANDOM.integers(-127, 128, shape).astype(np.int8)


def imported(model: Model) -> Imported:
    return import_model(parse_model(model.bytes(), "test.tflite", "test"))


def nhwc(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return x.transpose(0, 2, 3, 1)


@dataclass(frozen=True)
class Case:
    """A model, and its output's real values [1, H, W, C] for real inputs [1, H, W, C]."""

    model: Model
    expected: Callable[..., FloatArray]
    tolerance: int = 1
    share: float = 0.05
    """Of values that may be off, where sums of codes lie halfway between two."""


def check(case: Case) -> None:
    """Codes are those of the real result, and the machine's are the graph's."""
    result = imported(case.model)
    graph = result.graph
    inputs = {name: codes((1, *graph.tensors[name].shape)) for name in graph.inputs}
    found = graph_reference.run(graph, inputs)
    reals = [
        nhwc((x.astype(float) - graph.tensors[name].zero_point) * graph.tensors[name].scale)
        for name, x in inputs.items()
    ]
    expected = case.expected(*reals)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name, real in zip(graph.outputs, expected, strict=True):
        tensor = graph.tensors[name]
        wanted = np.clip(np.round(real / tensor.scale) + tensor.zero_point, -128, 127)
        assert np.ptp(wanted) > 20, "a result that hardly varies shows nothing"
        difference = np.abs(nhwc(found[name]).reshape(wanted.shape) - wanted)
        assert difference.max() <= case.tolerance
        assert (difference > 0).mean() <= case.share
    program = compile_graph(graph, preset("tiny"))
    outputs, _, _ = execution.infer(execution.start(program), program, inputs)
    for name, output in outputs.items():
        np.testing.assert_array_equal(output, found[name], name)


# --- real arithmetic ---------------------------------------------------------------------------
def windows(
    x: FloatArray, kernel: tuple[int, int], stride: tuple[int, int], pad: Sequence[int],
    dilation: tuple[int, int] = (1, 1), fill: float = 0.0,
) -> FloatArray:  # fmt: skip
    """[H, W, kh, kw, C] of a map [1, H, W, C]."""
    top, bottom, left, right = pad
    x = np.pad(x[0], ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows = range(0, x.shape[0] - reach[0] + 1, stride[0])
    columns = range(0, x.shape[1] - reach[1] + 1, stride[1])
    return np.array([
        [x[r : r + reach[0] : dilation[0], c : c + reach[1] : dilation[1]] for c in columns]
        for r in rows
    ])  # fmt: skip


def convolve(seen: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    """Windows with weights [O, kh, kw, C]."""
    return (np.einsum("hwijc,oijc->hwo", seen, weight) + bias)[None]


def real_weights(
    model: Model, shape: Sequence[int], axis: int, scale: float
) -> tuple[int, int, FloatArray, FloatArray]:
    """Weights and bias of a model, and their real values; a scale for each output channel."""
    values = codes(shape)
    scales = 0.004 * (1 + RANDOM.random(shape[axis]))
    bias = RANDOM.integers(-2000, 2000, shape[axis])
    spread = [1] * len(shape)
    spread[axis] = -1
    single = np.float32(scales).astype(float)
    return (
        model.constant("weights", values, scale=scales, zero=[0] * len(scales), axis=axis),
        model.constant("bias", bias, np.int32, scale=scales * scale, zero=[0] * len(scales)),
        values * single.reshape(spread),
        bias * single * scale,
    )


def conv_case(
    size: tuple[int, int], kernel: tuple[int, int], padding: int, out: tuple[int, int],
    pad: Sequence[int], stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1),
    activation: int = ACTIVATION.NONE, clamp: tuple[float, float] = (-np.inf, np.inf),
) -> Case:  # fmt: skip
    model = Model()
    x = model.input((1, *size, 5), **INPUT)
    w, b, weight, bias = real_weights(model, (6, *kernel, 5), 0, 0.05)
    options = conv(padding, stride, activation, dilation)
    model.outputs = [model.op("CONV_2D", [x, w, b], (1, *out, 6), options, **OUTPUT)]
    return Case(
        model,
        lambda real: np.clip(
            convolve(windows(real, kernel, stride, pad, dilation), weight, bias), *clamp
        ),
    )


def depthwise_case(multiplier: int) -> Case:
    model = Model()
    x = model.input((1, 6, 5, 4), **INPUT)
    w, b, weight, bias = real_weights(model, (1, 3, 3, 4 * multiplier), 3, 0.05)
    options = depthwise(multiplier, padding=PADDING.SAME)
    shape = (1, 6, 5, 4 * multiplier)
    model.outputs = [model.op("DEPTHWISE_CONV_2D", [x, w, b], shape, options, scale=0.08, zero=-3)]

    def expected(real: FloatArray) -> FloatArray:
        seen = np.repeat(windows(real, (3, 3), (1, 1), (1, 1, 1, 1)), multiplier, axis=4)
        return (np.einsum("hwijc,ijc->hwc", seen, weight[0]) + bias)[None]

    return Case(model, expected)


def linear_case(behind_flatten: bool) -> Case:
    """Weights of a linear layer are in NHWC order; behind a map they are a kernel."""
    model = Model()
    shape = (1, 3, 2, 5) if behind_flatten else (1, 30)
    x = model.input(shape, **INPUT)
    if behind_flatten:
        doubled = model.op("ADD", [x, x], shape, fused("AddOptions"), scale=0.1, zero=-7)
        flat = model.constant("flat", [1, 30], np.int32)
        x = model.op("RESHAPE", [doubled, flat], (1, 30), scale=0.1, zero=-7)
    w, b, weight, bias = real_weights(model, (9, 30), 0, 0.1 if behind_flatten else 0.05)
    options = "FullyConnectedOptions", {"FusedActivationFunction": ACTIVATION.RELU}
    model.outputs = [model.op("FULLY_CONNECTED", [x, w, b], (1, 9), options, **OUTPUT)]
    factor = 2 if behind_flatten else 1
    return Case(
        model, lambda real: np.maximum(weight @ (factor * real.reshape(-1)) + bias, 0)[None, :]
    )


def add_case(kind: str, constant: Any = None, **scales: Any) -> Case:
    model = Model()
    a = model.input((1, 4, 3, 5), **INPUT)
    sign = -1 if kind == "SUB" else 1
    options = fused(f"{kind.title()}Options", ACTIVATION.RELU6)
    if constant is None:
        b = model.input((1, 4, 3, 5), scale=0.11, zero=9)
        model.outputs = [model.op(kind, [a, b], (1, 4, 3, 5), options, scale=0.0613, zero=-100)]
        return Case(model, lambda x, y: np.clip(x + sign * y, 0, 6))
    b = model.constant("constant", constant, scale=0.03, zero=-2)
    real = 0.03 * (np.asarray(constant) + 2.0)
    model.outputs = [model.op(kind, [a, b], (1, 4, 3, 5), options, scale=0.0613, zero=-100)]
    return Case(model, lambda x: np.clip(x + sign * real, 0, 6))


def mul_case(constant: Any) -> Case:
    model = Model()
    x = model.input((1, 4, 3, 5), **INPUT)
    c = model.constant("factor", constant, scale=0.02, zero=3)
    real = 0.02 * (np.asarray(constant) - 3.0)
    options = fused("MulOptions")
    model.outputs = [model.op("MUL", [c, x], (1, 4, 3, 5), options, scale=0.09, zero=4)]
    return Case(model, lambda value: value * real)


def max_pool_case() -> Case:
    model = Model()
    x = model.input((1, 7, 5, 5), **INPUT)
    options = pool((3, 2), (2, 2), PADDING.SAME, ACTIVATION.RELU)
    model.outputs = [model.op("MAX_POOL_2D", [x], (1, 4, 3, 5), options, **INPUT)]
    return Case(
        model,
        lambda real: np.maximum(
            windows(real, (3, 2), (2, 2), (1, 1, 0, 1), fill=-1e9).max(axis=(2, 3)), 0
        )[None],
        0,
    )


def average_pool_case(size: int, kernel: int, padding: int, zero: int) -> Case:
    """SAME with a kernel larger than the map reaches outside it and has one result."""
    model = Model()
    coding = {"scale": 0.05, "zero": zero}
    x = model.input((1, size, size, 70), **coding)
    options = pool((kernel, kernel), (kernel, kernel), padding)
    out = -(-size // kernel)
    model.outputs = [model.op("AVERAGE_POOL_2D", [x], (1, out, out, 70), options, **coding)]

    def expected(real: FloatArray) -> FloatArray:
        seen = real[:, : min(kernel, size), : min(kernel, size)] if out == 1 else real
        side = seen.shape[1] // out
        return seen.reshape(1, out, side, out, side, 70).mean(axis=(2, 4))

    return Case(model, expected, share=0.3)


def mean_case(axes: Sequence[int], shape: Sequence[int], zero: int) -> Case:
    model = Model()
    x = model.input((1, 3, 4, 70), scale=0.05, zero=zero)
    axis = model.constant("axes", axes, np.int32)
    model.outputs = [model.op("MEAN", [x, axis], shape, scale=0.031, zero=-60)]
    return Case(model, lambda real: real.mean(axis=(1, 2)).reshape(shape), share=0.1)


def pad_case(reader: str) -> Case:
    """Padding that a convolution takes over, and padding that nothing does."""
    model = Model()
    x = model.input((1, 4, 3, 5), **INPUT)
    amounts = model.constant("amounts", [[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)
    padded = model.op("PAD", [x, amounts], (1, 7, 4, 5), **INPUT)
    if reader == "conv":
        w, b, weight, bias = real_weights(model, (6, 3, 3, 5), 0, 0.05)
        y = model.op("CONV_2D", [padded, w, b], (1, 5, 2, 6), conv(), **OUTPUT)
        model.outputs = [y]
        return Case(
            model,
            lambda real: convolve(windows(real, (3, 3), (1, 1), (1, 2, 0, 1)), weight, bias),
        )
    if reader == "max":
        y = model.op("MAX_POOL_2D", [padded], (1, 6, 3, 5), pool((2, 2)), **INPUT)
        model.outputs = [y]
        return Case(
            model,
            lambda real: windows(real, (2, 2), (1, 1), (1, 2, 0, 1)).max(axis=(2, 3))[None], 0,
        )  # fmt: skip
    if reader == "average":
        y = model.op("AVERAGE_POOL_2D", [padded], (1, 6, 3, 5), pool((2, 2)), **INPUT)
        model.outputs = [y]
        return Case(
            model,
            lambda real: windows(real, (2, 2), (1, 1), (1, 2, 0, 1)).mean(axis=(2, 3))[None],
            share=0.3,
        )
    model.outputs = [padded]
    return Case(model, lambda real: np.pad(real, ((0, 0), (1, 2), (0, 1), (0, 0))), 0)


def concat_case(equal: bool) -> Case:
    model = Model()
    parts = [
        model.input((1, 3, 4, channels), scale=0.05 if equal else 0.03 * (n + 1), zero=-7)
        for n, channels in enumerate((5, 3, 9))
    ]
    options = fused("ConcatenationOptions", Axis=3)
    model.outputs = [model.op("CONCATENATION", parts, (1, 3, 4, 17), options, **INPUT)]
    return Case(model, lambda *reals: np.concatenate(reals, axis=3), 0 if equal else 1)


def split_case() -> Case:
    model = Model()
    x = model.input((1, 3, 4, 10), **INPUT)
    axis = model.constant("axis", 3, np.int32)
    model.outputs = [model.tensor(f"part{n}", (1, 3, 4, 5), **INPUT) for n in range(2)]
    model.add("SPLIT", [axis, x], model.outputs, ("SplitOptions", {"NumSplits": 2}))
    return Case(model, lambda real: (real[..., :5], real[..., 5:]), 0)


def split_v_case() -> Case:
    model = Model()
    x = model.input((1, 3, 4, 10), **INPUT)
    sizes = model.constant("sizes", [7, -1], np.int32)
    axis = model.constant("axis", -1, np.int32)
    model.outputs = [model.tensor(f"part{n}", (1, 3, 4, size), **INPUT)
                     for n, size in enumerate((7, 3))]  # fmt: skip
    model.add("SPLIT_V", [x, sizes, axis], model.outputs, ("SplitVOptions", {"NumSplits": 2}))
    return Case(model, lambda real: (real[..., :7], real[..., 7:]), 0)


def slice_case(strided: bool) -> Case:
    model = Model()
    x = model.input((1, 3, 4, 10), **INPUT)
    if not strided:
        begin = model.constant("begin", [0, 0, 0, 4], np.int32)
        size = model.constant("size", [1, -1, 4, 5], np.int32)
        model.outputs = [model.op("SLICE", [x, begin, size], (1, 3, 4, 5), **INPUT)]
        return Case(model, lambda real: real[..., 4:9], 0)
    ranges = ([0, 0, 0, -9], [1, 3, 4, 0], [1, 1, 1, 2])
    operands = [model.constant(f"of{n}", at, np.int32) for n, at in enumerate(ranges)]
    options = "StridedSliceOptions", {"BeginMask": 1, "EndMask": 8}
    y = model.op("STRIDED_SLICE", [x, *operands], (1, 3, 4, 5), options, **INPUT)
    model.outputs = [y]
    return Case(model, lambda real: real[..., 1::2], 0)


def unary_case(
    kind: str, function: Callable[[FloatArray], FloatArray], coding: dict[str, Any],
    options: Any = None,
) -> Case:  # fmt: skip
    model = Model()
    x = model.input((1, 8, 8, 5), **INPUT)
    model.outputs = [model.op(kind, [x], (1, 8, 8, 5), options, **coding)]
    return Case(model, function)


def quantize_case() -> Case:
    return unary_case("QUANTIZE", lambda x: x, {"scale": 0.08, "zero": 30})


UNIT = {"scale": 1 / 256, "zero": -128}
CASES = {
    "conv valid": conv_case((7, 6), (3, 2), PADDING.VALID, (5, 5), (0, 0, 0, 0)),
    "conv same": conv_case((7, 6), (3, 3), PADDING.SAME, (7, 6), (1, 1, 1, 1)),
    "conv same, stride 2, asymmetric": conv_case(
        (8, 7), (3, 4), PADDING.SAME, (4, 4), (0, 1, 1, 2), (2, 2)
    ),
    "conv dilated": conv_case(
        (9, 8), (3, 3), PADDING.SAME, (9, 8), (2, 2, 2, 2), dilation=(2, 2)
    ),
    "conv relu": conv_case((4, 4), (1, 1), PADDING.VALID, (4, 4), (0,) * 4,
                           activation=ACTIVATION.RELU, clamp=(0, np.inf)),
    "conv relu6": conv_case((4, 4), (1, 1), PADDING.VALID, (4, 4), (0,) * 4,
                            activation=ACTIVATION.RELU6, clamp=(0, 6)),
    "conv relu1": conv_case((8, 8), (3, 3), PADDING.VALID, (6, 6), (0,) * 4,
                            activation=ACTIVATION.RELU, clamp=(0, np.inf)),
    "depthwise": depthwise_case(1),
    "depthwise, multiplier 3": depthwise_case(3),
    "linear": linear_case(False),
    "linear behind a map": linear_case(True),
    "add": add_case("ADD"),
    "sub": add_case("SUB"),
    "add number": add_case("ADD", 40),
    "add channels": add_case("ADD", [10, -50, 100, 3, 77]),
    "sub channels": add_case("SUB", [[[[10, -50, 100, 3, 77]]]]),
    "mul number": mul_case(90),
    "mul channels": mul_case([90, -80, 3, 127, 44]),
    "max pool": max_pool_case(),
    "average pool": average_pool_case(6, 2, PADDING.VALID, -7),
    "average pool of all": average_pool_case(5, 5, PADDING.VALID, 3),
    "average pool same": average_pool_case(5, 8, PADDING.SAME, -128),
    "mean": mean_case([1, 2], (1, 70), -7),
    "mean kept": mean_case([-2, 1], (1, 1, 1, 70), -128),
    "pad before a convolution": pad_case("conv"),
    "pad before a maximum": pad_case("max"),
    "pad before an average": pad_case("average"),
    "pad alone": pad_case("none"),
    "concatenation": concat_case(True),
    "concatenation of several scales": concat_case(False),
    "split": split_case(),
    "split in parts": split_v_case(),
    "slice": slice_case(False),
    "strided slice": slice_case(True),
    "relu": unary_case("RELU", lambda x: np.maximum(x, 0), {"scale": 0.03, "zero": -100}),
    "relu6": unary_case("RELU6", lambda x: np.clip(x, 0, 6), {"scale": 0.03, "zero": -128}),
    "logistic": unary_case("LOGISTIC", lambda x: 1 / (1 + np.exp(-x)), UNIT),
    "tanh": unary_case("TANH", np.tanh, {"scale": 1 / 128, "zero": 0}),
    "hard swish": unary_case(
        "HARD_SWISH", lambda x: x * np.clip(x + 3, 0, 6) / 6, {"scale": 0.03, "zero": -110}
    ),
    "leaky relu": unary_case(
        "LEAKY_RELU", lambda x: np.where(x < 0, 0.125 * x, x), {"scale": 0.05, "zero": -60},
        ("LeakyReluOptions", {"Alpha": 0.125}),
    ),
    "quantize": quantize_case(),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str) -> None:
    check(CASES[name])


@pytest.mark.parametrize(
    ("name", "twice"),
    [("conv valid", True), ("depthwise", True), ("depthwise, multiplier 3", True),
     ("linear", False), ("mul channels", False), ("concatenation of several scales", False)],
)  # fmt: skip
def test_convolutions_round_twice_as_litert_s(name: str, twice: bool) -> None:
    convolutions = [op for op in imported(CASES[name].model).graph.ops if isinstance(op, ir.Conv2d)]
    assert convolutions
    assert all(op.twice == twice for op in convolutions)
    if twice:  # LiteRT's first step has a second one behind it
        assert all(op.twice_channels.all() for op in convolutions)


def test_weights_are_carried_over_and_minus_128_is_counted() -> None:
    model = Model()
    x = model.input((1, 2, 2, 3), **INPUT)
    weights = codes((4, 1, 1, 3))
    weights[1, 0, 0, :2] = -128
    w = model.constant("weights", weights, scale=[0.1] * 4, zero=[0] * 4)
    model.outputs = [model.op("CONV_2D", [x, w], (1, 2, 2, 4), conv(), **OUTPUT)]
    with pytest.warns(UserWarning, match=r"2 weights of -128 became -127.*2 in operator 0 CONV_2D"):
        (op,) = imported(model).graph.ops
    np.testing.assert_array_equal(op.weight[:, :, 0, 0], np.maximum(weights[:, 0, 0], -127))


def test_what_no_output_needs_is_left_out() -> None:
    model = Model()
    x = model.input((1, 4), **INPUT)
    y = model.op("RELU", [x], (1, 4), **INPUT)
    model.op("TANH", [x], (1, 4), scale=1 / 128)
    model.outputs = [y]
    assert [op.name for op in imported(model).graph.ops] == ["00_RELU"]
