"""What ONNX imports refuse, and what they say."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from codesign.errors import CodesignError, GraphError, UnsupportedOpError
from codesign.frontend.onnx import import_float, import_qdq, load_onnx
from codesign.frontend.onnx_file import from_proto, read_model
from tests.frontend.onnx_builder import Model

DATA = Path(__file__).parent / "data"
ONES = np.ones((2, 3, 3, 3), np.float32)


def refused(proto: onnx.ModelProto, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        import_float(from_proto(proto, "net"))


def small() -> Model:
    model = Model(["N", 3, 8, 8])
    model.add("Conv", ONES)
    return model


# --- files -------------------------------------------------------------------------------------
def test_damaged_files(tmp_path: Path) -> None:
    whole = small().proto(rank=4).SerializeToString()
    path = tmp_path / "net.onnx"
    for content in (b"", b"not a model", whole[: len(whole) // 2], whole[:-1], whole[1:]):
        path.write_bytes(content)
        with pytest.raises(CodesignError, match=r"net\.onnx is no valid ONNX model: .*export it"):
            load_onnx(path)


@pytest.mark.parametrize("name", ["", "mixed_dynamo", "inverted_script", "qonnx_int8"])
def test_random_damage_never_escapes_as_another_error(tmp_path: Path, name: str) -> None:
    proto = onnx.load(DATA / f"{name}.onnx") if name else small().proto(rank=4)
    whole = proto.SerializeToString()
    random = np.random.default_rng(3)
    path = tmp_path / "net.onnx"
    for _ in range(100):
        damaged = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            damaged[position] = int(random.integers(0, 256))
        path.write_bytes(bytes(damaged))
        check(path)


@pytest.mark.parametrize("name", ["mixed_dynamo", "qonnx_int8"])
def test_models_that_contradict_themselves(tmp_path: Path, name: str) -> None:
    """Nodes with other operators, operands and attributes; constants of other shapes and types."""
    random = np.random.default_rng(4)
    for _ in range(60):
        proto = onnx.load(DATA / f"{name}.onnx")
        node = proto.graph.node[int(random.integers(len(proto.graph.node)))]
        constant = proto.graph.initializer[int(random.integers(len(proto.graph.initializer)))]
        values = onnx.numpy_helper.to_array(constant)
        change = int(random.integers(5))
        if change == 0 and node.attribute:
            node.attribute.remove(node.attribute[int(random.integers(len(node.attribute)))])
        elif change == 1 and len(node.input) > 1:
            del node.input[-1]
        elif change == 2:
            node.op_type = str(random.choice(["Conv", "Add", "Concat", "Quant", "Split", "Gemm"]))
        else:
            other = [values.reshape(-1), values[None], values.astype(np.int64)][change % 3]
            constant.CopyFrom(onnx.numpy_helper.from_array(other, constant.name))
        onnx.save(proto, tmp_path / "net.onnx")
        check(tmp_path / "net.onnx")


def check(path: Path) -> None:
    """It is read, or refused as the domain's errors do."""
    with contextlib.suppress(CodesignError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = read_model(path)
        if model.quantized:
            import_qdq(model)
        else:
            import_float(model)


def test_initializers_of_another_size_or_type() -> None:
    for dims, kind in (([2, 3, 3, 4], TensorProto.FLOAT), ([2, 3, 3, 3], 99)):
        proto = small().proto(rank=4)
        (weights,) = proto.graph.initializer
        weights.dims[:] = dims
        weights.data_type = kind
        refused(proto, GraphError, "initializer 'c0_0' of shape .* cannot be read")


def test_external_data_that_is_missing(tmp_path: Path) -> None:
    onnx.save(
        small().proto(rank=4), tmp_path / "net.onnx", save_as_external_data=True,
        location="weights.bin", size_threshold=0,
    )  # fmt: skip
    assert load_onnx(tmp_path / "net.onnx").ops
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:-4])
    remedy = r"tensor.*'?c0_0'?.*; put its whole data file beside the model"
    with pytest.raises(GraphError, match=remedy):
        load_onnx(tmp_path / "net.onnx")
    data.unlink()
    with pytest.raises(GraphError, match=remedy):
        load_onnx(tmp_path / "net.onnx")


