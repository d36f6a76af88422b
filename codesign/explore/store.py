"""A sweep's folder: what it was asked, every design that it evaluated, and how far it is.

The sweep goes in rounds. A round's designs are appended to ``trials.jsonl``, then the round itself
to ``rounds.jsonl``, with the length that ``trials.jsonl`` has: a line there makes the round count.
What was killed between the two is cut off by the next ``begin``; the results that the lost
round had are in the cache. All other files are written as a whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from codesign.errors import ExplorationError
from codesign.explore.cache import Cache
from codesign.report import files

PROBLEM, RUN, TRIALS, ROUNDS = "problem.yaml", "run.json", "trials.jsonl", "rounds.jsonl"
FRONT, FRONT_CSV, DESIGNS, DESIGN = "front.json", "front.csv", "designs", "design.json"
_LOCK, _CACHE = ".lock", "cache"
_LENGTH = "trials_bytes"


class Store:
    """The folder, held by this process alone until it is closed (``with``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ExplorationError(
                f"another sweep is writing to {folder}; wait for it, or choose another folder"
            ) from None
        self.cache = Cache(folder / _CACHE)

    def begin(self, problem: str, **identity: Any) -> None:
        """Take the folder for a problem, or go on with it; a folder without rounds is free.

        Parameters
        ----------
        problem:
            The text of its file.
        identity:
            What else makes it another sweep, as JSON values.

        Raises
        ------
        ExplorationError
            The folder is another problem's.
        """
        self._cut()
        path = self.folder / PROBLEM
        if not self.rounds() and (not path.exists() or (self.folder / RUN).exists()):
            (self.folder / RUN).unlink(missing_ok=True)
            files.write_text(path, problem)
        else:
            run = self.run() or {}
            differing = [name for name, value in identity.items() if run.get(name, value) != value]
            if not path.exists() or path.read_text(encoding="utf-8") != problem:
                differing.append("problem")
            if differing:
                raise ExplorationError(
                    f"{self.folder} holds a sweep with another {differing[0]}; choose another "
                    "folder, or remove this one"
                )

    def _cut(self) -> None:
        """Remove what an interrupted round left behind."""
        rounds, length = self.folder / ROUNDS, 0
        if rounds.exists():
            data = rounds.read_bytes()
            os.truncate(rounds, data.rfind(b"\n") + 1)
            *_, length = 0, *(at[_LENGTH] for at in self.rounds())
        trials = self.folder / TRIALS
        if trials.exists():
            if trials.stat().st_size < length:
                raise ExplorationError(
                    f"{trials} has {trials.stat().st_size} bytes, of {length} that were written; "
                    "restore it, or remove the folder"
                )
            os.truncate(trials, length)

    def rounds(self) -> list[dict[str, Any]]:
        """The rounds that count, in order."""
        return list(read_lines(self.folder / ROUNDS))

    def trials(self) -> list[dict[str, Any]]:
        """The designs of those rounds; of an id the last line counts."""
        return list(read_lines(self.folder / TRIALS))

    def commit(self, trials: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        """Append a round's designs, then the round."""
        length = _append(self.folder / TRIALS, trials)
        _append(self.folder / ROUNDS, [{**about, _LENGTH: length}])

    def run(self) -> dict[str, Any] | None:
        """``run.json``; None where there is none yet."""
        return read_json(self.folder / RUN)

    def write_run(self, values: Mapping[str, Any]) -> None:
        files.write_json(self.folder / RUN, dict(values))

    def write_front(self, ids: Sequence[int], table: str) -> None:
        """The front's designs by id, and as a table of comma-separated values."""
        files.write_json(self.folder / FRONT, list(ids))
        files.write_text(self.folder / FRONT_CSV, table)

    def design(self, number: int) -> Path:
        """The folder of a design that was compiled."""
        return self.folder / DESIGNS / str(number)

    def verified(self) -> int:
        """Designs whose RTL was found to be bit-exact."""
        found = (read_json(path) for path in self.folder.glob(f"{DESIGNS}/*/{DESIGN}"))
        return sum(at is not None and at["bit_exact"] for at in found)

    def close(self) -> None:
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_json(path: Path) -> dict[str, Any] | None:
    """An object from a file; None where there is no file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ExplorationError(f"{path} is damaged: {error}; remove it") from error
    return found


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of JSON lines; a last line without its end is left out."""
    if not path.exists():
        return
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ExplorationError(
                f"{path}, line {number} is damaged: {error}; remove the folder, or the lines from "
                "there on"
            ) from error


def _append(path: Path, values: Sequence[Mapping[str, Any]]) -> int:
    """Add lines; the file's length behind them, which is on the disk when this returns."""
    text = "".join(json.dumps(value, allow_nan=False) + "\n" for value in values)
    with open(path, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
