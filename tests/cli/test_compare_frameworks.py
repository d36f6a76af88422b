"""`codesign compare` with ONNX Runtime, and with arrays of ONNX's and torch's names."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from tests.cli.conftest import Command
from tests.frontend.onnx_builder import Model

DATA = Path(__file__).parents[1] / "frontend" / "data"
RNG = np.random.default_rng(4)


def random(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def save_float(path: Path) -> onnx.ModelProto:
    model = Model(["N", 3, 6, 6])
    model.add("Conv", random(4, 3, 3, 3), random(4))
    model.add("Relu")
    model.add("Concat", "t1", axis=1)
    model.add("GlobalAveragePool")
    model.add("Softmax", axis=1)
    onnx.save(model.proto(rank=4), path)
    return model.proto(rank=4)


def save_quantised(path: Path, scale: float = 0.03) -> onnx.ModelProto:
    """``scale``: of the first convolution's result."""
    model = Model(["N", 3, 6, 6])
    model.quantized(0.0213, 120)
    weight = RNG.integers(-100, 101, (4, 3, 3, 3)).astype(np.int8)
    model.add("Conv", model.dequantized(weight, 0.0117))
    model.add("Relu")
    model.quantized(scale, 0)
    model.add("MaxPool", kernel_shape=[2, 2])
    model.quantized(scale, 0)
    onnx.save(model.proto(rank=4), path)
    return model.proto(rank=4, opset=19)


def every_tensor(proto: onnx.ModelProto, x: Any) -> dict[str, Any]:
    for node in proto.graph.node:
        for name in node.output:
            if name not in [one.name for one in proto.graph.output]:
                proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    values = ReferenceEvaluator(proto).run(None, {"x": x})
    return {
        one.name: value
        for one, value in zip(proto.graph.output, values, strict=True)
        if value.dtype != np.int8  # weights
    }


