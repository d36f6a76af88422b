"""`codesign report`."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.report.exploration_folder import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("exploration"))


def test_page_and_table(folder: Path, tmp_path: Path, codesign: Command) -> None:
    page = tmp_path / "page.html"
    outcome = codesign("report", folder, "-o", page)
    assert outcome.code == 0
    assert "240 designs" in outcome.out
    assert page.read_text().startswith("<!doctype html>")
    assert (tmp_path / "page.csv").read_text().startswith("id,front,")


def test_beside_the_run(folder: Path, codesign: Command) -> None:
    assert codesign("report", folder).code == 0
    assert (folder / "report.html").exists()
    assert (folder / "report.csv").exists()


def test_what_is_no_exploration(tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("report", tmp_path)
    assert outcome.code == 2
    assert f"'{tmp_path}' holds no exploration (it has no run.json)" in outcome.err


def test_the_page_is_no_csv(folder: Path, tmp_path: Path, codesign: Command) -> None:
    outcome = codesign("report", folder, "-o", tmp_path / "page.csv")
    assert outcome.code == 2
    assert "names a CSV file; give the page's name" in outcome.err
