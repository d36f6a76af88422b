"""`codesign compile model.onnx`."""

from pathlib import Path

import numpy as np
import onnx

from codesign.artifact import Program
from tests.cli.conftest import Command
from tests.frontend.onnx_builder import Model

DATA = Path(__file__).parents[1] / "frontend" / "data"


def test_a_float_model_is_calibrated(tmp_path: Path, codesign: Command) -> None:
    random = np.random.default_rng(1)
    model = Model(["N", 3, 6, 6])
    model.add("Conv", random.standard_normal((4, 3, 3, 3)).astype(np.float32))
    model.add("GlobalAveragePool")
    model.add("Softmax", axis=1)
    onnx.save(model.proto(rank=4), tmp_path / "net.onnx")
    np.save(tmp_path / "samples.npy", random.standard_normal((8, 3, 6, 6)).astype(np.float32))
    outcome = codesign("compile", tmp_path / "net.onnx", "--arch", "tiny", "--calibration",
                       tmp_path / "samples.npy", "-o", tmp_path / "net.prog")  # fmt: skip
    assert outcome.code == 0, outcome.err
    program = Program.load(tmp_path / "net.prog")
    assert program.graph.name == "net"
    assert [step.op for step in program.host_steps] == ["softmax"]


def quantised(path: Path) -> None:
    random = np.random.default_rng(2)
    model = Model(["N", 12])
    model.quantized(0.02, 120)
    weight = random.integers(-128, 128, (5, 12)).astype(np.int8)
    weight[0, 0] = -128
    model.add("Gemm", model.dequantized(weight, 0.01), transB=1)
    model.quantized(0.03, 128)
    model.add("Softmax", axis=-1)
    onnx.save(model.proto(), path)


def test_a_qdq_model_keeps_its_scales(tmp_path: Path, codesign: Command) -> None:
    quantised(tmp_path / "net.onnx")
    outcome = codesign("compile", tmp_path / "net.onnx", "--arch", "tiny", "--batch", 2,
                       "-o", tmp_path / "net.prog")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "Warning: net: " in outcome.out
    assert "weights of -128 became -127" in outcome.out
    program = Program.load(tmp_path / "net.prog")
    (source,) = program.graph.inputs
    assert program.graph.tensors[source].zero_point == -8
    assert [step.op for step in program.host_steps] == ["softmax"]
    np.save(tmp_path / "x.npy", np.zeros((2, 12), np.float32))
    outcome = codesign("run", tmp_path / "net.prog", "--inputs", tmp_path / "x.npy",
                       "--outputs", tmp_path / "y.npy")  # fmt: skip
    assert outcome.code == 0, outcome.err
    np.testing.assert_allclose(np.load(tmp_path / "y.npy").reshape(2, 5), 0.2, rtol=1e-6)


def test_what_a_brevitas_model_leaves_real_is_calibrated(tmp_path: Path, codesign: Command) -> None:
    model, program = DATA / "qonnx_trunc.onnx", tmp_path / "net.prog"
    refused = codesign("compile", model, "--arch", "tiny", "-o", program)
    assert refused.code == 2
    assert "its result 'linear' is not quantised; give --calibration" in refused.err
    golden = np.load(DATA / "qonnx_trunc.npz")
    np.save(tmp_path / "x.npy", golden["inputs"])
    outcome = codesign("compile", model, "--arch", "tiny", "-o", program,
                       "--calibration", tmp_path / "x.npy")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "does not quantise linear; calibration chose the scales" in outcome.out
    graph = Program.load(program).graph
    assert graph.tensors[graph.outputs[0]].scale > golden["outputs"].max() / 255


def test_what_is_refused(tmp_path: Path, codesign: Command) -> None:
    missing = codesign("compile", tmp_path / "no.onnx", "--arch", "tiny", "-o", tmp_path / "p")
    assert missing.code == 2
    assert "no file is called" in missing.err
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    bad = codesign("compile", tmp_path / "bad.onnx", "--arch", "tiny", "-o", tmp_path / "p")
    assert bad.code == 2
    assert "is no valid ONNX model" in bad.err
    quantised(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.zeros((2, 12), np.float32))
    twice = codesign("compile", tmp_path / "net.onnx", "--arch", "tiny", "-o", tmp_path / "p",
                     "--calibration", tmp_path / "x.npy")  # fmt: skip
    assert "is quantised already; leave out --calibration" in twice.err