def test_a_quantised_model_with_onnx_runtime(tmp_path: Path, codesign: Command) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    save_quantised(path)
    np.save(tmp_path / "x.npy", random(20, 3, 6, 6))
    outcome = codesign("compare", path, "--golden", "onnxruntime", "--golden-inputs",
                       tmp_path / "x.npy", "--json", tmp_path / "out.json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "all 2 tensors are within 2 LSB" in outcome.out
    report = json.loads((tmp_path / "out.json").read_text())
    conv, pool = report["layers"]
    assert (conv["layer"], conv["values"]) == ("conv3", 8 * 4 * 4 * 4)
    assert conv["max_lsb"] <= 1
    assert conv["ties"] / conv["values"] < 0.01
    assert (pool["layer"], pool["alone"]) == ("maxpool7", 0)


def test_brevitas_with_onnx_runtime(tmp_path: Path, codesign: Command) -> None:
    """Its nodes are written out for ONNX Runtime; logits that are real are calibrated."""
    pytest.importorskip("onnxruntime")
    inputs = np.load(DATA / "qonnx_trunc.npz")["inputs"]
    np.save(tmp_path / "x.npy", inputs)
    outcome = codesign("compare", DATA / "qonnx_trunc.onnx", "--golden", "onnxruntime",
                       "--golden-inputs", tmp_path / "x.npy", "--samples", 24,
                       "--json", tmp_path / "out.json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "does not quantise linear; calibration chose" in outcome.out
    layers = json.loads((tmp_path / "out.json").read_text())["layers"]
    assert len(layers) == 8
    assert max(layer["alone"] for layer in layers) <= 1
    assert max(layer["mean_lsb"] for layer in layers[:6]) < 0.02


def test_a_float_model_with_onnx_runtime(tmp_path: Path, codesign: Command) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    save_float(path)
    outcome = codesign("compare", path, "--golden", "onnxruntime", "--samples", 3,
                       "--json", tmp_path / "out.json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "random inputs" in outcome.out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["tolerance"] is None
    layers = {layer["layer"]: layer for layer in report["layers"]}
    assert list(layers) == ["conv0", "concat2:sum1", "globalaveragepool3"]
    assert layers["conv0"]["values"] == 3 * 4 * 4 * 4
    assert 0 < layers["conv0"]["mean_lsb"] < 1
    assert layers["concat2:sum1"]["alone"] == 0, "fed with the codes of its parts"
    strict = codesign("compare", path, "--golden", "onnxruntime", "--tolerance", 0)
    assert strict.code == 1
    assert "conv0 is the first beyond 0 LSB" in strict.out


def test_arrays_by_the_names_of_onnx(tmp_path: Path, codesign: Command) -> None:
    """Codes or real values; a layer that is wrong is named, and what it does to others shown."""
    proto = save_quantised(tmp_path / "net.onnx")
    x = random(5, 3, 6, 6)
    golden = every_tensor(proto, x)
    codes = "t5"
    assert golden[codes].dtype == np.uint8
    wrong = golden[codes].copy()
    wrong[2, 1, 3, 0] = np.where(wrong[2, 1, 3, 0] > 100, wrong[2, 1, 3, 0] - 9, 200)
    np.savez(tmp_path / "good.npz", inputs=x, **golden)
    np.savez(tmp_path / "bad.npz", inputs=x, **{**golden, codes: wrong})
    good = codesign("compare", tmp_path / "net.onnx", "--golden", tmp_path / "good.npz")
    assert good.code == 0, good.err
    bad = codesign("compare", tmp_path / "net.onnx", "--golden", tmp_path / "bad.npz")
    assert bad.code == 1
    assert "conv3 is the first beyond 2 LSB" in bad.out
    assert "at sample 2, pixel (y=3, x=0), channel 1" in bad.out


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.head = torch.nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.stem(x))
        return result


def test_arrays_by_the_names_of_torch_modules(tmp_path: Path, codesign: Command) -> None:
    torch.manual_seed(2)
    network = Small().eval()
    x = torch.randn(6, 3, 6, 6)
    golden: dict[str, Any] = {"inputs": x.numpy()}
    for name, module in network.named_modules():
        module.register_forward_hook(
            lambda _, __, y, name=name: golden.update({name: y.detach().numpy()})
        )
    with torch.no_grad():
        network(x)
    golden["outputs"] = golden.pop("")
    for module in network.modules():
        module._forward_hooks.clear()
    torch.export.save(torch.export.export(network, (x,)), tmp_path / "net.pt2")
    np.savez(tmp_path / "golden.npz", **golden)
    outcome = codesign("compare", tmp_path / "net.pt2", "--golden", tmp_path / "golden.npz",
                       "--tolerance", 4, "--json", tmp_path / "out.json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "out.json").read_text())["layers"]
    assert [row["layer"] for row in rows] == ["stem.0", "head", "outputs"]
    assert [row["values"] for row in rows] == [6 * 4 * 16, 6 * 2 * 16, 6 * 2 * 16]
    assert 0 < rows[0]["mean_lsb"] < 1


def test_torch_computes_every_tensor(tmp_path: Path, codesign: Command) -> None:
    """Functions and what lies within modules too; layers that are fused are compared at their end.

    The example's batch, which the program is fixed to, does not divide the samples.
    """
    torch.manual_seed(3)
    network = Small().eval()
    program = torch.export.export(network, (torch.randn(4, 3, 6, 6),))
    torch.export.save(program, tmp_path / "net.pt2")
    np.save(tmp_path / "x.npy", random(11, 3, 6, 6))
    outcome = codesign("compare", tmp_path / "net.pt2", "--golden", "torch", "--calibration",
                       tmp_path / "x.npy", "--samples", 10,
                       "--json", tmp_path / "out.json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "out.json").read_text())["layers"]
    assert [row["layer"] for row in rows] == ["stem.0", "head"]
    assert [row["values"] for row in rows] == [8 * 4 * 16, 8 * 2 * 16]
    assert all(0 < row["mean_lsb"] < 1 and row["alone"] <= 2 for row in rows)
    wrong = codesign("compare", tmp_path / "net.pt2", "--golden", "onnxruntime")
    assert wrong.code == 2
    assert "onnxruntime computes .onnx files" in wrong.err


def test_what_cannot_be_compared(
    tmp_path: Path, codesign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    save_float(path)
    x = random(2, 3, 6, 6)
    np.savez(tmp_path / "none.npz", inputs=x)
    np.savez(tmp_path / "shape.npz", inputs=x, t1=x)
    np.savez(tmp_path / "type.npz", inputs=x, t1=np.zeros((2, 4, 4, 4), np.int64))
    np.save(tmp_path / "x.npy", x[:, :, 1:])
    for options, message in (
        ((tmp_path / "none.npz",), "no array of a layer of 'net'; arrays are called t1, t2, t3"),
        ((tmp_path / "shape.npz",), "'t1': values of shape (2, 3, 6, 6) are given; (2, 4, 4, 4)"),
        ((tmp_path / "type.npz",), "'t1': int64 values are given; real values, int8 or uint8"),
        (("onnxruntime", "--golden-inputs", tmp_path / "x.npy"), "takes (samples, 3, 6, 6)"),
        ((tmp_path / "none.npz", "--golden-inputs", tmp_path / "x.npy"), "a file has its own"),
    ):
        outcome = codesign("compare", path, "--golden", *options)
        assert outcome.code == 2
        assert message in outcome.err
    known = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("no module")
        return known(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    outcome = codesign("compare", path, "--golden", "onnxruntime")
    assert outcome.code == 2
    assert "ONNX Runtime is not installed (no module); run `pip install onnxruntime`" in outcome.err
