"""Readers of power: hwmon files in a folder or from afar, sampled functions, a meter's log."""

import errno
from pathlib import Path

import pytest

from host.power import (
    CsvMeter,
    Rail,
    SampledMeter,
    board_rails,
    find_rails,
    integrate,
    rail_meter,
    read_local,
    read_log,
)

INA226 = {
    "name": "ina226\n",
    "in1_input": "12040",
    "curr1_input": "850",
    "power1_input": "10234000",
}
IRPS5401 = {
    "name": "irps5401",
    "power1_input": "4100000", "power1_label": "pin",
    "power2_input": "1500000", "power2_label": "pout1",
}  # fmt: skip
NO_POWER = {
    "name": "tps544", "in1_input": "12000", "in1_label": "vin", "in2_input": "850",
    "in2_label": "vout1", "curr1_input": "2000", "curr1_label": "iout1",
}  # fmt: skip


def hwmon(root: Path, *chips: dict[str, str]) -> str:
    for number, files in enumerate(chips):
        folder = root / f"hwmon{2 * number}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
    return str(root)


def test_rails_of_a_board_are_found(tmp_path):
    rails = find_rails(root=hwmon(tmp_path, INA226, IRPS5401, {"name": "cpu_thermal"}, NO_POWER))
    assert [rail.name for rail in rails] == [
        "ina226/power1", "irps5401/pin", "irps5401/pout1", "tps544/iout1",
    ]  # fmt: skip
    assert [rail.watts(read_local) for rail in rails] == pytest.approx(
        [10.234, 4.1, 1.5, 0.85 * 2.0]
    )


def test_rails_are_read_from_afar():
    files = {f"/sys/class/hwmon/hwmon3/{name}": text for name, text in INA226.items()}

    def read(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(path)
        return files[path]

    (rail,) = find_rails(read)
    assert rail.watts(read) == pytest.approx(10.234)
    meter = rail_meter(read, period_s=0.001)
    meter.start()
    assert meter.stop().joules > 0


def test_a_sensor_that_is_off_hides_no_other(tmp_path):
    root = hwmon(tmp_path, IRPS5401, INA226)

    def read(path: str) -> str:
        if path.endswith("hwmon0/power1_input"):
            raise OSError(errno.ENODATA, "No data available")
        return read_local(path)

    assert [rail.name for rail in find_rails(read, root)] == ["irps5401/pout1", "ina226/power1"]

    def lost(path: str) -> str:
        raise ConnectionResetError(path)

    with pytest.raises(ConnectionResetError):
        find_rails(lost, root)


def test_the_rail_that_measures_all_is_chosen(tmp_path):
    rails = find_rails(root=hwmon(tmp_path, IRPS5401, INA226))
    assert [rail.chip for rail in board_rails(rails)] == ["ina226"]
    chosen = board_rails(rails, ["irps5401/pin"])
    assert [rail.name for rail in chosen] == ["irps5401/pin"]
    with pytest.raises(ValueError, match="no rail is called 'x'; there are: irps5401/pin"):
        board_rails(rails, ["x"])


@pytest.mark.parametrize("chips", [(), (IRPS5401,)])
def test_what_is_not_clear_is_asked(tmp_path, chips):
    with pytest.raises(ValueError, match="name those to be added"):
        rail_meter(root=hwmon(tmp_path, *chips))


def test_samples_are_added_up():
    clock = iter([0.0, 1.0, 2.0])
    watts = iter([1.0, 3.0, 5.0])
    meter = SampledMeter(lambda: next(watts), period_s=1000, clock=lambda: next(clock))
    meter.start()
    assert meter.stop() == (pytest.approx(2.0), pytest.approx(1.0))


def test_a_meter_is_asked_while_it_runs():
    asked = []
    meter = SampledMeter(lambda: asked.append(1) or 2.0, period_s=0.001)
    meter.start()
    with pytest.raises(RuntimeError, match="runs already"):
        meter.start()
    while len(asked) < 4:
        pass
    assert meter.stop().joules > 0
    with pytest.raises(RuntimeError, match="does not run"):
        meter.stop()


def test_a_meter_that_fails_tells_it():
    answers = iter([1.0])

    def watts() -> float:
        try:
            return next(answers)
        except StopIteration:
            raise OSError("unplugged") from None

    meter = SampledMeter(watts, period_s=0.001)
    meter.start()
    with pytest.raises(OSError, match="unplugged"):
        meter.stop()


def test_a_log_is_added_up_between_the_moments(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("time,volts,amperes\n100,5,0.2\n102,5,0.6\n104,5,0.6\n")
    clock = iter([101.0, 103.0])
    meter = CsvMeter(path, clock=lambda: next(clock))
    with pytest.raises(RuntimeError, match="start it first"):
        meter.stop()
    meter.start()
    assert meter.stop() == (pytest.approx((2.0 + 3.0) / 2 + 3.0), 2.0)


def test_times_may_be_dates(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "time,watts\n2026-01-01T00:00:01+00:00,2\n1767225600,1\n2026-01-01T00:00:02Z,3\n"
    )
    assert read_log(path) == [(1767225600.0, 1.0), (1767225601.0, 2.0), (1767225602.0, 3.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,power\n1,2\n", r"has columns \['power', 'time'\]"),
        ("", "has columns"),
        ("time,watts\nnow,2\n", "line 2"),
        ("time,watts\n1,\n", "line 2"),
    ],
)
def test_wrong_logs_are_refused(tmp_path, text, message):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_log(path)


@pytest.mark.parametrize(("begin", "end"), [(-1, 1), (1, 3), (1, 1)])
def test_what_the_samples_do_not_reach_over_is_refused(begin, end):
    with pytest.raises(ValueError, match=r"power is known from 0.000 to 2.000"):
        integrate([(0.0, 1.0), (2.0, 1.0)], begin, end)
    with pytest.raises(ValueError, match="power is known from nothing"):
        integrate([], begin, end)


def test_a_rail_without_a_voltage_is_named_like_its_current():
    rail = Rail("chip", "iout1", current="a", voltage="v")
    assert rail.watts({"a": "1500", "v": "900"}.__getitem__) == pytest.approx(1.35)


def test_one_regulator_is_not_the_board(tmp_path):
    chip = {"name": "irps5401", "power1_input": "5000000", "power1_label": "pout1"}
    root = hwmon(tmp_path, chip)
    with pytest.raises(ValueError, match=r"not clear \(there are: irps5401/pout1\): name those"):
        rail_meter(root=root)
    assert [rail.chip for rail in board_rails(find_rails(root=root), ["irps5401/pout1"])]
