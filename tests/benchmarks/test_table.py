"""The tables of figures in README.md and docs/performance.md."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "table.py"


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_pages_show_the_results_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_rows_become_markdown(table: dict[str, Any]) -> None:
    rows = [
        {"name": "a.b", "value": 36012, "unit": "cycles"},
        {"name": "c", "value": 0.98765, "unit": "1"},
        {"name": "d", "value": 123456.7, "unit": "cycles/s"},
    ]
    assert table["table"](rows).splitlines()[2:] == [
        "| `a.b` | 36,012 | cycles |",
        "| `c` | 0.9877 | 1 |",
        "| `d` | 123,457 | cycles/s |",
    ]


def test_only_what_is_between_the_marks_changes(table: dict[str, Any]) -> None:
    page = f"top\n{table['BEGIN']}\nold\n{table['END']}\nend\n"
    assert table["insert"](page, "new") == f"top\n{table['BEGIN']}\nnew\n{table['END']}\nend\n"
    with pytest.raises(ValueError, match="needs the marks"):
        table["insert"]("no marks", "new")
