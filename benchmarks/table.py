"""Writes the tables of measured figures in README.md and docs/performance.md from results/*.json.

Run by `make bench`; `python benchmarks/table.py --check` fails where a table is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from codesign.report.marks import replace_between

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures: made by benchmarks/table.py -->", "<!-- end of figures -->"
README_ROWS = (
    "network.resnet8.cycles",
    "network.resnet8.latency_ms",
    "network.ic_resnet8.cycles",
    "network.kws_dscnn.cycles",
    "network.ad_autoencoder.cycles",
    "network.resnet18.cycles",
    "network.resnet18.utilization",
    "network.mobilenet_v2.cycles",
    "network.mobilenet_v2.utilization",
    "driver.overhead_us",
    "driver.host_us",
    "array.conv3x3.utilization",
    "array.conv1x1.utilization",
    "array.conv3x3s2.utilization",
    "array.depthwise3x3.utilization",
    "sim.cycles_per_second",
    "sim.build_seconds",
    "synth.lut",
    "synth.ff",
    "synth.dsp",
    "synth.ramb36",
    "synth.logic_levels",
    "explore.cycles_error_layer",
    "explore.cycles_layers_close",
    "explore.cycles_error_network",
    "explore.resource_error",
    "explore.energy_error",
    "explore.dram_error",
    "explore.closed_form_per_second",
    "explore.instruction_level_per_second",
    "explore.prune_channel.saving",
    "explore.prune_block.saving",
)
"""What the README shows, in this order; docs/performance.md shows every row."""


def collect(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> row of all result files."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {row["name"]: row for document in documents for row in document["rows"]}


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table."""
    lines = ["| figure | value | unit |", "|---|---:|---|"]
    lines += [f"| `{r['name']}` | {number(r['value'])} | {r['unit']} |" for r in rows]
    return "\n".join(lines)


def number(value: float) -> str:
    """Four significant digits, whole numbers in full."""
    if float(value).is_integer() or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def insert(text: str, content: str) -> str:
    """The page with its table replaced.

    Raises
    ------
    ValueError
        The page does not have both marks.
    """
    return replace_between(text, BEGIN, END, content, name="the page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail where needed")
    check = parser.parse_args().check
    rows = collect(Path(__file__).parent / "results")
    pages = {
        ROOT / "README.md": [rows[name] for name in README_ROWS if name in rows],
        ROOT / "docs" / "performance.md": list(rows.values()),
    }
    for page, shown in pages.items():
        old = page.read_text()
        new = insert(old, table(shown))
        if check and new != old:
            sys.exit(f"{page.name} is out of date: run `python benchmarks/table.py`")
        if new != old:
            page.write_text(new)


if __name__ == "__main__":
    main()
