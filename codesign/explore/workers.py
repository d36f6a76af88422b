"""Evaluations side by side: one interface, with processes of this machine behind it, or the nodes
of a cluster (`codesign.explore.ray_workers`).

    with ProcessWorkers(functools.partial(make_evaluator, problem), count=2) as workers:
        workers.submit(0, design)
        key, result = workers.next()
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from multiprocessing import connection, resource_tracker
from types import TracebackType
from typing import Any, Protocol

from codesign.errors import ExplorationError
from codesign.explore.ledger import Ledger
from codesign.explore.remote import Evaluator, Make, outcome

MAX_START_LOSSES = 3
"""Workers that die one after the other before they are ready, until starting them is given up."""


class Workers(Protocol):
    """A context manager; leaving it ends the workers, with whatever they are evaluating."""

    @property
    def size(self) -> int:
        """Tasks that are evaluated at one time; more may be submitted, they wait."""

    @property
    def ready(self) -> int:
        """Workers that have started, as far as ``next`` has heard of it."""

    def submit(self, key: int, task: Any) -> None:
        """Give a task; ``ValueError`` where its key's task has not come out of ``next`` yet."""

    def next(self, timeout: float | None = None) -> tuple[int, Any] | None:
        """A finished task: its key, and its result or the exception that it raised.

        Waits for one, ``timeout`` seconds at most; None where none came, and at once where no task
        is under way.

        Raises
        ------
        ExplorationError
            Workers cannot be started: what makes their function raises, or they die in it.
        """

    def __enter__(self) -> Workers: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class ProcessWorkers:
    """Processes of this machine, spawned: nothing of the parent's threads and locks is in them.

    Parameters
    ----------
    make:
        Called once in each process; returns the function that evaluates a task there. Importable by
        name (a module's function, or a ``functools.partial`` of one), for the process imports it.
    count:
        Processes, at least 1. Each keeps torch to one thread.

    A process that dies is replaced, and its task is evaluated again (``ledger.MAX_LOSSES``).
    Interrupts from the keyboard are left to the parent; a parent that is killed takes them along.
    """

    def __init__(self, make: Make, count: int) -> None:
        if count < 1:
            raise ValueError(f"count={count}: at least one worker is needed")
        self._make = pickle.dumps(make)
        self._count = count
        self._ledger = Ledger()
        self._workers: list[_Process] = []

    @property
    def size(self) -> int:
        return self._count

    @property
    def ready(self) -> int:
        return sum(worker.ready for worker in self._workers)

    def submit(self, key: int, task: Any) -> None:
        if not self._workers:
            raise ValueError("workers run within a `with` statement; submit tasks there")
        self._ledger.add(key, task)
        self._hand_out()

    def next(self, timeout: float | None = None) -> tuple[int, Any] | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (finished := self._ledger.pop()) is None and self._ledger.unfinished:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            channels = {worker.channel: worker for worker in self._workers}
            readable = connection.wait(list(channels), left)
            if not readable:
                return None
            for channel in readable:
                if isinstance(channel, connection.Connection):
                    self._receive(channels[channel])
            self._hand_out()
        return finished

    def _receive(self, worker: _Process) -> None:
        try:
            returned, result = outcome(worker.channel.recv_bytes())
        except (EOFError, OSError):
            self._replace(worker)
            return
        if worker.key is not None:
            self._ledger.finish(worker.key, result)
            worker.key = None
        elif returned:
            worker.ready = True
        else:
            raise ExplorationError(f"a worker cannot start: {result}") from result

    def _replace(self, worker: _Process) -> None:
        why = worker.end()
        losses = 0 if worker.ready else worker.start_losses + 1
        if losses == MAX_START_LOSSES:
            raise ExplorationError(
                f"{losses} workers died while they started, at last because {why}; "
                "call what makes their function alone to see what kills it"
            )
        if worker.key is not None:
            self._ledger.lose(worker.key, why)
        self._workers[self._workers.index(worker)] = _Process(self._make, losses)

    def _hand_out(self) -> None:
        for worker in self._workers:
            if self._ledger.waiting and worker.ready and worker.key is None:
                worker.give(*self._ledger.take())

    def __enter__(self) -> ProcessWorkers:
        resource_tracker.ensure_running()  # starting it unblocks the signal that _Process blocks
        for _ in range(self._count):
            self._workers.append(_Process(self._make))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.end()
        self._workers.clear()


class _Process:
    """One worker as its parent sees it: ``key`` is the task that it evaluates."""

    def __init__(self, make: bytes, start_losses: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self.channel, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(make, theirs), daemon=True)
        self.key: int | None = None
        self.ready = False
        self.start_losses = start_losses
        # born deaf to the keyboard: it would die of an interrupt before it could ignore it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # so that the death of the process ends the stream

    def give(self, key: int, task: bytes) -> None:
        self.key = key
        try:
            self.channel.send_bytes(task)
        except OSError:
            return  # it has died since: what it sent ends, which `next` sees

    def end(self) -> str:
        """Wait for its death; why it died."""
        self.process.join()
        self.channel.close()
        code = self.process.exitcode or 0
        return f"{signal.Signals(-code).name} killed it" if code < 0 else f"it exited with {code}"


def _serve(make: bytes, channel: connection.Connection) -> None:
    """The life of a worker: the answer of its start, then one for each task."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    evaluator = Evaluator()
    channel.send_bytes(evaluator.start(make))
    with contextlib.suppress(EOFError):  # the parent wants no more
        while True:
            channel.send_bytes(evaluator.evaluate(channel.recv_bytes()))


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
