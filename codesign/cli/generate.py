"""`codesign generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codesign import registers
from codesign.arch import ISA_VERSION, Arch
from codesign.cli.console import console
from codesign.cli.options import FOLDER, arch_option
from codesign.report import files
from codesign.report.run import versions
from sim.device import TOP, verilog


@click.command()
@arch_option()
@click.option("-o", "--output", type=FOLDER, required=True, help="The folder to write to.")
def command(arch: Arch, output: Path) -> None:
    """Write an accelerator's Verilog, and its parameters as JSON.

    The top level has plain AXI ports: AXI4 to DRAM, AXI4-Lite for registers, one interrupt.

    \b
    Examples:
      codesign generate --arch pynq_z2 -o build/verilog
      codesign generate --arch board.yaml -o build/mine
    """
    source, parameters = write_hardware(arch, output)
    console.print(f"{source}, {parameters}")


def write_hardware(arch: Arch, folder: Path) -> tuple[Path, Path]:
    """Write Verilog and parameters; the paths of both."""
    source, parameters = folder / f"{TOP}.v", folder / f"{TOP}.json"
    files.write_text(source, verilog(arch))
    files.write_json(parameters, describe(arch))
    return source, parameters


def describe(arch: Arch) -> dict[str, Any]:
    """What a host or a board design must know of the hardware."""
    return {
        "top": TOP,
        "arch": arch.to_dict(),
        "fingerprint": arch.fingerprint,
        "isa_version": ISA_VERSION,
        "act_bytes": arch.act_bytes,
        "wgt_bytes": arch.wgt_bytes,
        "macs_per_cycle": arch.macs_per_cycle,
        "registers": registers.OFFSETS,
        "versions": versions(),
    }
