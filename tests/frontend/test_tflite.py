"""TFLite's reference networks: they compute what LiteRT computes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign.arch import preset
from codesign.artifact import HostStep
from codesign.cli.compare import compare
from codesign.cli.golden import tflite_subject
from codesign.compiler import compile as compile_graph
from codesign.frontend.tflite import Imported, load_tflite
from codesign.reference import graph as graph_reference

NETWORKS = {"ic_resnet8": 36_000, "kws_dscnn": 15_000, "ad_autoencoder": 6_000}
"""Cycles that each may take at most on `pynq_z2`."""


def load(shared: Path, name: str) -> tuple[Imported, dict[str, npt.NDArray[np.int8]]]:
    folder = shared / "models" / name
    if not folder.is_dir():
        pytest.skip(f"reference network {name} is missing")
    with np.load(folder / "golden.npz") as golden:
        return load_tflite(folder / "model.tflite"), dict(golden)


def differences(
    imported: Imported, golden: dict[str, npt.NDArray[np.int8]]
) -> npt.NDArray[np.int64]:
    """Distance of every output value from LiteRT's before the softmax."""
    (source,), (target,) = imported.graph.inputs, imported.graph.outputs
    codes = imported.codes(source, golden["inputs"])
    graph = dataclasses.replace(imported.graph, batch=len(codes))
    found = graph_reference.run(graph, {source: codes})[target]
    expected = imported.codes(target, golden.get("logits", golden["outputs"]))
    return np.abs(found.astype(np.int64) - expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_networks_give_litert_s_answers(shared: Path, name: str) -> None:
    distance = differences(*load(shared, name))
    assert distance.size >= 768
    assert distance.max() == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_networks_are_fast(shared: Path, name: str) -> None:
    imported, _ = load(shared, name)
    program = compile_graph(imported.graph, preset("pynq_z2"))
    assert program.predicted_cycles <= NETWORKS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_litert_s(shared: Path, name: str) -> None:
    """Within the network, and fed with LiteRT's own inputs."""
    imported, golden = load(shared, name)
    rows = compare(tflite_subject(imported), golden["inputs"], golden)
    assert len(rows) > 10
    assert [row.layer for row in rows if row.max_lsb] == []
    assert [row.layer for row in rows[:-1] if row.alone != 0] == []


def test_the_softmax_is_the_hosts(shared: Path) -> None:
    imported, _ = load(shared, "ic_resnet8")
    (output,) = imported.graph.outputs
    assert imported.host_steps == (HostStep("softmax", output, {"beta": 1.0}),)
    assert imported.operators[-1].ops == ()
    assert imported.graph.tensors[imported.graph.inputs[0]].shape == (3, 32, 32)
