"""Programs saved by torch, and files that are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from codesign.errors import GraphError
from codesign.frontend.torch_export import from_exported, load_program


def test_saved_program(tmp_path: Path) -> None:
    program = torch.export.export(nn.Conv2d(2, 3, 1).eval(), (torch.zeros(1, 2, 4, 4),))
    torch.export.save(program, tmp_path / "small.pt2")
    network = from_exported(load_program(tmp_path / "small.pt2"), "small")
    assert network.name == "small"
    assert network.shapes[network.outputs[0]] == (3, 4, 4)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("nothing")
    torch.save(nn.ReLU().state_dict(), tmp_path / "state.pt2")
    for name in ("text.pt2", "state.pt2"):
        message = f"{name} holds no exported program; write it with torch.export.save"
        with pytest.raises(GraphError, match=re.escape(message)):
            load_program(tmp_path / name)
