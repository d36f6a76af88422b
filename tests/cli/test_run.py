import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign import isa
from codesign.artifact import Program
from codesign.cli.devices import KINDS
from codesign.cli.session import encode, graph_outputs
from codesign.quant.values import Coding
from codesign.registers import COUNTERS
from codesign.report.trace import instructions
from tests.cli.conftest import Command

FIGURES = {
    "bit_exact", "cycles", "predicted_cycles", "macs", "utilization", "latency_ms",
    "dram_read_bytes", "dram_write_bytes", "layers", "arch", "seed", "versions", "energy_uj",
    "driver_overhead_us",
}  # fmt: skip
LAYER_FIGURES = {"name", "op", "cycles", "macs", "utilization", "energy_uj", "stalls"}


@pytest.mark.parametrize("device", KINDS)
def test_results_and_figures(
    device: str, program: Path, inputs: Path, tmp_path: Path, codesign: Command
) -> None:
    outputs, report, trace = (tmp_path / name for name in ("y.npy", "r.json", "t.json"))
    outcome = codesign("run", program, "--inputs", inputs, "--device", device,
                       "--outputs", outputs, "--report", report, "--timeline", trace)  # fmt: skip
    assert outcome.code == 0, outcome.err
    loaded = Program.load(program)
    (expected,) = graph_outputs(loaded.graph, encode(loaded, np.load(inputs)))
    coding = Coding(loaded.outputs[0].scale, loaded.outputs[0].zero_point)
    assert np.array_equal(np.load(outputs), coding.decode(expected))
    figures = json.loads(report.read_text())
    assert figures.keys() >= FIGURES
    assert figures["bit_exact"] is True
    assert figures["device"] == device
    assert set(figures["counters"]) == set(COUNTERS)
    assert figures["cycles"] == figures["counters"]["CYCLES"] > 0
    assert figures["predicted_cycles"] == loaded.predicted_cycles
    assert figures["utilization"] == pytest.approx(
        figures["macs"] / (figures["cycles"] * loaded.arch.macs_per_cycle)
    )
    assert figures["dram_write_bytes"] > 0
    assert figures["driver_overhead_us"] > 0
    energy = figures["energy"]
    assert energy["source"] == "modelled"
    assert "modelled for pynq-z2" in figures["provenance"]["energy_uj"]
    split = [energy[f"{part}_uj"] for part in ("compute", "on_chip", "dram", "static")]
    assert sum(split) == pytest.approx(figures["energy_uj"])
    assert min(split) > 0
    layers = sum(layer["energy_uj"] for layer in figures["layers"])
    assert 0.5 * figures["energy_uj"] < layers <= 1.001 * figures["energy_uj"]
    assert "Energy in uJ: compute" in outcome.out
    assert all(layer.keys() == LAYER_FIGURES for layer in figures["layers"])
    assert figures["macs"] == sum(layer["macs"] for layer in figures["layers"]) > 0
    assert 0 < sum(layer["cycles"] for layer in figures["layers"]) <= figures["cycles"]
    events = json.loads(trace.read_text())["traceEvents"]
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} >= {
        "layers", "LOAD", "CALC", "SAVE",
    }  # fmt: skip


def test_codes_give_codes(
    program: Path, values: npt.NDArray[np.float32], tmp_path: Path, codesign: Command
) -> None:
    loaded = Program.load(program)
    codes = encode(loaded, values)
    np.save(tmp_path / "codes.npy", codes)
    outcome = codesign(
        "run", program, "--inputs", tmp_path / "codes.npy", "--outputs", tmp_path / "y.npy"
    )
    assert outcome.code == 0, outcome.err
    found = np.load(tmp_path / "y.npy")
    assert found.dtype == np.int8
    assert np.array_equal(found, graph_outputs(loaded.graph, codes)[0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 8, 8), np.float32), "the program takes (samples, 3, 16, 16)"),
        (np.zeros((0, 3, 16, 16), np.float32), "the program takes (samples, 3, 16, 16)"),
        (np.zeros((1, 3, 16, 16), np.int32), "give int8 codes or real values"),
        (np.full((1, 3, 16, 16), np.nan, np.float32), "holds NaN"),
    ],
)
def test_wrong_inputs_are_refused(
    array: npt.NDArray[np.generic], message: str, program: Path, tmp_path: Path, codesign: Command
) -> None:
    np.save(tmp_path / "x.npy", array)
    outcome = codesign("run", program, "--inputs", tmp_path / "x.npy")
    assert outcome.code == 2
    assert message in outcome.err


def test_what_is_no_program_is_refused(inputs: Path, codesign: Command) -> None:
    outcome = codesign("run", inputs, "--inputs", inputs)
    assert outcome.code == 2
    assert "is not a program" in outcome.err


def test_a_difference_is_an_exit_code(
    program: Path, inputs: Path, tmp_path: Path, codesign: Command
) -> None:
    loaded = Program.load(program)
    load = next(
        i
        for i in instructions(loaded, loaded.setup)
        if i.opcode is isa.Opcode.LOAD and i["target"] == isa.Target.WGT
    )
    image = bytearray(loaded.image)
    image[load["offset"]] ^= 0x40
    dataclasses.replace(loaded, image=bytes(image)).save(tmp_path / "bad.prog")
    outcome = codesign("run", tmp_path / "bad.prog", "--inputs", inputs)
    assert outcome.code == 1
    assert "differ from the graph reference" in outcome.out


def two_outputs(program: Path, path: Path) -> Program:
    """The program with its one output given twice."""
    loaded = Program.load(program)
    graph = dataclasses.replace(loaded.graph, outputs=loaded.graph.outputs * 2)
    twice = dataclasses.replace(loaded, graph=graph, outputs=loaded.outputs * 2)
    twice.save(path)
    return twice


def test_several_outputs_take_an_npz_that_keeps_them_all(
    program: Path, inputs: Path, tmp_path: Path, codesign: Command
) -> None:
    path = tmp_path / "two.prog"
    name = two_outputs(program, path).outputs[0].name
    refused = codesign("run", path, "--inputs", inputs, "--outputs", tmp_path / "y.npy")
    assert refused.code == 2
    assert "give --outputs a name that ends in .npz" in refused.err
    assert not (tmp_path / "y.npy").exists()
    outcome = codesign("run", path, "--inputs", inputs, "--outputs", tmp_path / "y.npz")
    assert outcome.code == 0, outcome.err
    with np.load(tmp_path / "y.npz") as found:
        assert sorted(found) == [name, f"{name}#1"]
        assert np.array_equal(found[name], found[f"{name}#1"])


@pytest.mark.parametrize("option", ["--outputs", "--report", "--timeline"])
def test_results_that_cannot_be_written_are_noticed_before_the_run(
    option: str, program: Path, inputs: Path, codesign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codesign.cli.run.open_device", None)
    outcome = codesign("run", program, "--inputs", inputs, option, inputs / "y.npy")
    assert outcome.code == 2
    assert "inputs.npy" in outcome.err


def test_several_inputs_are_refused(
    program: Path, inputs: Path, tmp_path: Path, codesign: Command
) -> None:
    loaded = Program.load(program)
    dataclasses.replace(loaded, inputs=loaded.inputs * 2).save(tmp_path / "two.prog")
    outcome = codesign("run", tmp_path / "two.prog", "--inputs", inputs)
    assert outcome.code == 2
    assert "takes 2 inputs" in outcome.err
    assert "run it from Python" in outcome.err
