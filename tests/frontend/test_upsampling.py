"""Transposed convolutions and nearest resizing, against what each format says they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import tflite
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn import functional

from codesign import ir
from codesign.arch import preset
from codesign.arith import INT8_MAX, INT8_MIN
from codesign.compiler import compile as compile_graph
from codesign.errors import UnsupportedOpError
from codesign.frontend import network as net
from codesign.frontend.onnx import import_float, import_qdq
from codesign.frontend.onnx_file import from_proto
from codesign.frontend.passes import simplify
from codesign.frontend.tflite import import_model
from codesign.frontend.tflite_file import parse_model
from codesign.frontend.torch_export import from_module
from codesign.quant.execute import execute
from codesign.quant.quantize import quantize_network
from codesign.quant.values import Coding
from codesign.reference import graph as graph_reference
from tests.compiler import execution
from tests.frontend import onnx_builder
from tests.frontend.tflite_builder import PADDING, Model

RNG = np.random.default_rng(21)
ARCH = preset("tiny").replace(act_depth=1024, wgt_depth=8192, tap_depth=4096)
Array = npt.NDArray[Any]


def real(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def runs_alike(graph: ir.Graph, inputs: dict[str, Array]) -> dict[str, Array]:
    """What the graph reference says, once the machine has said the same."""
    expected = graph_reference.run(graph, inputs)
    program = compile_graph(graph, ARCH)
    found, _, _ = execution.infer(execution.start(program), program, inputs)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name].reshape(values.shape), name)
    return expected


# --- TFLite --------------------------------------------------------------------------------------
X, Y = {"scale": 0.05, "zero": -7}, {"scale": 0.13, "zero": 11}


def tflite_transposed(
    x: Array, weight: Array, bias: Array, stride: int, padding: int, size: tuple[int, int]
) -> Array:
    """reference_integer_ops::TransposeConv: the sums [H, W, O] of x [H, W, I] less its zero point,
    every input added where it is scattered."""
    outputs, height, width, _ = weight.shape
    total = np.zeros((*size, outputs), np.int64) + bias
    before = []
    for out, kernel in zip(size, (height, width), strict=True):
        steps = -(-out // stride) if padding == PADDING.SAME else (out + stride - kernel) // stride
        before.append(max(0, (steps - 1) * stride + kernel - out) // 2)
    for (y, c), (ky, kx) in (
        (place, at) for place in np.ndindex(x.shape[:2]) for at in np.ndindex(height, width)
    ):
        oy, ox = y * stride - before[0] + ky, c * stride - before[1] + kx
        if 0 <= oy < size[0] and 0 <= ox < size[1]:
            total[oy, ox] += weight[:, ky, kx].astype(np.int64) @ x[y, c].astype(np.int64)
    return total


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), [
    ((3, 3), 2, PADDING.SAME, (10, 8)),
    ((3, 3), 2, PADDING.SAME, (9, 7)),
    ((4, 4), 2, PADDING.SAME, (10, 8)),
    ((2, 2), 2, PADDING.VALID, (10, 8)),
    ((3, 4), 2, PADDING.VALID, (11, 10)),
    ((3, 2), 1, PADDING.SAME, (5, 4)),
    ((5, 5), 3, PADDING.SAME, (15, 12)),
    ((1, 1), 2, PADDING.SAME, (10, 8)),
])  # fmt: skip
def test_tflite_transpose_conv(
    kernel: tuple[int, int], stride: int, padding: int, size: tuple[int, int], biased: bool
) -> None:
    model = Model()
    x = model.input((1, 5, 4, 6), **X)
    weight = RNG.integers(-127, 128, (7, *kernel, 6)).astype(np.int8)
    scale = RNG.uniform(0.001, 0.01, 7).astype(np.float32)
    bias = RNG.integers(-3000, 3000, 7).astype(np.int32) * int(biased)
    operands = [
        model.constant("shape", [1, *size, 7], np.int32),
        model.constant("w", weight, scale=scale, zero=np.zeros(7), axis=0),
        x,
    ]
    if biased:
        unit = {"scale": np.float32(0.05) * scale, "zero": np.zeros(7)}
        operands.append(model.constant("b", bias, np.int32, **unit))
    options = "TransposeConvOptions", {"Padding": padding, "StrideH": stride, "StrideW": stride}
    model.outputs = [model.op("TRANSPOSE_CONV", operands, (1, *size, 7), options, **Y)]
    graph = import_model(parse_model(model.bytes(), "net.tflite", "net")).graph
    (op,) = graph.ops
    assert isinstance(op, ir.Conv2d)
    assert op.twice  # as the reference kernel
    codes = RNG.integers(-128, 128, (1, 6, 5, 4)).astype(np.int8)
    found = runs_alike(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    lines = codes[0].transpose(1, 2, 0).astype(np.int64) + 7
    total = tflite_transposed(lines, weight, bias, stride, padding, size)
    exact = total * (0.05 * scale / 0.13) + 11
    wanted = np.clip(np.round(exact), INT8_MIN, INT8_MAX).transpose(2, 0, 1)
    assert np.ptp(wanted) > 20
    difference = np.abs(found[0] - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02, "only what lies half way between two codes may differ"


@pytest.mark.parametrize(("size", "options"), [
    ((8, 12), {}),
    ((8, 12), {"HalfPixelCenters": True}),
    ((20, 30), {"HalfPixelCenters": True}),
    ((4, 6), {"AlignCorners": True}),
])  # fmt: skip
def test_tflite_resize(size: tuple[int, int], options: dict[str, bool]) -> None:
    model = Model()
    x = model.input((1, 4, 6, 3), **X)
    operands = [x, model.constant("size", size, np.int32)]
    table = "ResizeNearestNeighborOptions", options
    model.outputs = [model.op("RESIZE_NEAREST_NEIGHBOR", operands, (1, *size, 3), table, **X)]
    graph = import_model(parse_model(model.bytes(), "net.tflite", "net")).graph
    codes = RNG.integers(-128, 128, (1, 3, 4, 6)).astype(np.int8)
    found = runs_alike(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    lines, columns = np.arange(size[0]) * 4 // size[0], np.arange(size[1]) * 6 // size[1]
    np.testing.assert_array_equal(found, codes[:, :, lines][:, :, :, columns])


def test_the_schema_names_what_is_read() -> None:
    assert hasattr(tflite.BuiltinOperator, "TRANSPOSE_CONV")
    assert hasattr(tflite.BuiltinOptions, "ResizeNearestNeighborOptions")


# --- ONNX ----------------------------------------------------------------------------------------
def onnx_case(kind: str, *operands: Any, **attributes: Any) -> onnx_builder.Model:
    model = onnx_builder.Model(["N", 4, 5, 6])
    model.add(kind, *operands, **attributes)
    return model


TRANSPOSED: dict[str, dict[str, Any]] = {
    "plain": {},
    "strides": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    "odd pads": {"strides": [2, 2], "pads": [0, 1, 2, 0]},
    "grouped": {"strides": [2, 2], "group": 2},
    "dilated": {"strides": [2, 2], "dilations": [2, 2]},
    "upper": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "lower": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "shape": {"strides": [2, 2], "output_shape": [10, 12]},
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_onnx_conv_transpose(name: str) -> None:
    attributes = TRANSPOSED[name]
    outputs = 6 // attributes.get("group", 1)
    model = onnx_case("ConvTranspose", real(4, outputs, 3, 3), real(6), **attributes)
    proto = model.proto(rank=4)
    network = import_float(from_proto(proto, "net"))
    x = real(2, 4, 5, 6)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(proto.SerializeToString())
    (expected,) = session.run(None, {"x": x})
    for form in (network, simplify(network)):
        found = execute(form, x)[form.outputs[0]]
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-4)


def resizing(mode: str, rounding: str, scale: float) -> onnx_builder.Model:
    return onnx_case(
        "Resize", "", np.array([1, 1, scale, scale], np.float32), mode="nearest",
        coordinate_transformation_mode=mode, nearest_mode=rounding,
    )  # fmt: skip


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize(
    "mode", ["asymmetric", "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"]
)
def test_onnx_resize_gives_what_onnx_gives_or_is_refused(
    mode: str, rounding: str, scale: int
) -> None:
    proto = resizing(mode, rounding, scale).proto(rank=4, opset=19)
    x = real(1, 4, 5, 6)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    repeated = x.repeat(scale, axis=2).repeat(scale, axis=3)
    if not np.array_equal(np.asarray(expected), repeated):
        with pytest.raises(UnsupportedOpError, match="equally often"):
            import_float(from_proto(proto, "net"))
        return
    network = import_float(from_proto(proto, "net"))
    np.testing.assert_array_equal(execute(network, x)[network.outputs[0]], repeated)


def test_onnx_resize_by_sizes() -> None:
    model = onnx_case(
        "Resize", "", "", np.array([1, 4, 10, 18]), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    network = import_float(from_proto(model.proto(rank=4), "net"))
    assert network.shapes[network.outputs[0]] == (4, 10, 18)


def test_onnx_codes_of_a_transposed_convolution_stay() -> None:
    """Per output channel, along axis 1; a resize keeps the coding."""
    model = onnx_builder.Model(["N", 4, 5, 6])
    model.quantized(0.02, 3, np.int8)
    weight = RNG.integers(-127, 128, (4, 6, 3, 3)).astype(np.int8)
    scale = RNG.uniform(0.002, 0.004, 6)
    w = model.dequantized(weight, scale, np.zeros(6), axis=1)
    model.add("ConvTranspose", w, strides=[2, 2], pads=[1, 1, 1, 1])
    model.quantized(0.03, -5, np.int8)
    model.add("Resize", "", np.array([1, 1, 2, 2], np.float32), mode="nearest")
    model.quantized(0.03, -5, np.int8)
    proto = model.proto(rank=4, opset=19)
    onnx.checker.check_model(proto)
    graph = import_qdq(from_proto(proto, "net")).graph
    x = real(1, 4, 5, 6)
    (expected,) = ReferenceEvaluator(proto).run(None, {"x": x})
    codes = Coding(np.float32(0.02), 3).encode(x)
    found = runs_alike(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    steps = np.round(np.asarray(expected, np.float64) / np.float32(0.03)) - 5
    assert np.abs(steps - found).max() <= 1
    assert sorted(np.abs(graph.ops[0].weight).ravel()) == sorted(np.abs(weight).ravel())


# --- torch ---------------------------------------------------------------------------------------
class Decoder(nn.Module):
    """A transposed convolution, an activation behind a resize, and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(4, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.nearest = nn.Upsample(scale_factor=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.up(self.down(x))) + x
        return torch.relu(functional.interpolate(self.nearest(y), scale_factor=(1.0, 1.0)))


@pytest.mark.parametrize("module", [
    nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
    nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4, bias=False),
    nn.ConvTranspose2d(4, 6, (3, 2), 3, dilation=2, groups=2),
    nn.Upsample(scale_factor=3),
    nn.Upsample(size=(16, 24)),
    nn.Upsample(scale_factor=2, mode="nearest-exact"),
    Decoder(),
])  # fmt: skip
def test_torch_gives_what_torch_gives(module: nn.Module) -> None:
    x = torch.from_numpy(real(3, 4, 8, 12))
    network = from_module(module, x)
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    for form in (network, simplify(network)):
        found = execute(form, x.numpy())[form.outputs[0]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_quantised_decoder_is_close_to_torch() -> None:
    x = real(16, 4, 8, 12)
    module = Decoder().eval()
    network = from_module(module, torch.from_numpy(x))
    graph = quantize_network(network, x)
    tensor = graph.tensors[graph.inputs[0]]
    codes = Coding(tensor.scale, tensor.zero_point).encode(x[:1])
    made = graph.tensors[graph.outputs[0]]
    found = runs_alike(graph, {graph.inputs[0]: codes})[graph.outputs[0]]
    with torch.no_grad():
        expected = module(torch.from_numpy(x[:1])).numpy()
    values = (found.astype(float) - made.zero_point) * made.scale
    assert np.abs(values - expected).mean() < 0.05 * np.abs(expected).max()


def test_activations_meet_their_producer_before_a_resize() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Upsample(scale_factor=2), nn.ReLU())
    network = simplify(from_module(module, torch.zeros(1, 4, 4, 4)))
    assert [type(op) for op in network.ops] == [net.Conv2d, net.Upsample]
