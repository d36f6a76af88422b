"""The digits example as a user runs it: prepared here, run under PYNQ on a simulated board."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.fabric import fabrics
from sim.board.server import BoardServer
from tests.conftest import ROOT
from tests.pynq_client import ZYNQ, own_address

pytestmark = pytest.mark.pynq
EXAMPLES = ROOT / "examples"
IMAGES = 40


def prepare(folder: Path) -> None:
    """Notebook, script and folder ``digits``, as a user copies them to a board."""
    arguments = f"--arch tiny --width 8 --epochs 4 --images {IMAGES} -o digits".split()
    subprocess.run([sys.executable, EXAMPLES / "prepare.py", *arguments], cwd=folder, check=True)
    for name in ("classify.py", "digits.ipynb"):
        shutil.copy(EXAMPLES / name, folder)


@pytest.fixture
def address() -> Iterator[str]:
    """Of a simulated board that is served."""
    board = Board(board_model(ZYNQ.board), fabrics("rtl"))
    with BoardServer(board, own_address()):
        yield own_address()


def check_script(folder: Path, address: str) -> None:
    output = ZYNQ.run(address, folder, "classify.py", "digits", "--timeline", "trace.json")
    assert re.search(rf"{IMAGES} images on Pynq-Z2 at {address}: \d+\.\d% right", output)
    assert re.search(r"energy: [\d.]+ uJ modelled", output)
    assert "residual.2.0 (Conv2d+Add)" in output
    names = {
        event["name"] for event in json.loads((folder / "trace.json").read_text())["traceEvents"]
    }
    assert any("residual.2.0" in name for name in names)


def check_notebook(folder: Path, address: str) -> None:
    script = Path(__file__).with_name("run_notebook.py")
    output = ZYNQ.run(address, folder, script, "digits.ipynb")
    assert re.search(rf"Pynq-Z2 at {address} at 100.0 MHz: \d+\.\d% of {IMAGES} right", output)
    assert re.search(r"^narrow +\d+\.\d% +[\d,]+ +[\d.]+ +[\d.]+ +[\d,]+$", output, re.MULTILINE)
    assert len(list(folder.glob("figure*.png"))) == 3
    assert (folder / "timeline.json").is_file()


def test_digits_are_classified(address: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    check_script(tmp_path, address)
    check_notebook(tmp_path, address)
