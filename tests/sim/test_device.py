"""The accelerator's RTL behind the driver: whole programs, faults, random stalls."""

from pathlib import Path

import numpy as np
import pytest

from codesign.arch import Arch, preset
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.reference.timing import Dram
from codesign.registers import CONTROL_RESET, CONTROL_START, OFFSETS, STATUS_RESETTING
from host.driver import Accelerator
from host.errors import AcceleratorError, DeviceMismatchError
from sim.benches import network
from sim.device import RtlDevice, verilog
from sim.model import Response, Stalls

TINY = preset("tiny")


def compiled(arch: Arch, directory: Path) -> tuple[Program, Path]:
    """The small network's program and its file."""
    program = compile_graph(network.graph(), arch)
    program.save(directory / "small.zip")
    return program, directory / "small.zip"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(TINY, tmp_path_factory.mktemp("program"))


def test_computes_what_the_graph_says(program):
    made, path = program
    with RtlDevice(TINY) as device:
        accelerator = Accelerator(device)
        accelerator.load(path)
        x = network.inputs(5)
        assert np.array_equal(accelerator.run(x), network.expected(x))
        report = accelerator.report()
        assert report.batches == 3
        assert report.cycles == pytest.approx(made.predicted_cycles, rel=0.01)
        assert device.model.idle


@pytest.mark.parametrize("seed", range(6))
def test_stalls_and_latencies_change_cycles_only(program, seed):
    made, path = program
    rng = np.random.default_rng(seed)
    dram = Dram(int(rng.integers(1, 200)), int(rng.integers(1, 100)))
    stalls = Stalls(seed, probability=float(rng.uniform(0.05, 0.7)), jitter=30)
    with RtlDevice(TINY, dram=dram, stalls=stalls) as device:
        accelerator = Accelerator(device, trace=bool(seed % 2))
        accelerator.load(path)
        x = network.inputs(2, seed)
        assert np.array_equal(accelerator.run(x), network.expected(x))
        assert accelerator.report().cycles != made.predicted_cycles


def test_trace_gives_every_instruction_and_layer(program):
    made, path = program
    with RtlDevice(TINY) as device:
        accelerator = Accelerator(device, trace=True)
        accelerator.load(path)
        accelerator.run(network.inputs(2))
        report = accelerator.report()
    assert report.counters["TRACE_DROPPED"] == 0
    # The record of END itself is not among those that END waits for.
    indices = sorted(record.index for record in report.trace)
    assert indices[: made.infer.count - 1] == list(range(made.infer.count - 1))
    assert sum(layer.cycles for layer in report.layers) == report.cycles
    names = {layer.name for layer in report.layers}
    assert names == {span.name for span in made.layers}
    assert all(0 <= record.start <= record.end <= report.cycles for record in report.trace)


@pytest.mark.parametrize(
    ("buffer", "reads", "code"),
    [("INPUT", True, "AXI_READ"), ("OUTPUT", False, "AXI_WRITE"), ("PROGRAM", True, "AXI_READ")],
)
@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_bus_errors_stop_the_run_and_the_next_is_good(program, buffer, reads, code, response):
    _, path = program
    with RtlDevice(TINY) as device:
        accelerator = Accelerator(device)
        accelerator.load(path)
        x = network.inputs(2)
        address = device.read_register(OFFSETS[f"{buffer}_BASE_LOW"])
        address += {"INPUT": 0, "OUTPUT": 0, "PROGRAM": program[0].infer.offset + 64}[buffer]
        device.model.inject(address, address, response, reads=reads, writes=not reads)
        with pytest.raises(AcceleratorError) as caught:
            accelerator.run(x)
        assert caught.value.code == code
        device.model.clear_faults()
        assert np.array_equal(accelerator.run(x), network.expected(x))


def test_lost_memory_is_an_error_not_a_hang(program):
    _, path = program
    with RtlDevice(TINY) as device:
        accelerator = Accelerator(device)
        accelerator.load(path)
        device.model.unmap(device.read_register(OFFSETS["OUTPUT_BASE_LOW"]))
        with pytest.raises(AcceleratorError, match="AXI_WRITE"):
            accelerator.run(network.inputs(2))


def test_soft_reset_in_the_middle_of_a_run(program):
    _, path = program
    with RtlDevice(TINY, stalls=Stalls(3)) as device:
        accelerator = Accelerator(device)
        accelerator.load(path)
        x = network.inputs(2)
        for cycles in (1, 40, 200, 700):
            device.write_register(OFFSETS["CONTROL"], CONTROL_START)
            device.model.run(cycles)
            device.write_register(OFFSETS["CONTROL"], CONTROL_RESET)
            while device.read_register(OFFSETS["STATUS"]) & STATUS_RESETTING:
                device.model.run(10)
            assert device.model.idle
            assert np.array_equal(accelerator.run(x), network.expected(x))


def test_watchdog_stops_a_run_that_makes_no_progress(program):
    _, path = program
    with RtlDevice(TINY, dram=Dram(read_latency=3000)) as device:
        accelerator = Accelerator(device, watchdog_cycles=1000)
        with pytest.raises(AcceleratorError, match="WATCHDOG"):
            accelerator.load(path)


def test_another_architecture_is_refused(tmp_path):
    other = TINY.replace(name="other", wgt_depth=2048)
    _, path = compiled(other, tmp_path)
    message = r"FINGERPRINT.*'other'"
    with RtlDevice(TINY) as device, pytest.raises(DeviceMismatchError, match=message):
        Accelerator(device).load(path)


def test_buffers():
    with RtlDevice(TINY) as device:
        one, other = device.allocate(100), device.allocate(5000)
        assert one.address % 16 == other.address % 16 == 0
        assert one.array.shape == (100,)
        assert not one.array.any()
        one.array[3] = 7
        assert one.array[3] == 7
        one.free()
        with pytest.raises(ValueError, match="buffer of 0 bytes"):
            device.allocate(0)


def test_sources_that_are_edited_under_a_running_process_are_not_its_own(tmp_path, monkeypatch):
    import hw

    verilog(TINY, tmp_path / "cache")
    (entries,) = ((tmp_path / "cache").rglob("*.v"),)
    before = sorted(entries)
    (tmp_path / "edited.py").write_text("changed = True\n")
    monkeypatch.setattr(hw, "__path__", [str(tmp_path)])
    verilog(TINY, tmp_path / "cache")
    assert sorted((tmp_path / "cache").rglob("*.v")) == before != []
