"""Energy in reports: modelled from counters, measured by a meter, told to `codesign calibrate`."""

import dataclasses
import time

import numpy as np
import pytest

from codesign.cost import energy, energy_fit
from host.driver import Accelerator
from host.energy import GROUPS, EnergyModel, Event
from host.errors import DeviceTimeoutError
from host.power import Reading, SampledMeter, append_measurement
from tests.host.fake import FakeDevice, manifest, write_program

EVENTS = (
    Event("dense_mac", "compute", 2.0, 100.0, {"CALC_ACTIVE": 48.0}),
    Event("act_byte", "on_chip", 3.0, 1000.0, {}),
    Event("dram_byte", "dram", 300.0, 0.0, {"READ_BEATS": 8.0, "WRITE_BEATS": 8.0}),
)
MODEL = EnergyModel(
    "xc7", "pynq-z2", "literature", 1.0, 1.5, EVENTS,
    {"conv": {"dense_mac": 4800.0, "act_byte": 100.0}},
)  # fmt: skip
LATE_S = 0.5
COUNTERS = {"CALC_ACTIVE": 1000, "READ_BEATS": 40, "WRITE_BEATS": 2}


class Steady:
    """A meter of a board that takes 2 W, which it watches for far longer than the runs take."""

    def __init__(self) -> None:
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> Reading:
        assert self.running
        return Reading(200.0, 100.0)


@pytest.fixture
def device():
    return FakeDevice(77)


@pytest.fixture
def accelerator(device, tmp_path):
    values = manifest(energy=dataclasses.asdict(MODEL))
    made = Accelerator(device, trace=True)
    made.load(write_program(tmp_path / "net.prog", values))
    made.run(np.zeros((2, 5, 2, 3), np.int8))
    return made


def test_static_power_and_events_add_up():
    found = MODEL.estimate(COUNTERS, 1e-3)
    assert found.events == {"dense_mac": 48100, "act_byte": 1000, "dram_byte": 336}
    assert found.compute_uj == pytest.approx(48100 * 2e-6)
    assert found.on_chip_uj == pytest.approx(1000 * 3e-6)
    assert found.dram_uj == pytest.approx(336 * 300e-6)
    assert found.static_uj == pytest.approx(1500)
    assert found.total_uj == pytest.approx(sum(getattr(found, f"{at}_uj") for at in GROUPS))
    assert found.watts == pytest.approx(found.total_uj * 1e-3)
    assert found.source == "modelled"


def test_a_report_says_modelled_and_the_split(accelerator):
    report = accelerator.report()
    assert report.energy is not None
    assert report.energy.source == "modelled"
    assert report.energy.uncertainty == 1.0
    assert "uJ modelled, within a factor of 2 (compute" in str(report)
    conv, pool = report.layers
    assert conv.energy_uj == pytest.approx(9.6e-3 + 3e-4 + 1.5e6 * 400 / 100e6)
    assert pool.energy_uj == pytest.approx(1.5e6 * pool.cycles / 100e6)
    values = report.to_dict()
    assert values["energy"]["source"] == "modelled"
    assert values["energy"]["watts"] == report.energy.watts
    assert "model" not in values


def test_a_meter_gives_the_total_and_the_model_its_split(accelerator, device):
    before = len(device.runs)
    report = accelerator.measure(Steady(), np.zeros((2, 5, 2, 3), np.int8), seconds=0.02)
    runs = len(device.runs) - before - 1  # the first one is not measured
    energy = report.energy
    assert energy.source == "measured"
    assert runs > 1
    assert energy.seconds >= 0.02 / runs
    assert energy.total_uj == pytest.approx(2e6 * energy.seconds)
    assert sum(getattr(energy, f"{at}_uj") for at in GROUPS) == pytest.approx(energy.total_uj)
    modelled = MODEL.estimate(report.counters, energy.seconds)
    assert energy.dram_uj / energy.static_uj == pytest.approx(modelled.dram_uj / modelled.static_uj)
    assert "uJ measured (compute" in str(report)
    assert accelerator.report().energy.source == "modelled"


class Slow(Steady):
    """A meter whose log gets there late."""

    def stop(self) -> Reading:
        time.sleep(LATE_S)
        return super().stop()


def test_waiting_for_the_meter_is_no_time_of_the_inference(accelerator, device):
    before = len(device.runs)
    report = accelerator.measure(Slow(), np.zeros((2, 5, 2, 3), np.int8), seconds=0.02)
    runs = len(device.runs) - before - 1  # the first one is not measured
    assert report.energy.seconds * runs < LATE_S


def test_a_run_that_fails_leaves_no_meter_running(accelerator, device):
    meter = SampledMeter(lambda: 1.0, period_s=0.001)
    device.stuck = True
    with pytest.raises(DeviceTimeoutError):
        accelerator.measure(meter, np.zeros((2, 5, 2, 3), np.int8))
    device.stuck = False
    wait = device.wait

    def break_off() -> None:
        wait()
        device.wait = wait
        raise KeyboardInterrupt

    accelerator.run(np.zeros((2, 5, 2, 3), np.int8))
    runs = len(device.runs)
    device.wait = lambda: break_off() if len(device.runs) > runs + 1 else wait()
    with pytest.raises(KeyboardInterrupt):
        accelerator.measure(meter, np.zeros((2, 5, 2, 3), np.int8))
    with pytest.raises(RuntimeError, match="does not run"):
        meter.stop()


def test_without_coefficients_nothing_is_measured(tmp_path):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(write_program(tmp_path / "net.prog", manifest()))
    with pytest.raises(ValueError, match="compile it with --energy FILE"):
        accelerator.measure(Steady(), np.zeros((2, 5, 2, 3), np.int8), seconds=0.01)


def test_measurements_become_a_table_that_calibrate_reads(accelerator, tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(ValueError, match="was not measured"):
        append_measurement(path, accelerator.report())
    for _ in range(2):
        report = accelerator.measure(Steady(), np.zeros((2, 5, 2, 3), np.int8), seconds=0.01)
        append_measurement(path, report)
    rows = energy_fit.read_measurements(path)
    assert [row.program for row in rows] == ["net", "net"]
    assert rows[1].joules == pytest.approx(report.energy.total_uj * 1e-6)
    assert rows[1].events["dense_mac"] == report.energy.events["dense_mac"]
    path.write_text("time,watts\n")
    with pytest.raises(ValueError, match="other columns"):
        append_measurement(path, report)


def test_host_and_codesign_compute_the_same_energy():
    own = energy.EnergyModel.from_dict(dataclasses.asdict(MODEL))
    assert own.to_dict() == dataclasses.asdict(MODEL)
    one, other = own.estimate(COUNTERS, 1e-3), MODEL.estimate(COUNTERS, 1e-3)
    for name in ("total", *GROUPS):
        assert getattr(one, f"{name}_uj") == getattr(other, f"{name}_uj")
    assert one.events == other.events
    assert own.layer_uj("conv", 1e-3) == MODEL.layer_uj("conv", 1e-3)
    assert GROUPS == energy.PARTS
