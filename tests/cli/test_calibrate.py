"""From measured energies to a program that carries them."""

from pathlib import Path

import numpy as np

from codesign.artifact import Program
from codesign.cost import energy_file
from tests.cli.conftest import EXAMPLES, Command

ROWS = """board,program,seconds,joules,dense_mac,dram_byte
pynq-z2,idle,1,2.0,,
pynq-z2,big,1,4.0,1e12,
pynq-z2,moving,1,3.0,,1e9
pynq-z2,idle,1,2.02,,
"""


def test_measurements_become_coefficients(tmp_path: Path, codesign: Command) -> None:
    rows, output = tmp_path / "measured.csv", tmp_path / "mine.yaml"
    rows.write_text(ROWS)
    outcome = codesign("calibrate", rows, "-o", output)
    assert outcome.code == 0, outcome.err
    assert "measured and fitted" in outcome.out
    assert "static 2.0" in outcome.out
    found = energy_file.find("pynq-z2", output)
    assert found is not None
    assert found.origin == "fitted to 4 measurements in measured.csv"
    assert abs(found.static_w - 2.01) < 0.02
    assert 1.9 < found.energy_pj["dense_mac"] < 2.1
    assert found.energy_pj["dram_byte"] > 900


def test_compile_takes_them(tmp_path: Path, codesign: Command, monkeypatch, values) -> None:
    rows, energy, path = (tmp_path / name for name in ("m.csv", "mine.yaml", "net.prog"))
    rows.write_text(ROWS)
    codesign("calibrate", rows, "-o", energy)
    np.save(tmp_path / "x.npy", values)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    outcome = codesign(
        "compile", "mine:network", "--arch", "tiny", "-o", path, "--energy", energy,
        "--calibration", tmp_path / "x.npy",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    program = Program.load(path)
    assert program.energy is not None
    assert program.energy.origin == "fitted to 4 measurements in m.csv"
    shown = codesign("run", path, "--inputs", tmp_path / "x.npy")
    assert "fitted to 4 measurements in m.csv" in shown.out


def test_coefficients_of_another_board_are_refused(tmp_path: Path, codesign: Command) -> None:
    rows, energy = tmp_path / "m.csv", tmp_path / "mine.yaml"
    rows.write_text(ROWS.replace("pynq-z2", "kv260"))
    codesign("calibrate", rows, "-o", energy)
    outcome = codesign(
        "compile", "codesign.zoo.resnet8:resnet8", "--arch", "tiny", "-o", tmp_path / "p",
        "--energy", energy,
    )  # fmt: skip
    assert outcome.code == 2
    assert "has no board 'pynq-z2', which 'tiny' is for" in outcome.err


def test_a_board_that_nobody_knows(tmp_path: Path, codesign: Command) -> None:
    rows = tmp_path / "m.csv"
    rows.write_text(ROWS.replace("pynq-z2", "mine"))
    outcome = codesign("calibrate", rows, "-o", tmp_path / "mine.yaml")
    assert outcome.code == 2
    assert "'energy.yaml' has no board 'mine'; add it there, or give --energy" in outcome.err
    rows.write_text("time,watts\n")
    outcome = codesign("calibrate", rows, "-o", tmp_path / "mine.yaml")
    assert "no column 'board'" in outcome.err
