"""The worker's side of an evaluation, and what passes between it and the sweep."""

from __future__ import annotations

import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

from codesign.errors import ExplorationError

Evaluate = Callable[[Any], Any]
Make = Callable[[], Evaluate]


class RemoteTracebackError(Exception):
    """The traceback of an exception in the worker where it was raised; its ``__cause__`` here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Evaluator:
    """What a worker holds: ``start`` makes the function that ``evaluate`` calls, once."""

    def __init__(self) -> None:
        self._function: Evaluate | None = None

    def start(self, make: bytes) -> bytes:
        """The answer of None, after calling the pickled ``make``."""
        return answer(self._start, make)

    def evaluate(self, task: bytes) -> bytes:
        """The answer of the function to the pickled task."""
        return answer(self._evaluate, task)

    def ping(self) -> bytes:
        """The answer of None: a sign of life."""
        return answer(lambda: None)

    def _start(self, make: bytes) -> None:
        make_function: Make = pickle.loads(make)
        use_one_thread()
        self._function = make_function()
        use_one_thread()

    def _evaluate(self, task: bytes) -> Any:
        if self._function is None:
            raise ValueError("start the evaluator first")
        return self._function(pickle.loads(task))


def use_one_thread() -> None:
    """Keep torch, where it is loaded, to one thread: the other cores have workers of their own."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def answer(function: Callable[..., Any], *arguments: Any) -> bytes:
    """The pickle of (True, result), or of (False, exception, traceback).

    Exceptions that do not survive pickling become an ``ExplorationError`` with their text.
    """
    try:
        return pickle.dumps((True, function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        return _failure(error, traceback.format_exc())


def _failure(error: Exception, trace: str) -> bytes:
    try:
        data = pickle.dumps((False, error, trace), pickle.HIGHEST_PROTOCOL)
        pickle.loads(data)
    except Exception:
        plain = ExplorationError(f"{type(error).__name__}: {error}")
        data = pickle.dumps((False, plain, trace), pickle.HIGHEST_PROTOCOL)
    return data


def outcome(data: bytes) -> tuple[bool, Any]:
    """Whether the call behind an ``answer`` returned, and its result or exception."""
    try:
        returned, result, *trace = pickle.loads(data)
    except Exception as error:  # the class of a result may be unknown here, or refuse its arguments
        return False, ExplorationError(f"a worker's result cannot be read: {error!r}")
    if not returned:
        result.__cause__ = RemoteTracebackError(*trace)
    return returned, result