def test_old_opsets() -> None:
    refused(
        small().proto(rank=4, opset=9), GraphError,
        "opset 9 is older than 11; convert the model with onnx.version_converter",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("extents", "match"),
    [
        (["N", 3, "H", "W"], r"dynamic shape \['N', 3, 'H', 'W'\]; the batch alone may be"),
        (["N", 3, 8], r"\[B, C, H, W\] or \[B, F\] is accepted"),
    ],
)
def test_input_shapes(extents: list[Any], match: str) -> None:
    refused(Model(extents).proto(rank=4), GraphError, match)


def test_input_types() -> None:
    refused(
        Model(["N", 4], TensorProto.INT64).proto(), GraphError,
        "is INT64; FLOAT, INT8 and UINT8 are accepted",
    )  # fmt: skip


def test_several_inputs() -> None:
    model = small()
    model.inputs.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4]))
    refused(model.proto(rank=4), GraphError, r"it has 2 inputs \['x', 'z'\]; one is accepted")


def test_outputs() -> None:
    model = small()
    refused(model.proto(["x"], rank=4), GraphError, "output 'x' is the input")
    model.constants["k"] = np.ones(1, np.float32)
    refused(model.proto(["k"], rank=4), GraphError, "does not depend on the input")


# --- nodes -------------------------------------------------------------------------------------
NODES: dict[str, tuple[Callable[[Model], object], str]] = {
    "transposed convolution": (
        lambda m: m.add("ConvTranspose", np.ones((3, 2, 2, 2), np.float32), pads=[3, 0, 0, 0]),
        "ConvTranspose node 'convtranspose0' is not supported: .*more than its kernel",
    ),
    "a stride above the kernel that is cut to the same": (
        lambda m: m.add("ConvTranspose", np.ones((3, 2, 2, 2), np.float32), strides=[3, 3],
                        auto_pad="SAME_UPPER"),
        "ConvTranspose node 'convtranspose0' is not supported: .*give output_shape",
    ),
    "resizing of a half": (
        lambda m: m.add("Resize", "", np.array([1, 1, 1.5, 2], np.float32), mode="nearest"),
        "Resize node 'resize0' is not supported: .*does not repeat every pixel equally often",
    ),
    "resizing of channels": (
        lambda m: m.add("Resize", "", "", np.array([1, 6, 16, 16]), mode="nearest"),
        "Resize node 'resize0' is not supported: it resizes axis 1; height and width",
    ),
    "linear resizing": (
        lambda m: m.add("Resize", "", np.array([1, 1, 2, 2], np.float32), mode="linear"),
        "Resize node 'resize0' is not supported: its mode is 'linear'; 'nearest' is accepted",
    ),
    "a pool whose extents nobody agrees on": (
        lambda m: m.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="VALID",
                        ceil_mode=1),
        "MaxPool node 'maxpool0' is not supported: its ceil_mode with auto_pad VALID",
    ),
    "an operator that no unit has": (
        lambda m: m.add("LSTM", np.ones((1, 4, 3), np.float32), np.ones((1, 4, 1), np.float32)),
        "LSTM node 'lstm0' is not supported: the machine executes Abs, Add, ArgMax",
    ),
    "product of two tensors": (
        lambda m: (m.add("Conv", ONES, pads=[1] * 4), m.add("Conv", ONES[:, :2], pads=[1] * 4),
                   m.add("Mul", "t0")),
        "Mul node 'mul2' .*only Add and Sub can",
    ),
    "reflection": (
        lambda m: m.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect"),
        "Pad node .*mode 'reflect'.*zeros around height and width",
    ),
    "padding with ones": (
        lambda m: m.add("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(1)),
        r"Pad node .*with 1\.0; zeros",
    ),
    "mean over channels": (
        lambda m: m.add("ReduceMean", axes=[1]), r"ReduceMean node .*axes \[1\]; height and width",
    ),
    "a bias along the batch": (
        lambda m: (m.add("Flatten"), m.add("Gemm", np.ones((192, 2), np.float32),
                                           np.ones((2, 1), np.float32))),
        r"Gemm node .*its bias has shape \[2, 1\]; 2 numbers are accepted",
    ),
    "a constant along columns": (
        lambda m: m.add("Add", np.ones(8, np.float32)),
        r"Add node .*its constant has shape \[8\]; one element, or one for each of the 3 channels",
    ),
    "moved values": (
        lambda m: m.add("Transpose", perm=[0, 2, 3, 1]), r"Transpose node .*moves values",
    ),
    "reshape into another map": (
        lambda m: m.add("Reshape", np.array([-1, 6, 4, 8])), "Reshape node .*only flattening",
    ),
    "a map into a linear layer": (
        lambda m: m.add("MatMul", np.ones((8, 2), np.float32)), r"\[B, F\] is accepted: flatten",
    ),
    "weights of other channels": (
        lambda m: m.add("Conv", ONES[:, :2]), "Conv node .*do not fit 3 channels; export",
    ),
    "a kernel larger than its map": (
        lambda m: m.add("Conv", np.ones((2, 3, 9, 9), np.float32)), "larger than its map",
    ),
    "computed weights": (
        lambda m: m.add("Conv", "x"), "its operand 'x' must be a constant",
    ),
    "logarithms": (
        lambda m: m.add("LogSoftmax", axis=1), "LogSoftmax node .*or end with Softmax",
    ),
    "softmax over columns": (
        lambda m: m.add("Softmax"), "Softmax node .*over axis -1 of 4; channels are accepted",
    ),
    "what follows a softmax": (
        lambda m: (m.add("Relu"), m.add("Softmax", axis=1), m.add("Relu")),
        "Relu node 'relu2' .*result of softmax, which runs on the host",
    ),
    "indices of a pool": (
        lambda m: (m.add("MaxPool", outputs=2, kernel_shape=[2, 2]),
                   m.add("Cast", inputs=["t0_1"], to=1)),
        "Cast node .*operand 't0_1' is not computed",
    ),
    "dynamic quantisation": (
        lambda m: m.add("DynamicQuantizeLinear", outputs=3), "quantises while it runs",
    ),
    "a constant without value": (
        lambda m: (m.add("Constant", inputs=[]), m.add("Add", inputs=["x", "t0"])),
        "Constant node 'constant0': its constants cannot be computed",
    ),
    "a function without a definition": (
        lambda m: m.add("Gelu"), "Gelu node 'gelu0': it cannot be computed: ",
    ),
    "weights that are not finite": (
        lambda m: m.add("Conv", ONES * np.inf), "parameters that are not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_nodes(name: str) -> None:
    build, match = NODES[name]
    model = Model([1, 3, 8, 8])
    build(model)
    refused(model.proto(rank=4), CodesignError, match)


def test_softmax_over_whole_maps() -> None:
    """Before opset 13, axis 1 means all of channels, height and width."""
    model = Model([1, 3, 8, 8])
    model.add("Softmax", axis=1)
    refused(model.proto(rank=4, opset=12), UnsupportedOpError, r"over all of \[3, 8, 8\].*opset 13")
    import_float(from_proto(pooled_softmax().proto(rank=4, opset=12), "net"))


def pooled_softmax() -> Model:
    model = Model([1, 3, 8, 8])
    model.add("GlobalAveragePool")
    model.add("Softmax", axis=1)
    return model


def test_other_formats() -> None:
    model = small()
    model.add("FusedConv", ONES, domain="com.microsoft")
    refused(
        model.proto(rank=4, domains={"com.microsoft": 1}), UnsupportedOpError,
        "its domain is 'com.microsoft'",
    )  # fmt: skip
    model = Model([1, 3, 8, 8])
    q, zero = np.float32(0.1), np.uint8(0)
    model.add("QuantizeLinear", q, zero)
    model.add("QLinearConv", q, zero, ONES.astype(np.int8), q, np.int8(0), q, zero)
    with pytest.raises(UnsupportedOpError, match="quantise in the QDQ format"):
        import_qdq(from_proto(model.proto(rank=4), "net"))


def test_a_quantised_model_is_not_float() -> None:
    model = Model([1, 4])
    model.quantized(0.1, 0, np.int8)
    refused(model.proto(), GraphError, "is quantised already; it needs no calibration")
