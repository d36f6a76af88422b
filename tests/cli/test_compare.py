import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from codesign.artifact import Program
from codesign.frontend.tflite import load_tflite
from codesign.reference import graph as graph_reference
from tests.cli.conftest import Command
from tests.frontend.tflite_builder import Model, conv, fused

SAMPLES = 3
CODING = {"scale": 0.05, "zero": -7}
Golden = dict[str, npt.NDArray[Any]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two convolutions, their sum, and a softmax."""
    rng = np.random.default_rng(2)
    net = Model()
    x = net.input((1, 4, 3, 5), **CODING)
    maps = [x]
    for name in ("a", "b"):
        weights = rng.integers(-127, 128, (5, 1, 1, 5))
        w = net.constant(name, weights, scale=0.01)
        maps.append(net.op("CONV_2D", [maps[-1], w], (1, 4, 3, 5), conv(), scale=0.2))
    y = net.op("ADD", maps[1:], (1, 4, 3, 5), fused("AddOptions"), scale=0.3)
    softmax = "SoftmaxOptions", {"Beta": 1.0}
    net.outputs = [net.op("SOFTMAX", [y], (1, 4, 3, 5), softmax, scale=1 / 256, zero=-128)]
    path = tmp_path / "net.tflite"
    path.write_bytes(net.bytes())
    return path


@pytest.fixture
def golden(model: Path) -> Golden:
    """What a framework that computes exactly as the graph reference would give."""
    imported = load_tflite(model, SAMPLES)
    graph = imported.graph
    inputs = np.random.default_rng(3).integers(-128, 128, (SAMPLES, 5, 4, 3)).astype(np.int8)
    found = graph_reference.run(graph, {graph.inputs[0]: inputs})

    def nhwc(name: str) -> npt.NDArray[np.int8]:
        return found[name].transpose(0, 2, 3, 1).copy()

    layers = {
        f"layer_{op.index:02d}_{op.kind}": nhwc(op.results[0])[:1]
        for op in imported.operators
        if op.results
    }
    return {"inputs": nhwc(graph.inputs[0]), "logits": nhwc(graph.outputs[0]), **layers}


def compare(codesign: Command, model: Path, golden: Golden, *options: object) -> Any:
    path = model.with_name("golden.npz")
    np.savez(path, **golden)
    return codesign("compare", model, "--golden", path, *options)


def test_equal_tensors(model: Path, golden: Golden, codesign: Command) -> None:
    outcome = compare(codesign, model, golden, "--tolerance", 0)
    assert outcome.code == 0, outcome.err
    assert "all 4 tensors are within 0 LSB; 0 ties of 1 LSB" in outcome.out


def test_a_wrong_layer_is_named(
    model: Path, golden: Golden, codesign: Command, tmp_path: Path
) -> None:
    """The second convolution is off by five in the framework's eyes, what follows is not."""
    layer = golden["layer_01_CONV_2D"].astype(np.int64)
    layer[0, 2, 1, 3] += 5 if layer[0, 2, 1, 3] < 0 else -5
    layer[0, 0, 0, :2] += np.where(layer[0, 0, 0, :2] < 0, 1, -1)
    changed = golden | {"layer_01_CONV_2D": layer.astype(np.int8)}
    outcome = compare(codesign, model, changed, "--json", tmp_path / "out.json")
    assert outcome.code == 1
    assert (
        "layer_01_CONV_2D is the first beyond 2 LSB: 5 at sample 0, pixel (y=2, x=1), channel 3"
        in outcome.out
    )
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["first_beyond"] == "layer_01_CONV_2D"
    by_name = {row["layer"]: row for row in report["layers"]}
    wrong = by_name["layer_01_CONV_2D"]
    assert (wrong["max_lsb"], wrong["ties"], wrong["beyond"], wrong["values"]) == (5, 2, 1, 60)
    assert wrong["mean_lsb"] == pytest.approx(7 / 60)
    assert by_name["layer_00_CONV_2D"]["max_lsb"] == 0
    # fed with the wrong tensor the sum is wrong, though the network's is not
    assert by_name["layer_02_ADD"]["max_lsb"] == 0
    assert by_name["layer_02_ADD"]["alone"] >= 2


def test_ties_are_counted(model: Path, golden: Golden, codesign: Command) -> None:
    logits = golden["logits"].astype(np.int64)
    logits[:, 0, 0, 0] += np.where(logits[:, 0, 0, 0] < 0, 1, -1)
    outcome = compare(codesign, model, golden | {"logits": logits.astype(np.int8)})
    assert outcome.code == 0
    assert f"within 2 LSB; {SAMPLES} ties of 1 LSB" in outcome.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": None}, "has no array 'inputs'"),
        ({"inputs": np.zeros((1, 4, 3, 5))}, "float64 values of shape (1, 4, 3, 5) are given"),
        ({"logits": np.zeros((2, 7), np.int8)}, "values of shape (2, 7) are given"),
    ],
)
def test_what_cannot_be_compared(
    change: dict[str, Any], message: str, model: Path, golden: Golden, codesign: Command
) -> None:
    changed = {name: value for name, value in (golden | change).items() if value is not None}
    outcome = compare(codesign, model, changed)
    assert outcome.code == 2
    assert message in outcome.err


def test_only_npz_files(model: Path, golden: Golden, codesign: Command, tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_text("text")
    assert "is no .npz file" in codesign("compare", model, "--golden", tmp_path / "golden.npz").err
    missing = codesign("compare", model, "--golden", tmp_path / "none.npz")
    assert missing.code == 2
    assert "none.npz'; give a file, or one of onnxruntime, torch" in missing.err
    computed = codesign("compare", model, "--golden", "onnxruntime")
    assert computed.code == 2
    assert "onnxruntime computes .onnx files" in computed.err


def test_a_tflite_file_is_compiled_and_run(
    model: Path, golden: Golden, codesign: Command, tmp_path: Path
) -> None:
    program, inputs, outputs = (tmp_path / name for name in ("p.prog", "x.npy", "y.npy"))
    outcome = codesign("compile", model, "--arch", "tiny", "-o", program)
    assert outcome.code == 0, outcome.err
    assert "Calibrating" not in outcome.out
    assert [step.op for step in Program.load(program).host_steps] == ["softmax"]
    codes = golden["inputs"].transpose(0, 3, 1, 2)
    np.save(inputs, codes)
    assert codesign("run", program, "--inputs", inputs, "--outputs", outputs).code == 0
    np.testing.assert_array_equal(np.load(outputs), golden["logits"].transpose(0, 3, 1, 2))
    np.save(inputs, (0.05 * (codes.astype(np.float32) + 7)).astype(np.float32))
    assert codesign("run", program, "--inputs", inputs, "--outputs", outputs).code == 0
    np.testing.assert_allclose(np.load(outputs).sum(axis=1), 1, rtol=1e-5)
    outcome = codesign("compile", model, "--arch", "tiny", "-o", program, "--calibration", inputs)
    assert outcome.code == 2
    assert "is quantised already; leave out --calibration" in outcome.err
