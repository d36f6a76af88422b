from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.artifact import HostStep, Program
from tests.cli.conftest import EXAMPLES, Command


def test_a_function_is_compiled(program: Path, kept: Path) -> None:
    loaded = Program.load(program)
    assert loaded.arch.name == "tiny"
    assert loaded.seed == 5
    assert loaded.predicted_cycles > 0
    assert not loaded.tensors
    assert Program.load(kept).tensors


def test_a_saved_program_is_compiled_for_a_yaml_arch(tmp_path: Path, codesign: Command) -> None:
    model = torch.nn.Conv2d(3, 4, 3).eval()
    exported = torch.export.export(model, (torch.ones(1, 3, 8, 8),))
    torch.export.save(exported, tmp_path / "net.pt2")
    outcome = codesign("compile", tmp_path / "net.pt2", "--arch", EXAMPLES / "odd.yaml",
                       "--batch", 2, "-o", tmp_path / "new" / "net.prog")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "random inputs" in outcome.out, "an example of equal values calibrates nothing"
    loaded = Program.load(tmp_path / "new" / "net.prog")
    assert loaded.arch.pixels == 5
    assert loaded.graph.batch == 2


def test_the_seed_decides_random_weights(
    tmp_path: Path, codesign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    images = []
    for number, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number}.prog"
        codesign("compile", "mine:network", "--arch", "tiny", "--seed", seed, "-o", path)
        images.append(Program.load(path).image)
    assert images[0] == images[1] != images[2]


def function(name: str) -> str:
    return f"{__name__}:{name}"


def no_pair() -> torch.nn.Module:
    return torch.nn.ReLU()


def unsupported() -> tuple[torch.nn.Module, torch.Tensor]:
    return torch.nn.LayerNorm(4), torch.zeros(1, 3, 4, 4)


class Recurrent(torch.nn.Module):
    """torch warns of its weights before the operation is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x[:, 0])[0]


def recurrent() -> tuple[torch.nn.Module, torch.Tensor]:
    return Recurrent(), torch.zeros(1, 3, 4, 4)


def too_large() -> tuple[torch.nn.Module, torch.Tensor]:
    return torch.nn.Conv2d(512, 64, 3), torch.zeros(1, 512, 16, 16)


@pytest.mark.parametrize(
    ("model", "arch", "message"),
    [
        ("missing.pt2", "tiny", "no file is called 'missing.pt2'"),
        ("mine", "tiny", "neither a .pt2 file (torch.export.save) nor `module:function`"),
        ("no_such_module:f", "tiny", "module 'no_such_module' cannot be imported from here"),
        ("math:f", "tiny", "module 'math' has no function 'f'"),
        (function("no_pair"), "tiny", "return (torch.nn.Module, example input tensor)"),
        (function("unsupported"), "tiny", "native_layer_norm"),
        (function("recurrent"), "tiny", "(Recurrent)"),
        (function("too_large"), "tiny", "the architecture has"),
        (function("no_pair"), "huge", "no preset is called 'huge'; there are aup_zu3, kv260,"),
    ],
)
def test_what_cannot_be_compiled_is_told(
    model: str, arch: str, message: str, tmp_path: Path, codesign: Command
) -> None:
    outcome = codesign("compile", model, "--arch", arch, "-o", tmp_path / "x.prog")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "x.prog").exists()


def test_calibration_must_be_an_npy_file(tmp_path: Path, codesign: Command) -> None:
    (tmp_path / "x.npy").write_text("1 2 3")
    outcome = codesign("compile", function("unsupported"), "--arch", "tiny", "-o", tmp_path / "p",
                       "--calibration", tmp_path / "x.npy")  # fmt: skip
    assert outcome.code == 2
    assert "is no .npy file" in outcome.err
    np.savez(tmp_path / "x.npz", a=np.zeros(1))
    outcome = codesign("compile", function("unsupported"), "--arch", "tiny", "-o", tmp_path / "p",
                       "--calibration", tmp_path / "x.npz")  # fmt: skip
    assert "holds several arrays" in outcome.err


def ends_with_softmax() -> tuple[torch.nn.Module, torch.Tensor]:
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 5, 4), torch.nn.Flatten(), torch.nn.Softmax(1))
    return model, torch.ones(1, 2, 4, 4)


def test_a_softmax_at_the_end_is_the_hosts(tmp_path: Path, codesign: Command) -> None:
    path = tmp_path / "net.prog"
    outcome = codesign("compile", function("ends_with_softmax"), "--arch", "tiny", "-o", path)
    assert outcome.code == 0, outcome.err
    program = Program.load(path)
    (output,) = program.graph.outputs
    assert program.host_steps == (HostStep("softmax", output, {"beta": 1.0}),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def network(:", "module 'raising' raised SyntaxError"),
        ("raise KeyError('weights')", "module 'raising' raised KeyError: 'weights'"),
        ("import no_such_package", "module 'raising' raised ModuleNotFoundError: No module named"),
        ("from math import no_such", "module 'raising' raised ImportError: cannot import name"),
        ("def network():\n    return {}['weights']", "raising:network raised KeyError: 'weights'"),
    ],
)
def test_what_the_users_code_raises_is_told_in_a_line(
    text: str, message: str, tmp_path: Path, codesign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    outcome = codesign("compile", "raising:network", "--arch", "tiny", "-o", tmp_path / "x.prog")
    assert outcome.code == 2
    assert message in outcome.err
    assert "codesign --debug" in outcome.err


@pytest.mark.parametrize("kind", ["complex64", "U3", "bool"])
def test_calibration_takes_real_numbers(kind: str, tmp_path: Path, codesign: Command) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 4, 4), kind))
    outcome = codesign("compile", function("ends_with_softmax"), "--arch", "tiny",
                       "--calibration", tmp_path / "x.npy", "-o", tmp_path / "x.prog")  # fmt: skip
    assert outcome.code == 2
    assert "calibrate with real numbers" in outcome.err


def test_calibration_with_zeros_alone_is_warned_of(tmp_path: Path, codesign: Command) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 4, 4), np.float32))
    outcome = codesign("compile", function("ends_with_softmax"), "--arch", "tiny",
                       "--calibration", tmp_path / "x.npy", "-o", tmp_path / "x.prog")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "holds zeros alone" in outcome.out
