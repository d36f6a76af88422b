"""Writing an overlay's files."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bitstreams import bit, open_flow, vivado
from bitstreams.design import Design
from bitstreams.hwh import hwh
from bitstreams.memories import place
from bitstreams.readme import readme
from codesign.arch import Arch
from codesign.boards import BOARDS, board
from codesign.errors import CodesignError
from codesign.report import files
from hw.build import generate
from hw.zynq import generate as generate_zynq

_HASH = "[0-9a-f]{8}"
_TEXTS = ("v", "tcl", "xdc", "ys", "hwh")
"""Suffixes of what is written beside a bitstream."""
SIMULATED = "simulated"
"""Folder of the pair that only a simulated board takes."""


class OverlayError(CodesignError):
    """A folder holds the bitstream of an earlier design."""


@dataclass(frozen=True)
class Overlay:
    """The files of a design.

    Attributes
    ----------
    design:
        The design they describe; ``design.identity`` is in all of them.
    hwh:
        The handoff file, to lie beside the bitstream that is built.
    simulated_bit:
        A bitstream for simulated boards, its handoff file beside it.
    """

    design: Design
    directory: Path

    @property
    def hwh(self) -> Path:
        return self.directory / f"{self.design.name}.hwh"

    @property
    def script(self) -> Path:
        """Vivado's."""
        return self.directory / f"{self.design.name}.tcl"

    @property
    def bit(self) -> Path:
        """Where a build puts the bitstream."""
        return self.directory / f"{self.design.name}.bit"

    @property
    def simulated_bit(self) -> Path:
        return self.directory / SIMULATED / f"{self.design.name}.bit"


def write_overlay(
    arch: Arch, board_name: str, directory: Path, verilog: str | None = None
) -> Overlay:
    """Write everything that an accelerator on a board needs; each file at once or not at all.

    Parameters
    ----------
    arch:
        The accelerator; its field ``board`` is set to the board's name.
    board_name:
        One of ``codesign.boards.BOARDS``.
    directory:
        Made if it is not there.
    verilog:
        The accelerator's text, where the caller has it already.

    Raises
    ------
    ValueError
        There is no such board, or the accelerator does not fit its ports.
    """
    design = Design(arch.replace(board=board_name), board(board_name), "")
    text = generate(design.arch) if verilog is None else verilog
    return _write(dataclasses.replace(design, verilog=text), contents, directory)


def write_open_overlay(arch: Arch, board_name: str, directory: Path) -> Overlay:
    """Write what the open tools need instead of Vivado: the processing system is an instance in the
    Verilog, the interrupt goes straight to it.

    Raises
    ------
    ValueError
        There is no such board, its part has no open tools, or the accelerator does not fit.
    """
    target = board(board_name)
    if target.part.family != "xc7":
        raise ValueError(
            f"board {board_name!r}: the open tools have no {target.die}; they build for "
            + ", ".join(sorted(b.name for b in BOARDS.values() if b.part.family == "xc7"))
        )
    design = Design(arch.replace(board=board_name), target, "", controller=False)
    design = dataclasses.replace(design, verilog=generate_zynq(design.arch))
    return _write(design, open_contents, directory)


Contents = Callable[[Design], Mapping[str, bytes]]


def _write(design: Design, what: Contents, directory: Path) -> Overlay:
    overlay = Overlay(identified(design, what), directory)
    _remove_earlier(overlay)
    for name, content in what(overlay.design).items():
        files.write_bytes(directory / name, content)
    return overlay


def _remove_earlier(overlay: Overlay) -> None:
    """Remove what an earlier hash of the same board and architecture left in the folder.

    Raises
    ------
    OverlayError
        Its bitstream is among that: it took long to build, and is left alone with all else.
    """
    name, folder = overlay.design.name, overlay.directory
    stem = re.escape(name.removesuffix(f"{overlay.design.identity:08x}"))
    earlier = re.compile(rf"(?!{re.escape(name)}\.){stem}{_HASH}\.(\w+)")

    def found(place: Path, suffixes: tuple[str, ...]) -> list[Path]:
        matches = ((path, earlier.fullmatch(path.name)) for path in sorted(place.glob("*.*")))
        return [path for path, match in matches if match and match[1] in suffixes]

    if bitstreams := found(folder, ("bit",)):
        raise OverlayError(
            f"{bitstreams[0]} is the bitstream of another design than {name}: move or delete it, "
            "or write to another folder"
        )
    for path in [*found(folder, _TEXTS), *found(folder / SIMULATED, ("hwh", "bit"))]:
        path.unlink()


def identified(design: Design, what: Contents) -> Design:
    """The design with its identity: the hash of all its files, written with identity zero."""
    digest = hashlib.sha256()
    for name, content in sorted(what(dataclasses.replace(design, identity=0)).items()):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return dataclasses.replace(design, identity=int.from_bytes(digest.digest()[:4], "big"))


def contents(design: Design) -> dict[str, bytes]:
    """File name -> content, of all files of a design for Vivado."""
    name = design.name
    return {
        f"{name}.v": place(design.verilog, design.arch, design.board.part).encode(),
        f"{name}.tcl": vivado.script(design).encode(),
        f"{name}.xdc": vivado.constraints(design).encode(),
        **_common(design),
    }


def open_contents(design: Design) -> dict[str, bytes]:
    """File name -> content, of all files of a design for the open tools."""
    name = design.name
    return {
        f"{name}.v": design.verilog.encode(),
        f"{name}.ys": open_flow.synthesis(design).encode(),
        **_common(design),
    }


def _common(design: Design) -> dict[str, bytes]:
    name, handoff = design.name, hwh(design).encode()
    return {
        f"{name}.hwh": handoff,
        "README.md": readme(design).encode(),
        f"{SIMULATED}/{name}.hwh": handoff,
        f"{SIMULATED}/{name}.bit": simulated(design).encode(),
    }


def simulated(design: Design) -> bit.BitFile:
    """The bitstream for simulated boards."""
    body = bit.simulation_body(design.identity, design.describe())
    text = f"{design.name};UserID=0XFFFFFFFF;Version=simulated"
    return bit.BitFile(text, design.board.device, *bit.EPOCH, body)
