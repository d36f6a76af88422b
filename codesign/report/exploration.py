"""What ``codesign explore`` leaves in a folder, read while it runs, after a kill or at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Exploration:
    """A run and its designs.

    Attributes
    ----------
    folder:
        Where it is, as it was named.
    run:
        run.json: name, seed, sampler, board, objectives (name -> ``max`` or ``min``), constraints,
        counts, hypervolume over time, state.
    trials:
        One row for each design, in the order of their first evaluation: the last line of
        trials.jsonl that tells of it.
    front:
        Ids of the designs that no other one beats in every objective.
    designs:
        design.json of those that were compiled and verified, by id.
    """

    folder: Path
    run: Row
    trials: Sequence[Row]
    front: Sequence[int]
    designs: Mapping[int, Row]


def read(folder: Path) -> Exploration:
    """A folder's run. Files that a stopped run has not written yet count as empty.

    Raises
    ------
    ValueError
        The folder holds no exploration, or one of its files is damaged (its name and line are
        told). A last line of trials.jsonl that was cut off is no damage: a kill leaves it.
    """
    if not (folder / "run.json").is_file():
        raise ValueError(
            f"'{folder}' holds no exploration (it has no run.json); "
            f"`codesign explore FILE.yaml -o {folder}` makes one"
        )
    trials: dict[int, Row] = {}
    for row in _lines(folder / "trials.jsonl"):
        trials[row["id"]] = row
    front = _json(folder / "front.json") if (folder / "front.json").is_file() else []
    return Exploration(
        folder=folder,
        run=_json(folder / "run.json"),
        trials=list(trials.values()),
        front=[number for number in front if number in trials],
        designs={row["id"]: row for row in _designs(folder / "designs")},
    )


def _designs(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.glob("*/design.json")):
        yield _json(path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"'{path}' is no JSON ({error}); restore it, or explore again") from error


def _lines(path: Path) -> Iterator[Row]:
    """Rows of a file of JSON lines without what follows its last line's end."""
    if not path.is_file():
        return
    *lines, _ = path.read_text().split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"'{path}', line {number}, is no JSON ({error}); remove the line"
            ) from error
