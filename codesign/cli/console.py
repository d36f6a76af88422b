"""Progress bars and tables of the commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from codesign.cost.energy import PARTS

console = Console(width=None if sys.stdout.isatty() else 120)


def progress() -> Progress:
    """Bars with a text that may change, a count and the time."""
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


FORMATS = {
    "accuracy_float": "{:.2%}",
    "accuracy_int8": "{:.2%}",
    "accuracy_rtl": "{:.2%}",
    "cycles": "{:,}",
    "predicted_cycles": "{:,}",
    "macs": "{:,}",
    "utilization": "{:.1%}",
    "latency_ms": "{:.4f}",
    "driver_overhead_us": "{:.1f}",
    "energy_uj": "{:,.1f}",
    "dram_read_bytes": "{:,}",
    "dram_write_bytes": "{:,}",
}
"""How a figure of a report is shown."""


def show_report(report: Mapping[str, Any]) -> None:
    """The figures with their sources, then the layers."""
    source = report["provenance"]
    table = Table(title=f"{report['network']} on {report['arch']['name']} ({report['device']})")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("how")
    for name in ("bit_exact", *FORMATS):
        if name in report:
            value = report[name]
            text = (
                FORMATS[name].format(value) if name in FORMATS and value is not None else str(value)
            )
            table.add_row(name, text, source.get(name, ""))
    console.print(table)
    if report["energy"]:
        console.print(f"Energy in uJ: {energy_split(report['energy'])}")
    show_layers(report["layers"], source["layers"])


def energy_split(energy: Mapping[str, Any]) -> str:
    """Such as "compute 1.2 (3%), on chip 0.5 (1%), ..."."""
    parts = {part: energy[f"{part}_uj"] for part in PARTS}
    whole = sum(parts.values()) or 1.0
    return ", ".join(
        f"{part.replace('_', ' ')} {value:,.1f} ({value / whole:.0%})"
        for part, value in parts.items()
    )


def show_layers(layers: Sequence[Mapping[str, Any]], source: str) -> None:
    """A row for each layer, stalls by cause."""
    causes = list(layers[0]["stalls"]) if layers else []
    caption = f"{', '.join(causes)}: cycles in which no tap entered the array, by cause"
    table = Table(title=f"Layers ({source})", caption=caption)
    for heading in ("layer", "op"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cycles", "macs", "utilization", "energy uJ", *causes):
        table.add_column(heading, justify="right")
    for layer in layers:
        table.add_row(
            layer["name"],
            layer["op"],
            f"{layer['cycles']:,}",
            f"{layer['macs']:,}",
            f"{layer['utilization']:.1%}",
            "" if layer["energy_uj"] is None else f"{layer['energy_uj']:,.2f}",
            *(f"{layer['stalls'][cause]:,}" for cause in causes),
        )
    console.print(table)
