import json
from pathlib import Path

import pytest

from codesign.arch import preset
from codesign.cli.bench import GROUPS, document
from codesign.cli.bench.row import Row
from codesign.cli.main import COMMANDS
from codesign.registers import OFFSETS
from tests.cli.conftest import Command


def test_help_names_every_command(codesign: Command) -> None:
    outcome = codesign("--help")
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_teaches(name: str, codesign: Command) -> None:
    outcome = codesign(name, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith("Usage: ")
    assert name == "demo" or f"codesign {name} " in outcome.out


def test_an_unknown_command_is_refused(codesign: Command) -> None:
    outcome = codesign("destroy")
    assert outcome.code == 2
    assert "No such command 'destroy'" in outcome.err


def test_debug_shows_where(tmp_path: Path, codesign: Command) -> None:
    (tmp_path / "x.prog").write_text("no zip")
    with pytest.raises(Exception, match="is not a program"):
        codesign("--debug", "disasm", tmp_path / "x.prog")
    assert codesign("disasm", tmp_path / "x.prog").code == 2


def test_disasm_shows_both_parts(program: Path, codesign: Command) -> None:
    plain = codesign("disasm", program)
    assert plain.code == 0
    assert plain.out.count("BEGIN") == 2
    assert "CALC" in plain.out
    assert len(codesign("disasm", program, "--tables").out) > len(plain.out)


def test_generate_writes_verilog_and_parameters(tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("generate", "--arch", "tiny", "-o", tmp_path / "new")
    assert outcome.code == 0, outcome.err
    assert "module codesign_top(" in (tmp_path / "new" / "codesign_top.v").read_text()
    parameters = json.loads((tmp_path / "new" / "codesign_top.json").read_text())
    assert parameters["arch"] == preset("tiny").to_dict()
    assert parameters["fingerprint"] == preset("tiny").fingerprint
    assert parameters["registers"] == OFFSETS


def test_figures_carry_what_repeats_them() -> None:
    made = document([Row("array.x.utilization", 0.5, "1")], preset("tiny"))
    assert made["rows"] == [{"name": "array.x.utilization", "value": 0.5, "unit": "1"}]
    assert made["arch"]["pixels"] == 3
    assert "python" in made["versions"]


def test_an_unknown_group_is_refused(codesign: Command) -> None:
    outcome = codesign("bench", "speed")
    assert outcome.code == 2
    assert all(group in outcome.err for group in GROUPS)
