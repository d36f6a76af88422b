"""`codesign overlay`."""

from pathlib import Path

import pytest

from codesign.cli.main import main
from tests.bitstreams.tools import fake_vivado


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["overlay", *arguments])
    return int(caught.value.code or 0)


def test_an_overlay_is_written_and_built(tmp_path, monkeypatch, capsys) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    fake_vivado(tools)
    monkeypatch.setenv("PATH", str(tools))
    out = tmp_path / "out"
    assert run("--board", "pynq-z2", "--arch", "tiny", "-o", str(out), "--build") == 0
    (path,) = out.glob("codesign_pynq-z2_tiny_*.bit")
    text = capsys.readouterr().out
    assert "100.000 MHz, registers at 0x43C00000" in text
    assert f"carries design id 0x{path.stem.rsplit('_', 1)[1]}" in text


def test_without_the_tools_the_files_are_written(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    assert run("--board", "kv260", "--arch", "tiny", "-o", str(out), "--build") == 2
    assert capsys.readouterr().err.startswith("codesign: vivado is not on PATH")
    assert len(list(out.glob("*.tcl"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--board", "zcu104", "--arch", "tiny", "--flow", "open"), "have no xczu7ev"),
        (("--board", "vck190"), "'vck190' is not one of 'pynq-z1'"),
        (("--board", "pynq-z2", "--arch", "zcu104"), "dma_bits=128: port S_AXI_HP0 of pynq-z2"),
    ],
)
def test_what_cannot_be_written_is_told(arguments, message, tmp_path: Path, capsys) -> None:
    assert run(*arguments, "-o", str(tmp_path)) == 2
    assert message in capsys.readouterr().err
