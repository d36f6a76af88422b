"""`codesign report`."""

from __future__ import annotations

from pathlib import Path

import click

from codesign.cli.options import FILE, FOLDER
from codesign.report import files


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="The page; a CSV file goes beside it.  [default: DIR/report.html]",
)
def command(folder: Path, output: Path | None) -> None:
    """Write what `codesign explore` found in DIR as one HTML page, and as CSV.

    The page needs no network: Pareto front, choices, and of each verified design the layers over
    time, the roofline, resources, energy and the commands that rebuild it. A run that is going on
    or was stopped is reported as far as it came. The CSV file has every evaluated design.

    \b
    Example:
      codesign explore examples/explore/digits.yaml -o build/digits
      codesign report build/digits
    """
    from codesign.report import exploration_csv, explore_page

    page = output or folder / "report.html"
    if page.suffix == ".csv":
        raise ValueError(f"'{page}' names a CSV file; give the page's name, such as report.html")
    sheet = page.with_suffix(".csv")
    found = explore_page.write(folder, page)
    files.write_text(sheet, exploration_csv.table(found))
    count, front = len(found.trials), len(found.front)
    click.echo(f"{count:,} designs, {front:,} on the front, {len(found.designs):,} verified")
    click.echo(f"page:  {page}\ntable: {sheet}")
