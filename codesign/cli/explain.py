"""`codesign explain`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE
from rich.table import Table

from codesign.artifact import Program
from codesign.cli.console import console
from codesign.cli.options import EXISTING_FILE, FILE
from codesign.report import files
from codesign.report.explain import explain

_KIB = 1024
CAPTION = (
    "Cycles are predicted by the machine reference, bytes follow from the instructions; nothing "
    "is measured. Chip: w(eights), i(nput), o(utput) that stay on chip. Read, written: KiB. "
    "x limit: cycles / the larger of the array's for the operations and the bus's for the bytes. "
    "x ideal: bytes / the least for the layer alone with as much memory on chip."
)


@click.command()
@click.argument("program", type=EXISTING_FILE)
@click.option("--json", "json_file", type=FILE, help="Where to write the figures as JSON.")
def command(program: Path, json_file: Path | None) -> None:
    """Tell what PROGRAM does, layer by layer, and what limits it. All figures are predicted.

    strips: how many pieces of lines a layer is cut into; `4x15`: 4 panels of columns of 15 strips
    each. Layers of one group (a, b, ...) take turns strip by strip, or sample by sample, so that
    what they pass on stays on chip.

    chip: `wio` - weights, input and output stay on chip; `--o` - weights are streamed, the input
    comes from DRAM, the output stays. `.` stands for weights that a layer does not have.

    A layer cannot be quicker than the array (operations / lanes) nor than the bus (bytes / beat).
    `latency`, above 2: it waits for something else most of the time, and `codesign run --timeline`
    shows what; below 1 its data were loaded while earlier layers computed.
    `x ideal` weighs its bytes with the bound of Chen et al. (HPCA 2020, arXiv 1911.05662): below 1
    where maps or weights stay on chip from layer to layer; much above 1 it reads things twice.

    \b
    Example:
      codesign explain net.prog --json explain.json
    """
    loaded = Program.load(program)
    document = explain(loaded)
    show(document)
    if json_file:
        files.write_json(json_file, document)


def show(document: Mapping[str, Any]) -> None:
    """The table of an ``explain`` document."""
    title = f"{document['network']} on {document['arch']['name']}, predicted"
    table = Table(title=title, caption=CAPTION, box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", overflow="ellipsis")  # the one column that gives way
    for heading in ("op", "shape", "strips", "chip"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cycles", "read", "written", "x limit", "x ideal"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in document["layers"]:
        group = letters(layer["group"])
        panels = f"{layer['panels']}x" if layer["panels"] > 1 else ""
        cut = f"{panels}{layer['strips']} {group}".rstrip()
        table.add_row(
            layer["name"], layer["op"], layer["shape"], cut, _on_chip(layer), *_figures(layer)
        )
    table.add_section()
    table.add_row("all", "", "", "", "", *_figures(document["total"]))
    console.print(table)


def letters(group: int | None) -> str:
    """a, b, ..., z, aa, ab, ... for groups 1, 2, ...; nothing for None."""
    text, number = "", group or 0
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def _on_chip(layer: Mapping[str, Any]) -> str:
    weights = {"on chip": "w", "streamed": "-", "none": "."}[layer["weights"]]
    source = "i" if layer["source"] == "on chip" else "-"
    return weights + source + ("o" if layer["result"] == "on chip" else "-")


def _figures(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['cycles']:,}",
        f"{row['dram_read_bytes'] / _KIB:,.1f}",
        f"{row['dram_write_bytes'] / _KIB:,.1f}",
        f"{row['limit_ratio']:.2f} {row['limit']:>7}",
        f"{row['traffic_ratio']:.2f}",
    )
