import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign.artifact import Program
from codesign.cli.devices import KINDS
from codesign.cli.session import encode, graph_outputs
from codesign.quant.values import Coding
from codesign.registers import COUNTERS
from tests.cli.conftest import Command

FIGURES = {
    "bit_exact", "cycles", "predicted_cycles", "macs", "utilization", "latency_ms",
    "dram_read_bytes", "dram_write_bytes", "layers", "arch", "seed", "versions",
}  # fmt: skip
LAYER_FIGURES = {"name", "op", "cycles", "macs", "utilization", "stalls"}


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
