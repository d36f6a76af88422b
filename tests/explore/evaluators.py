"""What workers call in tests; a module of its own, for they import it by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign.errors import MachineError

Evaluate = Callable[[Any], Any]


def square() -> Evaluate:
    """Squares numbers, after noting the process in which it does so."""
    return lambda number: (number * number, os.getpid())


def sleep() -> Evaluate:
    """Sleeps for the seconds that a task is."""
    return time.sleep


def nap_and_name(seconds: float, name: Callable[[], str]) -> Evaluate:
    """Answers each task, after some time, with the task and where it was evaluated."""

    def evaluate(task: Any) -> tuple[Any, str]:
        time.sleep(seconds)
        return task, name()

    return evaluate


def raise_it() -> Evaluate:
    """Raises the exception that a task names."""

    def evaluate(kind: str) -> None:
        if kind == "machine":  # its arguments do not survive pickling
            raise MachineError("the watchdog stopped it", 7, 3)
        raise ValueError(f"{kind} is no design")

    return evaluate


def return_unpicklable() -> Evaluate:
    return lambda task: lambda: task


def threads() -> Evaluate:
    import torch

    return lambda task: torch.get_num_threads()


def die_in(folder: Path) -> Evaluate:
    """A task (name, deaths) kills its process that often, then answers with its name.

    Each death leaves a file in ``folder``.
    """

    def evaluate(task: tuple[str, int]) -> str:
        name, deaths = task
        before = len(list(folder.glob(f"{name}.*")))
        if before < deaths:
            (folder / f"{name}.{before}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    return evaluate


def die_at_once() -> Evaluate:
    os._exit(3)


def refuse() -> Evaluate:
    raise FileNotFoundError("weights.pt is missing")


def log_and_nap(log: Path, seconds: float) -> Evaluate:
    """Notes each task in a file with the Ray node that begins it, naps, answers with the task."""
    import ray

    node = ray.get_runtime_context().get_node_id()

    def evaluate(task: int) -> int:
        with log.open("a") as file:
            file.write(f"{task} {node}\n")
        time.sleep(seconds)
        return task

    return evaluate
