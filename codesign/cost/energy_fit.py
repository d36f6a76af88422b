"""Coefficients from measured energies: non-negative least squares beside what was known before.

A handful of measurements cannot tell ten coefficients apart. So each part (compute, on-chip memory,
DRAM, static) is scaled as a whole, and what measurements leave open stays as it was: its factor 1
counts as one more measurement, as uncertain as the coefficients say (ridge regression, Hoerl and
Kennard, 1970).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from codesign.cost.energy import EVENTS, GROUPS, PARTS, PJ_PER_UJ, UJ_PER_J, Coefficients

METER_ERROR = 0.03
"""Relative error of a measurement: that of common meters and of sensors on boards."""
LEAST_UNCERTAINTY = 0.05
_COLUMNS = ("board", "program", "seconds", "joules")


@dataclass(frozen=True)
class Measurement:
    """A measured energy of one inference, or of standing still: no events."""

    board: str
    program: str
    seconds: float
    joules: float
    events: Mapping[str, float]


@dataclass(frozen=True)
class Fit:
    """``factors`` by part, and of each measurement the energy that the coefficients now give."""

    coefficients: Coefficients
    factors: Mapping[str, float]
    fitted_joules: tuple[float, ...]
    errors: tuple[float, ...]
    """fitted / measured - 1, of each measurement."""


def read_measurements(path: Path) -> list[Measurement]:
    """The rows that ``host.power.append_measurement`` wrote, or a user.

    Columns: board, program, seconds, joules (of one inference), and the count of each event; what
    is empty or left out is 0.

    Raises
    ------
    ValueError
        The file is no such table, has no rows, or rows of several boards.
    """
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        head = reader.fieldnames or ()
        if missing := [name for name in _COLUMNS if name not in head]:
            raise ValueError(
                f"{path}: no column {missing[0]!r}; measurements have {', '.join(_COLUMNS)} and "
                f"events ({', '.join(EVENTS)})"
            )
        if unknown := [name for name in head if name not in (*_COLUMNS, *EVENTS)]:
            raise ValueError(f"{path}: unknown column {unknown[0]!r}; events are {EVENTS}")
        rows = [_measurement(row, f"{path}, line {reader.line_num}") for row in reader]
    boards = sorted({row.board for row in rows})
    if len(boards) != 1:
        raise ValueError(
            f"{path} has measurements of {', '.join(boards) or 'nothing'}; give those of one board"
        )
    return rows


def _measurement(row: Mapping[str, str | None], where: str) -> Measurement:
    try:
        seconds, joules = (float(row[name] or "") for name in ("seconds", "joules"))
        events = {name: float(row.get(name) or 0) for name in EVENTS}
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not (seconds > 0 and joules > 0):
        raise ValueError(f"{where}: seconds and joules must be positive")
    if min(events.values()) < 0:
        raise ValueError(f"{where}: an event's count is negative")
    return Measurement(row["board"] or "", row["program"] or "", seconds, joules, events)


def fit(known: Coefficients, rows: Sequence[Measurement], origin: str) -> Fit:
    """Scale what is known so that it gives the measured energies.

    Parameters
    ----------
    origin:
        What the new coefficients were fitted to, for reports.
    """
    parts = np.array([_parts(known, row) for row in rows])
    joules = np.array([row.joules for row in rows])
    doubt = max(known.uncertainty, LEAST_UNCERTAINTY)
    system = np.vstack([parts / (METER_ERROR * joules[:, None]), np.eye(len(PARTS)) / doubt])
    wanted = np.concatenate([np.full(len(rows), 1 / METER_ERROR), np.full(len(PARTS), 1 / doubt)])
    factors, _ = nnls(system, wanted)
    fitted = parts @ factors
    errors = fitted / joules - 1
    by_part = dict(zip(PARTS, factors.tolist(), strict=True))
    uncertainty = max(LEAST_UNCERTAINTY, 2 * float(np.sqrt(np.mean(errors**2))))
    if len(rows) < len(PARTS):
        # fewer rows than unknowns meet any energy: that says nothing of the next program's
        uncertainty = max(uncertainty, known.uncertainty)
    new = dataclasses.replace(
        known,
        static_w=known.static_w * by_part["static"],
        energy_pj={
            name: known.energy_pj[name] * by_part[group]
            for group, names in GROUPS.items()
            for name in names
        },
        uncertainty=uncertainty,
        origin=origin,
    )
    return Fit(new, by_part, tuple(fitted.tolist()), tuple(errors.tolist()))


def _parts(known: Coefficients, row: Measurement) -> list[float]:
    """Joules by part, as known so far."""
    dynamic = [
        sum(row.events[name] * known.energy_pj[name] for name in names) / PJ_PER_UJ / UJ_PER_J
        for names in GROUPS.values()
    ]
    return [*dynamic, known.static_w * row.seconds]
