"""Coefficients fitted to measurements that a known board would give."""

import dataclasses

import numpy as np
import pytest

from codesign.cost import energy_file
from codesign.cost.energy import EVENTS, GROUPS, PARTS
from codesign.cost.energy_fit import Measurement, fit, read_measurements

KNOWN = energy_file.find("pynq-z2")
FACTORS = {"compute": 3.0, "on_chip": 0.4, "dram": 1.5, "static": 1.2}


def measured(count: int, noise: float = 0.0, seed: int = 0) -> list[Measurement]:
    """Energies of a board whose parts take FACTORS times what is known."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        # each part is at times what costs most
        events = {
            name: float(10 ** rng.uniform(7, 11) / KNOWN.energy_pj[names[0]])
            for names in GROUPS.values()
            for name in names
        }
        if index == 0:
            events = dict.fromkeys(EVENTS, 0.0)
        seconds = float(rng.uniform(1e-3, 1e-1))
        joules = KNOWN.static_w * seconds * FACTORS["static"] + sum(
            FACTORS[group] * KNOWN.energy_pj[name] * events[name] * 1e-12
            for group, names in GROUPS.items()
            for name in names
        )
        joules *= 1 + noise * float(rng.standard_normal())
        rows.append(Measurement("pynq-z2", f"net{index}", seconds, joules, events))
    return rows


def test_many_measurements_find_the_factors():
    found = fit(KNOWN, measured(40), "a test")
    assert found.factors == pytest.approx(FACTORS, rel=0.02)
    assert max(map(abs, found.errors)) < 0.01
    assert found.coefficients.static_w == pytest.approx(1.2 * KNOWN.static_w, rel=0.02)
    assert found.coefficients.uncertainty == 0.05
    assert found.coefficients.origin == "a test"
    assert found.coefficients.energy_pj["dense_mac"] == pytest.approx(
        found.factors["compute"] * KNOWN.energy_pj["dense_mac"]
    )


def test_noise_becomes_uncertainty():
    found = fit(KNOWN, measured(40, noise=0.1), "a test")
    assert 0.1 < found.coefficients.uncertainty < 0.4
    assert all(factor >= 0 for factor in found.factors.values())


def test_what_one_measurement_leaves_open_stays_as_known():
    idle = measured(1)
    found = fit(KNOWN, idle, "a test")
    assert found.factors["static"] == pytest.approx(1.2, rel=0.01)
    assert [found.factors[part] for part in PARTS[:3]] == pytest.approx([1, 1, 1])
    assert found.coefficients.uncertainty == KNOWN.uncertainty


def test_factors_are_never_negative():
    rows = [dataclasses.replace(row, joules=0.2 * row.joules) for row in measured(9)]
    found = fit(KNOWN, rows, "a test")
    assert min(found.factors.values()) >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("board,program,seconds\n", "no column 'joules'"),
        ("board,program,seconds,joules,volts\n", "unknown column 'volts'"),
        ("board,program,seconds,joules\n", "measurements of nothing"),
        ("board,program,seconds,joules\na,n,1,1\nb,n,1,1\n", "measurements of a, b"),
        ("board,program,seconds,joules\na,n,1,x\n", "line 2: could not convert"),
        ("board,program,seconds,joules\na,n,0,1\n", "line 2: seconds and joules must be positive"),
        ("board,program,seconds,joules,dense_mac\na,n,1,1,-1\n", "an event's count is negative"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_measurements(path)


def test_events_left_out_are_none(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("board,program,seconds,joules,dense_mac\nkv260,net,0.5,2.5,7\nkv260,,1,9,\n")
    one, idle = read_measurements(path)
    assert (one.seconds, one.joules, one.events["dense_mac"]) == (0.5, 2.5, 7.0)
    assert set(idle.events.values()) == {0.0}
