"""What the device body for PYNQ does without PYNQ; with it: ``tests/sim/board/test_pynq.py``."""

import importlib.util
from pathlib import Path

import pytest

from host.pynq import PynqDevice


def test_an_overlay_is_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.bit").touch()
    with pytest.raises(
        FileNotFoundError, match=r"a\.hwh is missing: an overlay is a .bit file and"
    ):
        PynqDevice(tmp_path / "a.bit")
    with pytest.raises(FileNotFoundError, match=r"b\.bit is missing"):
        PynqDevice(tmp_path / "b.bit")


@pytest.mark.skipif(importlib.util.find_spec("pynq") is not None, reason="PYNQ is installed here")
def test_pynq_is_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.bit").touch()
    (tmp_path / "a.hwh").touch()
    with pytest.raises(ModuleNotFoundError, match="pip install 'codesign"):
        PynqDevice(tmp_path / "a.bit")
