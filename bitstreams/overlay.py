"""Writing an overlay's files."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from bitstreams import bit, vivado
from bitstreams.design import Design
from bitstreams.hwh import hwh
from bitstreams.memories import place
from bitstreams.readme import readme
from codesign.arch import Arch
from codesign.boards import Board, board
from codesign.report import files
from hw.build import generate

SIMULATED = "simulated"
"""Folder of the pair that only a simulated board takes."""


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
    design = identified(arch, board(board_name), verilog)
    overlay = Overlay(design, directory)
    for name, content in contents(design).items():
        files.write_bytes(directory / name, content)
    return overlay


def identified(arch: Arch, target: Board, verilog: str | None = None) -> Design:
    """The design with its identity: the hash of all its files, written with identity zero."""
    arch = arch.replace(board=target.name)
    design = Design(arch, target, generate(arch) if verilog is None else verilog)
    digest = hashlib.sha256()
    for name, content in sorted(contents(design).items()):
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return dataclasses.replace(design, identity=int.from_bytes(digest.digest()[:4], "big"))


def contents(design: Design) -> dict[str, bytes]:
    """File name -> content, of all files of a design."""
    name = design.name
    handoff = hwh(design).encode()
    return {
        f"{name}.v": place(design.verilog, design.arch, design.board.part).encode(),
        f"{name}.tcl": vivado.script(design).encode(),
        f"{name}.xdc": vivado.constraints(design).encode(),
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
