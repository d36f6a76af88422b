"""The figures of a quantised network, on the machine reference instead of the RTL."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.arch import preset
from codesign.artifact import Program
from codesign.cli.bench.network import REFERENCES, agreement, large, reference, references
from codesign.cli.devices import open_device
from codesign.compiler import compile as compile_graph
from codesign.frontend.tflite import load_tflite
from codesign.reference import graph as graph_reference
from codesign.report.explain import explain, least_traffic
from codesign.zoo.random_weights import seeded
from codesign.zoo.resnet18 import ResNet18
from tests.frontend.tflite_builder import Model, conv

SAMPLES = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A convolution, with results of which one value is 3 LSB off."""
    net = Model()
    x = net.input((1, 6, 6, 5), scale=0.05, zero=-7)
    weights = np.random.default_rng(4).integers(-127, 128, (8, 1, 1, 5))
    w = net.constant("w", weights, scale=0.01)
    net.outputs = [net.op("CONV_2D", [x, w], (1, 6, 6, 8), conv(), scale=0.2)]
    (tmp_path / "model.tflite").write_bytes(net.bytes())
    graph = load_tflite(tmp_path / "model.tflite", SAMPLES).graph
    codes = np.random.default_rng(5).integers(-128, 128, (SAMPLES, 5, 6, 6), np.int8)
    (name,) = graph.outputs
    outputs = graph_reference.run(graph, {graph.inputs[0]: codes})[name].transpose(0, 2, 3, 1)
    outputs = outputs.copy()
    outputs[1, 2, 3, 4] += 3 if outputs[1, 2, 3, 4] < 0 else -3
    np.savez(tmp_path / "golden.npz", inputs=codes.transpose(0, 2, 3, 1), outputs=outputs)
    return tmp_path


def rows(folder: Path, name: str, classes: bool) -> dict[str, float]:
    arch = preset(name)
    with open_device("reference", arch) as device:
        found = reference(folder, classes, arch, device)
    prefix = f"network.{folder.name}."
    assert all(row.name.startswith(prefix) for row in found)
    return {row.name.removeprefix(prefix): row.value for row in found}


def compiled(folder: Path, name: str) -> Program:
    return compile_graph(load_tflite(folder / "model.tflite").graph, preset(name))


def test_figures_of_a_network(folder: Path) -> None:
    found = rows(folder, "tiny", classes=False)
    program = compiled(folder, "tiny")
    values = SAMPLES * 36 * 8
    assert found["max_lsb"] == 3
    assert found["agreement"] == pytest.approx(1 - 1 / values)
    assert found["cycles"] == pytest.approx(program.predicted_cycles, rel=0.05)
    assert found["utilization"] == pytest.approx(8 * 5 * 36 / (found["cycles"] * 48))
    assert found["compile_seconds"] > 0
    assert least_traffic(program) == 36 * 5 + 8 * 5 + 36 * 8
    assert found["dram_ratio"] == pytest.approx(explain(program)["total"]["traffic_ratio"])


def test_classes_and_values_agree() -> None:
    expected = np.array([[1, 9, 3], [4, -5, 2]], np.int8)
    found = np.array([[3, 8, 3], [2, -5, 3]], np.int8)
    assert agreement(expected, found, classes=True) == 0.5
    assert agreement(expected, found, classes=False) == pytest.approx(4 / 6)


def test_missing_networks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_device("reference", preset("tiny")) as device:
        assert references(tmp_path, preset("tiny"), device) == []
    shown = capsys.readouterr().out
    assert all(f"network.{name} is skipped" in shown for name in REFERENCES)


@pytest.mark.parametrize("name", ["kws_dscnn", "ad_autoencoder"])
def test_reference_networks(shared: Path, name: str) -> None:
    folder = shared / "models" / name
    if not folder.is_dir():
        pytest.skip(f"reference network {name} is missing")
    found = rows(folder, "pynq_z2", REFERENCES[name])
    assert found["agreement"] >= 0.99
    assert found["max_lsb"] <= 2
    assert 0 < found["dram_ratio"] < 1


def test_figures_of_a_network_larger_than_the_chip() -> None:
    arch = preset("tiny").replace(act_depth=128, wgt_depth=256, tap_depth=256, param_depth=16)
    with open_device("reference", arch) as device:
        rows_found = large(small_resnet18, arch, device)
    found = {row.name.removeprefix("network.small_resnet18."): row.value for row in rows_found}
    assert found["agreement"] == 1
    assert found["max_lsb"] == 0
    assert 0.2 < found["utilization"] < 1
    assert found["compile_seconds"] > 0
    assert found["dram_ratio"] > 1


def small_resnet18() -> tuple[torch.nn.Module, torch.Tensor]:
    """Eight channels and 32 by 32 pixels."""
    return seeded(lambda: ResNet18((8, 8, 16, 16), 10), (3, 32, 32), 0, 4)
