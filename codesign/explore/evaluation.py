"""Accuracies from workers, and from the cache where they are known."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from typing_extensions import Self

from codesign.errors import ExplorationError
from codesign.explore.cache import Cache, content_key
from codesign.explore.counting import Counts
from codesign.explore.models import Accuracy, Task
from codesign.explore.remote import Make
from codesign.explore.workers import Workers

POLL_S = 0.2
MAX_FAILURES = 10
"""Networks that cannot be evaluated, with none between them that can, until the sweep gives up."""


def accuracy_key(task: Task) -> str:
    """Of a task's result in the cache."""
    return content_key(identity=task.identity, steps=task.steps)


class Evaluator:
    """Evaluates tasks on workers, and keeps the results.

    Parameters
    ----------
    late:
        Whether time is up: what is not evaluated then is left. The first network
        of a sweep is waited for: starting the workers would have been for nothing.
    tick:
        Called several times a second with the number of tasks under way.

    Attributes
    ----------
    failed:
        (identity, steps) of tasks that raised an exception.
    seconds:
        What evaluations took, without and with fine-tuning.
    """

    def __init__(
        self,
        workers: Workers,
        cache: Cache,
        counts: Counts,
        late: Callable[[], bool],
        tick: Callable[[int], None],
    ) -> None:
        self._workers, self._cache, self._counts = workers, cache, counts
        self._late, self._tick = late, tick
        self._key = 0
        self._failures = 0
        self.failed: set[tuple[str, int]] = set()
        self.seconds = {False: 0.0, True: 0.0}

    def evaluate(self, tasks: Sequence[Task]) -> list[tuple[Task, Accuracy]]:
        """The tasks' results, in the tasks' order, but for those that failed or came too late.

        Raises
        ------
        ExplorationError
            ``MAX_FAILURES`` failed one after the other, or workers cannot be started.
        """
        found: dict[int, Accuracy] = {}
        begun = bool(self._counts.accuracy)
        waiting: deque[int] = deque()
        for row, task in enumerate(tasks):
            entry = self._cache.get(accuracy_key(task))
            if entry is None:
                waiting.append(row)
            else:
                found[row] = Accuracy(entry["validation"], entry["seconds"])
        running: dict[int, int] = {}
        while (waiting or running) and not ((begun or found) and self._late()):
            while waiting and len(running) < self._workers.size:
                self._key += 1
                running[self._key] = waiting.popleft()
                self._workers.submit(self._key, tasks[running[self._key]])
            self._tick(len(running))
            if (answer := self._workers.next(POLL_S)) is not None and answer[0] in running:
                row = running.pop(answer[0])
                if (accuracy := self._kept(tasks[row], answer[1])) is not None:
                    found[row] = accuracy
        self._tick(0)
        return [(tasks[row], self._counted(tasks[row], found[row])) for row in sorted(found)]

    def _kept(self, task: Task, result: Any) -> Accuracy | None:
        if isinstance(result, Exception):
            self._failures += 1
            self.failed.add((task.identity, task.steps))
            self._counts.failed[f"{type(result).__name__}: {result}"] += 1
            if self._failures == MAX_FAILURES or isinstance(result, ExplorationError):
                raise ExplorationError(
                    f"a network cannot be evaluated, at last {dict(task.choice)}: {result}"
                ) from result
            return None
        accuracy: Accuracy = result
        self._failures = 0
        entry = {"validation": accuracy.validation, "seconds": accuracy.seconds}
        self._cache.put(accuracy_key(task), entry, accuracy.weights)
        return accuracy

    def _counted(self, task: Task, accuracy: Accuracy) -> Accuracy:
        self.seconds[bool(task.steps)] += accuracy.seconds
        if task.steps:
            self._counts.finetuned += 1
        else:
            self._counts.accuracy += 1
        return accuracy


class InProcess:
    """A worker that is this process: for small sweeps, and without what starting others takes."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._tasks: deque[tuple[int, Any]] = deque()

    @property
    def size(self) -> int:
        return 1

    @property
    def ready(self) -> int:
        return 1

    def submit(self, key: int, task: Any) -> None:
        self._tasks.append((key, task))

    def next(self, timeout: float | None = None) -> tuple[int, Any] | None:
        """Evaluates the first task that waits, however long it takes."""
        if not self._tasks:
            return None
        key, task = self._tasks.popleft()
        try:
            return key, self._evaluate(task)
        except Exception as error:  # as a worker elsewhere sends it
            return key, error

    def __enter__(self) -> Self:
        self._evaluate = self._make()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tasks.clear()
