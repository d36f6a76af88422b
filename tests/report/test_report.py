"""Figures and timeline of a run whose instructions and trace are made by hand."""

import dataclasses
import json
from pathlib import Path

import pytest

from codesign import isa
from codesign.arch import preset
from codesign.artifact import LayerSpan, Part, Program
from codesign.cost.energy import EnergyModel, Event
from codesign.ir import Graph, Tensor
from codesign.isa import Opcode, Unit
from codesign.reference.trace import TraceRecord
from codesign.registers import COUNTERS
from codesign.report import files
from codesign.report.run import Measurement, layer_rows, run_report
from codesign.report.timeline import timeline
from codesign.report.trace import Execution

ARCH = preset("tiny")  # drains a group in 3 cycles


def program() -> Program:
    """LOAD; a CALC of 4 groups, 5 taps; two of one tap, one waiting and one with a fence; SAVE."""
    instructions = [
        isa.make(Opcode.BEGIN),
        isa.make(Opcode.LOAD, signal=1, rows=1, words=1, base=isa.Base.INPUT),
        isa.make(Opcode.CALC, wait=1, groups=4, taps=5),
        isa.make(Opcode.CALC, groups=2, taps=1),
        isa.make(Opcode.CALC, fence=1, groups=2, taps=1, signal=2, mode=isa.Mode.MAX),
        isa.make(Opcode.SAVE, wait=2, rows=1, words=1, base=isa.Base.OUTPUT),
        isa.make(Opcode.END),
    ]
    tensors = {"x": Tensor("x", (1, 1, 1), 1.0, 0)}
    return Program(
        name="net", arch=ARCH, graph=Graph("net", 1, tensors, (), ("x",), ("x",)),
        image=b"".join(map(isa.encode, instructions)), setup=Part(0, 0), infer=Part(0, 7),
        inputs=(), outputs=(), input_bytes=0, output_bytes=0, scratch_bytes=0,
        layers=(LayerSpan("first", "Conv2d", 1, 3, 900), LayerSpan("second", "MaxPool2d", 3, 4, 0),
            LayerSpan("second", "MaxPool2d", 4, 6, 0),
        ),
        tensors={}, predicted_cycles=99, seed=7, versions={"numpy": "compiled-with"},
    )  # fmt: skip


SPANS = (
    TraceRecord(Unit.LOAD, 1, 10, 30),
    TraceRecord(Unit.CALC, 2, 31, 90),  # slot 31..51
    TraceRecord(Unit.CALC, 3, 53, 100),  # 2 idle; slot 53..59
    TraceRecord(Unit.CALC, 4, 100, 130),  # 41 idle behind the fence; slot 100..106
    TraceRecord(Unit.SAVE, 5, 131, 160),
)


def test_layers_account_for_every_cycle_of_the_array() -> None:
    rows = layer_rows(program(), Execution.of(program(), SPANS))
    assert [row["name"] for row in rows] == ["first", "second"]
    assert sum(row["cycles"] for row in rows) == 106
    assert rows[0]["cycles"] == 51
    assert rows[0]["utilization"] == pytest.approx(900 / (51 * 48))
    assert rows[0]["stalls"] == {"token": 31, "fence": 0, "instruction": 0, "drain": 0}
    assert rows[1]["stalls"] == {"token": 0, "fence": 41, "instruction": 2, "drain": 8}


def measurement() -> Measurement:
    counters = dict.fromkeys(COUNTERS, 0) | {"READ_BEATS": 5, "WRITE_BEATS": 3, "CYCLES": 170}
    return Measurement("rtl", 170, counters, Execution.of(program(), SPANS), True, 31.5)


def test_report_has_every_figure_with_its_source() -> None:
    report = run_report(program(), measurement(), accuracy_rtl=0.5)
    json.dumps(report)
    assert report["cycles"] == 170
    assert report["predicted_cycles"] == 99
    assert report["macs"] == 900
    assert report["utilization"] == pytest.approx(900 / (170 * 48))
    assert report["latency_ms"] == pytest.approx(170 / 100e6 * 1e3)
    assert report["dram_read_bytes"] == 40
    assert report["dram_write_bytes"] == 24
    assert report["accuracy_rtl"] == 0.5
    assert report["seed"] == 7
    assert report["arch"]["pixels"] == 3
    assert report["versions"]["numpy"] == "compiled-with"
    assert report["provenance"]["cycles"] == "counted in RTL simulation"
    assert report["provenance"]["predicted_cycles"].startswith("predicted")
    reference = run_report(program(), dataclasses.replace(measurement(), device="reference"))
    assert reference["provenance"]["cycles"] == "predicted by the machine reference"


def test_energy_is_that_of_the_programs_model() -> None:
    events = (Event("dram_byte", "dram", 300.0, 0.0, {"READ_BEATS": 8.0, "WRITE_BEATS": 8.0}),)
    model = EnergyModel("xc7", "mine", "measured", 0.5, 2.0, events, {"first": {"dram_byte": 64}})
    made = dataclasses.replace(program(), energy=model)
    report = run_report(made, measurement())
    assert report["energy"]["dram_uj"] == pytest.approx(64 * 300e-6)
    assert report["energy"]["static_uj"] == pytest.approx(2.0 * 170 / 100e6 * 1e6)
    assert report["energy_uj"] == report["energy"]["total_uj"]
    assert report["energy"]["source"] == "modelled"
    assert report["driver_overhead_us"] == 31.5
    assert (
        "for mine from the counters, measured, within a factor of 1.5"
        in (report["provenance"]["energy_uj"])
    )
    first, second = report["layers"]
    assert first["energy_uj"] == pytest.approx(64 * 300e-6 + 2.0 * 51 / 100)
    assert second["energy_uj"] == pytest.approx(2.0 * 55 / 100)
    none = run_report(program(), measurement())
    assert none["energy"] is none["energy_uj"] is none["layers"][0]["energy_uj"] is None
    assert "compile with --energy FILE" in none["provenance"]["energy_uj"]


def test_timeline_is_in_microseconds_with_a_track_per_unit() -> None:
    document = timeline(program(), Execution.of(program(), SPANS))
    json.dumps(document)
    tracks = {
        event["tid"]: event["args"]["name"]
        for event in document["traceEvents"]
        if event["name"] == "thread_name"
    }
    events = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert set(tracks.values()) == {"layers", "LOAD", "CALC", "SAVE"}
    load = next(event for event in events if tracks[event["tid"]] == "LOAD")
    assert (load["name"], load["ts"], load["dur"]) == (
        "first ACT from input",
        pytest.approx(0.10),
        pytest.approx(0.20),
    )
    calc = [event for event in events if tracks[event["tid"]] == "CALC"]
    assert [event["name"] for event in calc] == ["first dense", "second dense", "second max"]
    assert calc[0]["dur"] == pytest.approx(0.20)
    assert calc[0]["args"]["completed_cycle"] == 90


def test_overlapping_transfers_get_rows_of_their_own() -> None:
    spans = (
        TraceRecord(Unit.LOAD, 1, 10, 30),
        TraceRecord(Unit.LOAD, 1, 20, 40),
        TraceRecord(Unit.LOAD, 1, 30, 50),
    )
    document = timeline(program(), Execution.of(program(), spans))
    tids = [event["tid"] for event in document["traceEvents"] if event["ph"] == "X"]
    assert tids[0] == tids[2] != tids[1]


def test_a_result_file_is_complete_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    files.write_json(path, {"a": [1, 2.5]})
    assert json.loads(path.read_text()) == {"a": [1, 2.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": [1, 2.5]}
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        files.write_bytes(target, b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "new"]
