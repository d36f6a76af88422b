"""The C++ harness and its DRAM, exercised by a small copy engine."""

from pathlib import Path

import numpy as np
import pytest

from codesign.reference.timing import Dram
from sim.model import (
    Outcome,
    ProtocolError,
    Response,
    SimulationModel,
    Stalls,
    build_model,
)

SOURCE, DESTINATION, BEATS, START, RESPONSE, MISBEHAVE = 0, 4, 8, 12, 16, 20
FROM, TO = 0x10000, 0x20000
VERILOG = Path(__file__).with_name("copy_engine.v").read_text()


@pytest.fixture(scope="module")
def library() -> Path:
    return build_model(VERILOG, "copy_engine")


class Copy:
    """A copy engine with 8 KiB of random bytes at FROM and of zeros at TO."""

    def __init__(self, library: Path, **options: object) -> None:
        self.model = SimulationModel(library, **options)
        self.source = np.random.default_rng(1).integers(0, 256, 8192, np.uint8)
        self.target = np.zeros(8192, np.uint8)
        self.model.map(FROM, self.source)
        self.model.map(TO, self.target)

    def start(self, beats: int, source: int = FROM, target: int = TO) -> None:
        for register, value in ((SOURCE, source), (DESTINATION, target), (BEATS, beats)):
            self.model.write_register(register, value)
        self.model.write_register(START, 1)

    def run(self, beats: int, source: int = FROM, target: int = TO) -> int:
        """Cycles of a copy, from the cycle after the doorbell's response."""
        self.start(beats, source, target)
        begin = self.model.cycle
        assert self.model.run(100_000) == Outcome.INTERRUPT
        return self.model.cycle - begin


def test_copies_through_memory_of_numpy(library):
    copy = Copy(library)
    copy.run(32)
    assert np.array_equal(copy.target[:256], copy.source[:256])
    assert not copy.target[256:].any()
    assert copy.model.read_register(RESPONSE) == Response.OKAY
    statistics = copy.model.statistics
    assert (statistics.read_bursts, statistics.read_beats) == (1, 32)
    assert (statistics.write_bursts, statistics.write_beats) == (1, 32)


def test_latency_and_bandwidth_are_what_was_asked_for(library):
    base = Copy(library, dram=Dram(read_latency=40, write_latency=20)).run(16)
    assert Copy(library, dram=Dram(read_latency=57, write_latency=20)).run(16) == base + 17
    assert Copy(library, dram=Dram(read_latency=40, write_latency=23)).run(16) == base + 3
    assert Copy(library, dram=Dram(read_latency=40, write_latency=20)).run(48) == base + 64


def test_models_are_independent(library):
    one, other = Copy(library), Copy(library)
    one.run(8)
    assert other.model.read_register(SOURCE) == 0
    assert not other.target.any()


def test_stalls_change_cycles_and_repeat_with_their_seed(library):
    cycles = []
    for seed in (1, 1, 2):
        copy = Copy(library, stalls=Stalls(seed, probability=0.4))
        cycles.append(copy.run(64))
        assert np.array_equal(copy.target[:512], copy.source[:512])
    plain = Copy(library).run(64)
    assert cycles[0] == cycles[1] != cycles[2]
    assert min(cycles) > plain


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("reads", [True, False])
def test_injected_responses(library, response, reads):
    copy = Copy(library)
    window = FROM if reads else TO
    copy.model.inject(window + 64, window + 64, response, reads=reads, writes=not reads)
    copy.run(8)
    assert copy.model.read_register(RESPONSE) == Response.OKAY
    copy.run(9)
    assert copy.model.read_register(RESPONSE) == response
    copy.model.clear_faults()
    copy.run(9)
    assert copy.model.read_register(RESPONSE) == Response.OKAY
    assert np.array_equal(copy.target[:72], copy.source[:72])


def test_memory_that_is_not_mapped_answers_decerr(library):
    copy = Copy(library)
    copy.run(4, source=0x90000)
    assert copy.model.read_register(RESPONSE) == Response.DECERR
    copy.model.unmap(TO)
    copy.run(4)
    assert copy.model.read_register(RESPONSE) == Response.DECERR


@pytest.mark.parametrize(
    ("misbehave", "arguments", "message"),
    [
        (0, (16, FROM + 4096 - 64), "AR of 16 beats at 69568 crosses a 4 KiB boundary"),
        (0, (4, FROM + 4), "AR of 4 beats at 65540 is not aligned to beats"),
        (0, (4, FROM, TO + 4096 - 8), "AW of 4 beats at 135160 crosses a 4 KiB boundary"),
        (1, (4,), "WLAST is 1 at beat 3 of 4"),
        (2, (4,), "AR changed its payload before READY"),
    ],
)
def test_protocol_violations_are_reported(library, misbehave, arguments, message):
    stalls = Stalls(seed=3, probability=0.9, jitter=0)
    copy = Copy(library, stalls=stalls)
    copy.model.write_register(MISBEHAVE, misbehave)
    with pytest.raises(ProtocolError, match=message):
        copy.run(*arguments)


def test_run_stops_after_the_cycles_it_was_given(library):
    model = SimulationModel(library)
    begin = model.cycle
    assert model.run(123) == Outcome.ELAPSED
    assert model.cycle == begin + 123


def test_waveform(tmp_path):
    path = tmp_path / "copy.vcd"
    copy = Copy(build_model(VERILOG, "copy_engine", trace=True), waveform=path)
    copy.run(4)
    copy.model.close()
    text = path.read_text()
    assert "m_axi_rdata" in text
    assert "$enddefinitions" in text


def test_waveform_needs_a_model_with_trace(library, tmp_path):
    with pytest.raises(ValueError, match="build the model with trace=True"):
        SimulationModel(library, waveform=tmp_path / "copy.vcd")


def test_arguments_are_checked(library):
    with pytest.raises(ValueError, match="latencies must be at least 1"):
        SimulationModel(library, Dram(read_latency=0))
    with pytest.raises(ValueError, match="outside"):
        SimulationModel(library, stalls=Stalls(1, probability=1.0))
    with pytest.raises(ValueError, match="contiguous array of uint8"):
        SimulationModel(library).map(0, np.zeros(4, np.int32))


def test_a_closed_simulation_refuses_every_use(library):
    copy = Copy(library)
    copy.model.close()
    copy.model.close()
    uses = (
        lambda: copy.model.cycle,
        lambda: copy.model.idle,
        lambda: copy.model.statistics,
        lambda: copy.model.run(1),
        lambda: copy.model.read_register(SOURCE),
        lambda: copy.model.write_register(SOURCE, 0),
        lambda: copy.model.map(TO, copy.target),
        lambda: copy.model.set_dram(Dram()),
        lambda: copy.model.set_stalls(Stalls(1)),
        lambda: copy.model.inject(0, 1, Response.SLVERR),
        copy.model.clear_faults,
    )
    for use in uses:
        with pytest.raises(ValueError, match="the simulation is closed"):
            use()
    copy.model.unmap(FROM)


def test_wrong_options_begin_no_simulation(tmp_path):
    missing = tmp_path / "none.so"
    with pytest.raises(ValueError, match="latencies must be at least 1 cycle"):
        SimulationModel(missing, Dram(read_latency=0))
    with pytest.raises(ValueError, match=r"stall probability 2 is outside \[0, 1\)"):
        SimulationModel(missing, stalls=Stalls(1, probability=2))
