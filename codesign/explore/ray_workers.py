"""Evaluations on the nodes of a Ray cluster, for sweeps beyond one machine.

`ray start --head` makes one; its nodes need the same versions of this package and of whatever the
evaluations import. A node may join or leave at any time.
"""

from __future__ import annotations

import logging
import pickle
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from codesign.errors import ExplorationError
from codesign.explore.ledger import Ledger
from codesign.explore.remote import Evaluator, Make, outcome
from codesign.explore.workers import MAX_START_LOSSES

try:
    import ray
except ImportError as missing:
    raise ImportError("Ray is not installed; pip install 'codesign[ray]'") from missing

CONNECT_SECONDS = 10.0
"""How long a cluster may take to accept a connection."""


class RayWorkers:
    """Actors of a Ray cluster (``codesign.explore.workers.Workers``).

    Parameters
    ----------
    make:
        Called once in each actor; returns the function that evaluates a task there. Importable by
        name on every node.
    address:
        Of the cluster: HOST:PORT of its head on one of its own nodes, or ``auto`` there;
        ray://HOST:PORT from elsewhere.
    count:
        Actors, of one processor core each; by default as many as the cluster has cores. Those that
        find no free core wait until one is, or a node joins.
    runtime_env:
        Ray's description of what to bring along, such as ``{"working_dir": "."}`` for a network in
        the current folder.

    An actor that dies, or whose node does, is replaced wherever there is room, and its task is
    evaluated again (``ledger.MAX_LOSSES``).

    Raises
    ------
    ConnectionError
        No cluster answers at the address (on entering).
    ValueError
        The address has another form.
    """

    def __init__(
        self,
        make: Make,
        address: str,
        count: int | None = None,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count={count}: at least one worker is needed")
        _endpoint(address)
        self._make = pickle.dumps(make)
        self._address = address
        self._count = count
        self._runtime_env = dict(runtime_env or {})
        self._ledger = Ledger()
        self._actors: list[_Actor] = []

    @property
    def size(self) -> int:
        return len(self._actors)

    @property
    def ready(self) -> int:
        return sum(actor.ready for actor in self._actors)

    def submit(self, key: int, task: Any) -> None:
        if not self._actors:
            raise ValueError("workers run within a `with` statement; submit tasks there")
        self._ledger.add(key, task)
        self._wake()

    def next(self, timeout: float | None = None) -> tuple[int, Any] | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (finished := self._ledger.pop()) is None and self._ledger.unfinished:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            pending = {actor.answer: actor for actor in self._actors if actor.answer is not None}
            done, _ = ray.wait(list(pending), num_returns=1, timeout=left)
            if not done:
                return None
            self._receive(pending[done[0]])
            self._wake()
        return finished

    def _receive(self, actor: _Actor) -> None:
        try:
            returned, result = outcome(ray.get(actor.answer))
        except ray.exceptions.RayError as error:  # the actor, its node or the answer is lost
            self._replace(actor, error)
            return
        actor.answer = None
        if actor.key is not None:
            self._ledger.finish(actor.key, result)
            actor.key = None
        elif not returned:
            raise ExplorationError(f"a worker cannot start: {result}") from result
        actor.ready = True
        if self._ledger.waiting:
            actor.give(*self._ledger.take())

    def _replace(self, actor: _Actor, error: Exception) -> None:
        why = f"{type(error).__name__}: {str(error).strip()}"
        losses = 0 if actor.ready else actor.start_losses + 1
        if losses == MAX_START_LOSSES:
            raise ExplorationError(
                f"{losses} workers died while they started, at last because {why}"
            ) from error
        if actor.key is not None:
            self._ledger.lose(actor.key, why)
        actor.end()
        self._actors[self._actors.index(actor)] = _Actor(self._make, losses)

    def _wake(self) -> None:
        """Ask idle actors for a sign of life; a task goes to one that has just given it.

        A node takes its idle actors along unnoticed: tasks would be lost to one after the other.
        """
        idle = [actor for actor in self._actors if actor.answer is None]
        woken = sum(actor.ready and actor.key is None for actor in self._actors) - len(idle)
        for actor in idle[: max(0, self._ledger.waiting - woken)]:
            actor.wake()

    def __enter__(self) -> RayWorkers:
        _knock(self._address)
        ray.init(
            self._address,
            runtime_env=self._runtime_env,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        resources: Any = ray.cluster_resources  # it has no types
        count = self._count or max(1, int(resources().get("CPU", 1)))
        self._actors = [_Actor(self._make) for _ in range(count)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors:
            actor.end()
        self._actors.clear()
        ray.shutdown()


def _endpoint(address: str) -> tuple[str, int] | None:
    """Host and port of a cluster's address; None where Ray knows it."""
    if address == "auto":
        return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(
            f"{address!r} is no address of a Ray cluster: give HOST:PORT as `ray start --head` "
            "prints it, ray://HOST:PORT, or auto"
        )
    return host, int(port)


def _knock(address: str) -> None:
    """Whether anybody listens; Ray itself would try for minutes and end the process."""
    if endpoint := _endpoint(address):
        try:
            socket.create_connection(endpoint, CONNECT_SECONDS).close()
        except OSError as error:
            raise ConnectionError(
                f"no Ray cluster answers at {address} ({error}); "
                "start one with `ray start --head` and give the address that it prints"
            ) from error


class _Actor:
    """One worker as the sweep sees it.

    ``answer`` is what it has been asked and has not said yet, ``key`` the task that this is about.
    """

    def __init__(self, make: bytes, start_losses: int = 0) -> None:
        actor: Any = ray.remote(num_cpus=1)(Evaluator)
        self._actor = actor.remote()
        self.answer: Any = self._actor.start.remote(make)
        self.key: int | None = None
        self.ready = False
        self.start_losses = start_losses

    def wake(self) -> None:
        self.answer = self._actor.ping.remote()

    def give(self, key: int, task: bytes) -> None:
        self.key = key
        self.answer = self._actor.evaluate.remote(task)

    def end(self) -> None:
        ray.kill(self._actor)
