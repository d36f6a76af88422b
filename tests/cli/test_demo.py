import json
from pathlib import Path

import pytest

from codesign.cli.demo import LEAST_IMAGES
from tests.cli.conftest import Command


@pytest.mark.slow
def test_the_demo_verifies_what_it_reports(tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("demo", "--arch", "tiny", "--width", 8, "--images", LEAST_IMAGES,
                       "-o", tmp_path / "demo")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "equal, bit for bit" in outcome.out
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["bit_exact"] is True
    assert report["images"] == LEAST_IMAGES
    assert report["accuracy_float"] > 0.9
    assert report["accuracy_int8"] == report["accuracy_rtl"] > 0.9
    assert report["cycles"] == pytest.approx(report["predicted_cycles"], rel=0.01)
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {"codesign_top.v", "codesign_top.json", "digits.prog", "report.json",
                     "timeline.json"}  # fmt: skip


def test_too_few_images_are_refused(codesign: Command) -> None:
    outcome = codesign("demo", "--images", LEAST_IMAGES - 1)
    assert outcome.code == 2
    assert "99 is not in the range" in outcome.err
