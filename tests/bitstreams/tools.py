"""Programs that stand for the vendor's and the open tools: they check what they are given."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

_VIVADO = """\
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.bitstreams.vivado_model import Vivado

arguments = sys.argv[1:]
assert arguments[:2] == ["-mode", "batch"], arguments
assert "-nojournal" in arguments, arguments
script = Path(arguments[arguments.index("-source") + 1])
assert script.is_file(), "Vivado runs in the folder of the files"
runs = Path({runs!r})
runs.mkdir(exist_ok=True)
vivado = Vivado(runs, slack_ns={slack})
try:
    vivado.source(script.absolute())
except Exception as error:
    print("ERROR:", error)
    sys.exit(1)
if {identity!r}:
    from bitstreams import bit
    out = script.with_suffix(".bit")
    file = bit.BitFile.decode(out.read_bytes())
    words = bit.simulation_body(int({identity!r}), {{}})
    out.write_bytes(bit.BitFile(file.design, file.part, file.date, file.time, words).encode())
"""

_OPEN = """\
import sys
from pathlib import Path
sys.path[:0] = {path!r}
arguments = sys.argv[1:]


def option(name):
    return arguments[arguments.index(name) + 1]


def step(source, target, content):
    assert Path(source).is_file(), source
    Path(target).write_text(content)


tool = Path(sys.argv[0]).name
if tool == "yosys":
    script = Path(option("-s"))
    lines = script.read_text().splitlines()
    (source,) = (x.split()[1] for x in lines if x.startswith("read_verilog"))
    (target,) = (x.split()[1] for x in lines if x.startswith("write_json"))
    assert "PS7 ps7" in Path(source).read_text()
    step(source, target, "json")
elif tool == "nextpnr-xilinx":
    assert Path(option("--chipdb")).is_file()
    assert 140 < float(option("--freq")) < 150
    step(option("--json"), option("--fasm"), "fasm")
elif tool == "fasm2frames":
    assert option("--part") == "xc7z020clg400-1"
    assert Path(option("--db-root")).name == "zynq7"
    step(arguments[-2], arguments[-1], "frames")
else:
    from bitstreams import bit
    assert Path(option("--part_file")).is_file()
    step(option("--frm_file"), option("--output_file"), "")
    words = (0xFFFFFFFF, bit.SYNC, 0x20000000, 0x30008001, 7, 0x30008001, 0xD)
    body = b"".join(word.to_bytes(4, "big") for word in words)
    file = bit.BitFile("x.frames;Generator=xc7frames2bit", option("--part_name"), "d", "t", body)
    Path(option("--output_file")).write_bytes(file.encode())
"""
OPEN_TOOLS = ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit")


def _install(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def fake_vivado(folder: Path, slack_ns: float = 0.1, identity: int | None = None) -> None:
    """A `vivado` that runs its script on the model; ``identity`` goes into its bitstream instead
    of the script's."""
    text = _VIVADO.format(
        path=[os.getcwd()], runs=str(folder / "runs"), slack=slack_ns,
        identity="" if identity is None else str(identity),
    )  # fmt: skip
    _install(folder, "vivado", text)


def fake_open_tools(folder: Path, leave_out: str = "") -> None:
    """The four open tools, but the one to be left out."""
    for name in OPEN_TOOLS:
        if name != leave_out:
            _install(folder, name, _OPEN.format(path=[os.getcwd()]))
