import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Command


def test_serve_says_where_it_is() -> None:
    command = [sys.executable, "-m", "codesign.cli.main", "board", "serve"]
    with subprocess.Popen(
        [*command, "--board", "pynq-z2", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert "pynq-z2, simulated (rtl), is at 127.0.0.1, port" in line


def test_leds_are_an_overlay(tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("board", "leds", "--board", "zcu104", "-o", tmp_path)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in tmp_path.iterdir()} == {"leds_zcu104.bit", "leds_zcu104.hwh"}


def test_a_board_without_the_protocol_is_refused(codesign: Command) -> None:
    outcome = codesign("board", "serve", "--board", "kv260")
    assert outcome.code == 2
    assert "'kv260' is not one of 'pynq-z1'" in outcome.err
