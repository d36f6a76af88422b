"""`codesign overlay`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from bitstreams.build import build_open, build_vivado
from bitstreams.overlay import Overlay, write_open_overlay, write_overlay
from codesign.arch import Arch, preset
from codesign.boards import BOARDS
from codesign.cli.console import console
from codesign.cli.options import FILE, FOLDER, ArchType


@click.command()
@click.option("--board", type=click.Choice(tuple(BOARDS)), required=True, help="The board.")
@click.option(
    "--arch", type=ArchType(), help="A preset or a YAML file; by default the board's own preset."
)
@click.option("-o", "--output", type=FOLDER, required=True, help="The folder to write to.")
@click.option(
    "--flow",
    type=click.Choice(("vivado", "open")),
    default="vivado",
    show_default=True,
    help="Whose files: Vivado's block design, or those of the open tools (xc7z020 alone).",
)
@click.option("--build", is_flag=True, help="Run the tools, too, and check the bitstream.")
@click.option("--chipdb", type=FILE, help="nextpnr-xilinx's file of the part (open flow).")
@click.option("--xray", type=FOLDER, help="Project X-Ray's database, holding zynq7 (open flow).")
def command(
    board: str,
    arch: Arch | None,
    output: Path,
    flow: str,
    build: bool,
    chipdb: Path | None,
    xray: Path | None,
) -> None:
    """Write what an accelerator on a board is built from, and what pynq reads.

    File names carry the design's hash, and so does the bitstream. The folder's README.md tells what
    each file is and how to build; `simulated/` holds the pair for a simulated board.

    \b
    Examples:
      codesign overlay --board pynq-z2 -o build/overlays/pynq-z2
      codesign overlay --board zcu104 --arch mine.yaml -o build/overlays/mine --build
      codesign overlay --board pynq-z1 --flow open -o build/overlays/open
    """
    arch = preset(BOARDS[board].preset) if arch is None else arch
    say(f"generating the Verilog of {arch.name} ...")
    if flow == "vivado":
        overlay = write_overlay(arch, board, output)
        run: Callable[[Overlay], Path] = build_vivado
    else:
        overlay = write_open_overlay(arch, board, output)
        run = partial(_build_open, chipdb=chipdb, xray=xray)
    show(overlay)
    if build:
        say(f"building {overlay.bit.name}; this takes a while ...")
        path = run(overlay)
        say(f"{path} carries design id 0x{overlay.design.identity:08x}, as it should")


def _build_open(overlay: Overlay, chipdb: Path | None, xray: Path | None) -> Path:
    if chipdb is None or xray is None:
        raise click.UsageError("--flow open --build needs --chipdb FILE and --xray FOLDER")
    return build_open(overlay, chipdb, xray)


def show(overlay: Overlay) -> None:
    """The design and where its files are."""
    design = overlay.design
    say(
        f"{design.name}: {design.arch.name} on {design.board.name}, {design.clock.mhz:.3f} MHz, "
        f"registers at 0x{design.base:08X}"
    )
    say(f"{overlay.directory / 'README.md'} tells what to do next")


def say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
