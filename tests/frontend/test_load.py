"""The MODEL and calibration arguments, right and wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from codesign.errors import GraphError
from codesign.frontend.load import CalibrationWarning, calibration_data, load_network
from codesign.frontend.network import Network

FORMS = "a .pt2 file of torch.export.save, or module:function that returns (model, example_input)"


def test_saved_program(tmp_path: Path) -> None:
    program = torch.export.export(nn.Conv2d(2, 3, 1).eval(), (torch.zeros(1, 2, 4, 4),))
    torch.export.save(program, tmp_path / "small.pt2")
    network = load_network(str(tmp_path / "small.pt2"))
    assert network.name == "small"
    assert network.shapes[network.outputs[0]] == (3, 4, 4)


def test_function_of_a_module() -> None:
    network = load_network("codesign.zoo.layers:conv3x3s2")
    assert network.name == "conv3x3s2"
    assert network.shapes[network.outputs[0]] == (64, 16, 16)


def test_module_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_model_here.py").write_text(
        "import torch\ndef make():\n    return torch.nn.ReLU(), torch.zeros(1, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_network("own_model_here:make").shapes["input"] == (3, 1, 1)


WRONG = [
    ("model", ValueError, f"model 'model' is neither form of a network: {FORMS}"),
    ("a b:c", ValueError, f"model 'a b:c' is neither form of a network: {FORMS}"),
    ("codesign.zoo.demo:", ValueError, "is neither form of a network"),
    ("nowhere.pt2", FileNotFoundError, f"model file nowhere.pt2 does not exist; MODEL is {FORMS}"),
    ("codesign.zoo.demo:none", ValueError, f"'codesign.zoo.demo' has no 'none'; MODEL is {FORMS}"),
    ("codesign.zoo.demo:EPOCHS", ValueError, f"codesign.zoo.demo:EPOCHS is int; MODEL is {FORMS}"),
    ("builtins:dict", GraphError, "builtins:dict returned dict; return (model, example_input)"),
    ("no_such_module:f", ModuleNotFoundError, "no_such_module"),
]


@pytest.mark.parametrize(("model", "kind", "message"), WRONG, ids=[model for model, *_ in WRONG])
def test_wrong_models(model: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        load_network(model)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("nothing")
    torch.save(nn.ReLU().state_dict(), tmp_path / "state.pt2")
    for name in ("text.pt2", "state.pt2"):
        message = f"{name} holds no exported program; write it with torch.export.save"
        with pytest.raises(GraphError, match=re.escape(message)):
            load_network(str(tmp_path / name))


NETWORK = Network("n", {"x": (2, 3, 4)}, (), ("x",), ("x",))
VECTOR = Network("n", {"x": (5, 1, 1)}, (), ("x",), ("x",))


def test_random_calibration_warns_and_repeats() -> None:
    with pytest.warns(CalibrationWarning, match="64 random inputs of seed 7"):
        first = calibration_data(NETWORK, seed=7)
    with pytest.warns(CalibrationWarning):
        again = calibration_data(NETWORK, seed=7)
    assert first.shape == (64, 2, 3, 4)
    np.testing.assert_array_equal(first, again)


def test_calibration_from_a_file(tmp_path: Path) -> None:
    data = np.arange(48, dtype=np.float64).reshape(2, 2, 3, 4)
    np.save(tmp_path / "x.npy", data)
    result = calibration_data(NETWORK, tmp_path / "x.npy")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, data)


def test_vectors_may_have_two_dimensions(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((7, 5), np.float32))
    assert calibration_data(VECTOR, tmp_path / "x.npy").shape == (7, 5, 1, 1)


WRONG_DATA = [
    (np.zeros((2, 3, 4)), "has shape (2, 3, 4); the network takes [K, 2, 3, 4]"),
    (np.zeros((0, 2, 3, 4)), "has shape (0, 2, 3, 4); the network takes [K, 2, 3, 4]"),
    (np.zeros((1, 2, 3, 4), np.uint8), "holds uint8; one floating-point array is needed"),
    (np.full((1, 2, 3, 4), np.inf), "has values that are not finite; remove those samples"),
]


@pytest.mark.parametrize(("data", "message"), WRONG_DATA, ids=[text for _, text in WRONG_DATA])
def test_wrong_calibration(tmp_path: Path, data: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", data)
    with pytest.raises(ValueError, match=re.escape(message)):
        calibration_data(NETWORK, tmp_path / "x.npy")
