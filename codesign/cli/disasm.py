"""`codesign disasm`."""

from __future__ import annotations

from pathlib import Path

import click

from codesign.artifact import Program
from codesign.cli.options import EXISTING_FILE
from codesign.disassemble import disassemble


@click.command()
@click.argument("program", type=EXISTING_FILE)
@click.option("--tables", is_flag=True, help="Also list tap entries and parameter records.")
def command(program: Path, tables: bool) -> None:
    """Print the instructions of PROGRAM, part by part.

    \b
    Example:
      codesign disasm net.prog | less
    """
    click.echo(disassemble(Program.load(program), tables=tables))
