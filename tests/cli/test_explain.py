import json
from pathlib import Path

from codesign.artifact import Program
from tests.cli.conftest import Command


def test_explain_tells_every_layer(program: Path, tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("explain", program, "--json", tmp_path / "out" / "explain.json")
    assert outcome.code == 0, outcome.err
    assert "predicted by the machine reference" in outcome.out
    document = json.loads((tmp_path / "out" / "explain.json").read_text())
    loaded = Program.load(program)
    assert [at["name"] for at in document["layers"]] == list(
        dict.fromkeys(layer.name for layer in loaded.layers)
    )
    assert document["predicted_cycles"] == loaded.predicted_cycles
    assert f"{loaded.predicted_cycles:,}" in outcome.out
    assert all(f"{at['limit_ratio']:.2f}" in outcome.out for at in document["layers"])


def test_what_is_no_program_is_refused(tmp_path: Path, codesign: Command) -> None:
    (tmp_path / "x.prog").write_text("no zip")
    outcome = codesign("explain", tmp_path / "x.prog")
    assert outcome.code == 2
    assert "is not a program" in outcome.err
