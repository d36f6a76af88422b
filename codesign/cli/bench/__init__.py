"""`codesign bench`: measured figures of an architecture, group by group."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.console import console
from codesign.cli.options import FILE, arch_option
from codesign.report import files
from codesign.report.run import versions

GROUPS = ("array", "driver", "explore", "network", "presets", "sim", "synth")
"""Each a module of this package, with ``measure(arch)``."""


@click.command()
@click.argument("group", type=click.Choice(GROUPS), required=False)
@click.option("--json", "output", type=FILE, help="Where to write the figures.")
@arch_option("pynq_z2")
def command(group: str | None, output: Path | None, arch: Arch) -> None:
    """Measure an architecture: one GROUP, or all.

    \b
    array     single layers in RTL simulation: utilisation of the array, data resident
    driver    what the host adds to an inference of ResNet-8: time before, beside and after it
    explore   worst errors of the cost models of cycles, energy and resources, evaluations a second,
              what pruning saves in RTL simulation
    network   ResNet-8, MLPerf Tiny's TFLite models, ResNet-18 and MobileNetV2 at 224x224 in RTL
              simulation: cycles from doorbell to done, distance from LiteRT's results
    presets   Yosys for each board's part: what its preset takes, whatever --arch says
    sim       speed of that simulation, and time to build it
    synth     Yosys for xc7: LUT, FF, DSP, block RAM, levels of logic

    \b
    Example:
      codesign bench array --json benchmarks/results/array.json
    """
    rows = [row for name in ([group] if group else GROUPS) for row in measure(name, arch)]
    table = Table(title=f"{arch.name}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for row in rows:
        table.add_row(row.name, f"{row.value:,.6g}", row.unit)
    console.print(table)
    if output:
        files.write_json(output, document(rows, arch))


def document(rows: list[Row], arch: Arch) -> dict[str, Any]:
    """The figures with what it takes to repeat them."""
    return {
        "arch": arch.to_dict(),
        "versions": versions(),
        "rows": [row.to_dict() for row in rows],
    }


def measure(group: str, arch: Arch) -> list[Row]:
    """The rows of one group."""
    console.print(f"measuring {group} ...")
    rows: list[Row] = importlib.import_module(f"{__name__}.{group}").measure(arch)
    return rows
