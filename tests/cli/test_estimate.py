"""`codesign estimate` as a user runs it."""

import json
from pathlib import Path

import pytest

from codesign.explore.latency_table import LatencyTable

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
RESNET = "codesign.zoo.resnet8:resnet8"


def test_a_models_cost_is_shown_and_written(codesign, tmp_path):
    done = codesign("estimate", RESNET, "--arch", "pynq_z2", "--json", tmp_path / "cost.json")
    assert done.code == 0
    assert "resnet8 on pynq_z2 at 150 MHz, predicted" in done.out
    assert "Conv2d+Add" in done.out
    assert "uJ of the whole board" in done.out
    assert "at least 3.0 KiB for any schedule" in done.out
    data = json.loads((tmp_path / "cost.json").read_text())
    assert f"({data['cycles']:,} cycles)" in done.out
    assert 34_000 < data["cycles"] < 37_500
    assert data["fits"] == []


def test_exact_cycles_are_the_compilers(codesign, tmp_path):
    path = tmp_path / "cost.json"
    done = codesign("estimate", "codesign.zoo.demo:small_network", "--arch", "tiny", "--exact",
                    "--json", path)  # fmt: skip
    assert done.code == 0
    assert "predicted by the machine reference" in done.out
    compiled = codesign("compile", "codesign.zoo.demo:small_network", "--arch", "tiny",
                        "-o", tmp_path / "demo.prog")  # fmt: skip
    assert f"{json.loads(path.read_text())['cycles']:,} cycles" in compiled.out


def test_a_batch_is_counted_in_full(codesign, tmp_path):
    found = {}
    for batch, exact in ((1, True), (4, True), (4, False)):
        path = tmp_path / f"{batch}{exact}.json"
        done = codesign("estimate", "codesign.zoo.demo:network", "--arch", "pynq_z2", "--batch",
                        batch, *(["--exact"] if exact else []), "--json", path)  # fmt: skip
        assert done.code == 0
        found[batch, exact] = json.loads(path.read_text())
    one, four, near = found[1, True], found[4, True], found[4, False]
    assert near["macs"] == four["macs"] == 4 * one["macs"]
    assert 2.5 * one["cycles"] < four["cycles"] < 4.2 * one["cycles"]
    assert near["cycles"] == pytest.approx(four["cycles"], rel=0.15)
    assert near["dram_read_bytes"] == pytest.approx(four["dram_read_bytes"], rel=0.1)
    assert near["dram_write_bytes"] == pytest.approx(four["dram_write_bytes"], rel=0.1)
    assert near["energy"]["total_uj"] == pytest.approx(four["energy"]["total_uj"], rel=0.15)


def test_what_does_not_fit_the_board_is_told(codesign, tmp_path):
    large = tmp_path / "large.yaml"
    large.write_text("base: pynq_z2\npixels: 16\n")
    done = codesign("estimate", "codesign.zoo.demo:network", "--arch", large)
    assert done.code == 0
    assert "fits no: " in done.out


def test_a_latency_table_is_written(codesign, tmp_path):
    path = tmp_path / "table.json"
    done = codesign("estimate", "--table", EXAMPLES / "choices.yaml", "--arch", "pynq_z2",
                    "-o", path)  # fmt: skip
    assert done.code == 0
    assert "choices of 6 layers on pynq_z2, predicted" in done.out
    table = LatencyTable.load(path)
    assert list(table.layers) == ["stem", "block1", "block2", "block3", "pool", "head"]


def test_contradicting_options_are_refused(codesign, tmp_path):
    table = EXAMPLES / "choices.yaml"
    done = codesign("estimate", RESNET, "--table", table, "--arch", "tiny", "-o", tmp_path / "x")
    assert (done.code, "neither MODEL, --exact nor --json" in done.err) == (2, True)
    done = codesign("estimate", "--arch", "tiny")
    assert (done.code, "give MODEL" in done.err) == (2, True)
    done = codesign("estimate", "nothing.onnx", "--arch", "tiny")
    assert (done.code, "no file is called 'nothing.onnx'" in done.err) == (2, True)
