"""`codesign calibrate`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table

from codesign.cli.console import console
from codesign.cli.options import EXISTING_FILE, FILE
from codesign.cost import energy_file
from codesign.cost.energy_fit import Fit, Measurement, fit, read_measurements
from codesign.report import files


@click.command()
@click.argument("measurements", type=EXISTING_FILE)
@click.option("--energy", type=EXISTING_FILE,
              help="Coefficients to begin with; the project's own by default.")  # fmt: skip
@click.option("-o", "--output", type=FILE, required=True, help="The YAML file to write.")
def command(measurements: Path, energy: Path | None, output: Path) -> None:
    """Fit a board's energy coefficients to measured energies.

    MEASUREMENTS is a CSV table, a row for each measured inference: board, program, seconds, joules
    and the number of each event. `host.power.append_measurement(file, report)` writes rows of what
    `Accelerator.measure` measured; a row without events tells the power of a board that stands
    still. Compute, on-chip memory, DRAM and static power get a factor each.

    \b
    Examples:
      codesign calibrate measured.csv -o mine.yaml
      codesign compile net.pt2 --arch pynq_z2 --energy mine.yaml -o net.prog
    """
    rows = read_measurements(measurements)
    board = rows[0].board
    known = energy_file.find(board, energy)
    if known is None:
        source = energy or energy_file.OWN.name
        raise ValueError(
            f"{str(source)!r} has no board {board!r}; add it there, or give --energy a file that "
            "has it"
        )
    found = fit(known, rows, f"fitted to {len(rows)} measurements in {measurements.name}")
    files.write_text(output, energy_file.dump(found.coefficients))
    _show(rows, found)
    console.print(f"{output}: compile with `--energy {output}`")


def _show(rows: list[Measurement], found: Fit) -> None:
    table = Table(title=f"{found.coefficients.board}: measured and fitted, one inference")
    for heading in ("program", "measured uJ", "fitted uJ", "error"):
        table.add_column(heading, justify="left" if heading == "program" else "right")
    for row, joules, error in zip(rows, found.fitted_joules, found.errors, strict=True):
        table.add_row(row.program, f"{row.joules * 1e6:,.1f}", f"{joules * 1e6:,.1f}",
                      f"{error:+.1%}")  # fmt: skip
    console.print(table)
    factors = ", ".join(f"{part} {factor:.3f}" for part, factor in found.factors.items())
    at = found.coefficients
    console.print(
        f"factors on what was known: {factors}\n"
        f"static {at.static_w:.3f} W; energies within a factor of {1 + at.uncertainty:.2f}"
    )
