"""Tasks between their submission and their results, whoever evaluates them."""

from __future__ import annotations

import pickle
from collections import Counter, deque
from typing import Any

from codesign.errors import ExplorationError

MAX_LOSSES = 3
"""A task is evaluated again when its worker dies, so often in all: what kills three workers would
kill the next."""


class Ledger:
    """Tasks as pickles: which wait, which were lost how often, which are finished.

    Nothing is forgotten: every key added comes out of ``pop`` once.
    """

    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._tasks: dict[int, bytes] = {}
        self._waiting: deque[int] = deque()
        self._losses: Counter[int] = Counter()
        self._finished: deque[tuple[int, Any]] = deque()

    @property
    def unfinished(self) -> int:
        """Tasks that wait or are being evaluated."""
        return len(self._tasks)

    @property
    def waiting(self) -> int:
        """Tasks that nobody evaluates yet."""
        return len(self._waiting)

    def add(self, key: int, task: Any) -> None:
        """A task behind the others; whatever pickling it raises is raised here."""
        if key in self._keys:
            raise ValueError(f"task {key} is under way; give each a key of its own")
        self._tasks[key] = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        self._keys.add(key)
        self._waiting.append(key)

    def take(self) -> tuple[int, bytes]:
        """The first that waits; whoever takes it calls ``finish`` or ``lose``."""
        key = self._waiting.popleft()
        return key, self._tasks[key]

    def finish(self, key: int, result: Any) -> None:
        """The result of a task, or the exception that it raised."""
        del self._tasks[key]
        del self._losses[key]
        self._finished.append((key, result))

    def lose(self, key: int, why: str) -> None:
        """The worker died: the task waits again, before all others, or ends with an error."""
        self._losses[key] += 1
        if self._losses[key] < MAX_LOSSES:
            self._waiting.appendleft(key)
            return
        text = (
            f"task {key} lost its worker {MAX_LOSSES} times, at last because {why}; "
            "evaluate it alone to see what kills it (memory, as a rule: then take fewer workers)"
        )
        self.finish(key, ExplorationError(text))

    def pop(self) -> tuple[int, Any] | None:
        """A finished task's key with its result or exception; None where there is none."""
        if not self._finished:
            return None
        key, result = self._finished.popleft()
        self._keys.remove(key)
        return key, result
