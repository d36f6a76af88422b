import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from codesign.errors import CodesignError, ExplorationError
from codesign.explore.ledger import Ledger
from codesign.explore.remote import Evaluator, answer, outcome
from codesign.explore.workers import ProcessWorkers, Workers
from tests.explore import evaluators

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds until a test gives up waiting for a worker on a busy machine."""


def collect(workers: Workers, count: int) -> dict[int, Any]:
    found = {}
    for _ in range(count):
        finished = workers.next(PATIENCE)
        assert finished is not None
        found[finished[0]] = finished[1]
    assert workers.next(PATIENCE) is None  # at once: nothing is under way
    return found


# --- the ledger ----------------------------------------------------------------------------------
def test_a_lost_task_waits_before_the_others() -> None:
    ledger = Ledger()
    for key in range(3):
        ledger.add(key, f"task {key}")
    key, task = ledger.take()
    assert (key, pickle.loads(task)) == (0, "task 0")
    ledger.lose(0, "SIGKILL killed it")
    assert [ledger.take()[0] for _ in range(3)] == [0, 1, 2]


def test_a_task_that_is_lost_too_often_ends_with_an_error() -> None:
    ledger = Ledger()
    ledger.add(7, "task")
    for _ in range(3):
        ledger.take()
        ledger.lose(7, "SIGKILL killed it")
    finished = ledger.pop()
    assert finished is not None
    assert finished[0] == 7
    assert isinstance(finished[1], ExplorationError)
    assert "task 7 lost its worker 3 times, at last because SIGKILL killed it" in str(finished[1])
    assert ledger.unfinished == 0
    assert ledger.pop() is None


def test_a_key_is_used_once_at_a_time() -> None:
    ledger = Ledger()
    ledger.add(1, "first")
    with pytest.raises(ValueError, match="task 1 is under way"):
        ledger.add(1, "second")
    ledger.take()
    ledger.finish(1, "result")
    with pytest.raises(ValueError, match="task 1 is under way"):
        ledger.add(1, "before the first came out")
    assert ledger.pop() == (1, "result")
    ledger.add(1, "again")


def test_answers_carry_results_and_exceptions() -> None:
    assert outcome(answer(lambda a: a + 1, 2)) == (True, 3)
    returned, error = outcome(answer(lambda: 1 / 0))
    assert not returned
    assert isinstance(error, ZeroDivisionError)
    assert "1 / 0" in str(error.__cause__)


def test_an_unreadable_answer_is_an_error() -> None:
    returned, error = outcome(b"no pickle")
    assert not returned
    assert isinstance(error, ExplorationError)


def test_an_evaluator_starts_first() -> None:
    returned, error = outcome(Evaluator().evaluate(pickle.dumps(1)))
    assert not returned
    assert str(error) == "start the evaluator first"


# --- processes -----------------------------------------------------------------------------------
def test_every_task_is_evaluated_on_both_processes() -> None:
    with ProcessWorkers(evaluators.square, 2) as workers:
        assert workers.size == 2
        assert workers.next() is None
        while len(pids := ready(workers)) < 2:  # the second may take a moment longer to start
            pass
        for key in range(40):
            workers.submit(key, key)
        found = collect(workers, 40)
    assert {key: result for key, (result, _) in found.items()} == {k: k * k for k in range(40)}
    assert {pid for _, pid in found.values()} <= pids
    assert os.getpid() not in pids


def ready(workers: Workers) -> set[int]:
    """The processes that evaluate a hundred tasks."""
    for key in range(100):
        workers.submit(key, key)
    return {pid for _, pid in collect(workers, 100).values()}


def test_exceptions_belong_to_their_tasks() -> None:
    with ProcessWorkers(evaluators.raise_it, 1) as workers:
        workers.submit(1, "wish")
        workers.submit(2, "machine")
        found = collect(workers, 2)
    assert isinstance(found[1], ValueError)
    assert str(found[1]) == "wish is no design"
    assert "in evaluate" in str(found[1].__cause__)
    assert isinstance(found[2], CodesignError)
    assert str(found[2]) == "MachineError: the watchdog stopped it"


def test_a_result_that_cannot_travel_is_an_error_of_its_task() -> None:
    with ProcessWorkers(evaluators.return_unpicklable, 1) as workers:
        workers.submit(1, "task")
        assert isinstance(collect(workers, 1)[1], Exception)


def test_the_time_limit_of_next() -> None:
    with ProcessWorkers(evaluators.sleep, 1) as workers:
        workers.submit(1, 30.0)
        start = time.monotonic()
        assert workers.next(0.3) is None
        assert 0.25 < time.monotonic() - start < 5


def test_leaving_ends_what_is_under_way() -> None:
    start = time.monotonic()
    with ProcessWorkers(evaluators.sleep, 2) as workers:
        workers.submit(1, 600.0)
        workers.next(0.1)
    assert time.monotonic() - start < PATIENCE


def test_a_dead_process_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    deaths = {0: 0, 1: 2, 2: 0, 3: 3, 4: 1, 5: 0}
    with ProcessWorkers(functools.partial(evaluators.die_in, tmp_path), 2) as workers:
        for key, count in deaths.items():
            workers.submit(key, (f"design{key}", count))
        found = collect(workers, len(deaths))
    error = found.pop(3)
    assert isinstance(error, ExplorationError)
    assert "task 3 lost its worker 3 times, at last because SIGKILL killed it" in str(error)
    assert found == {key: f"design{key}" for key in deaths if key != 3}


def test_an_idle_process_may_die() -> None:
    with ProcessWorkers(evaluators.square, 1) as workers:
        workers.submit(0, 0)
        pid = collect(workers, 1)[0][1]
        os.kill(pid, signal.SIGKILL)
        workers.submit(1, 3)
        result, other = collect(workers, 1)[1]
    assert result == 9
    assert other != pid


def test_workers_that_cannot_start() -> None:
    with ProcessWorkers(evaluators.refuse, 1) as workers:
        workers.submit(1, "task")
        with pytest.raises(ExplorationError, match=r"cannot start: weights\.pt is missing"):
            workers.next(PATIENCE)


def test_workers_that_die_while_they_start() -> None:
    with ProcessWorkers(evaluators.die_at_once, 1) as workers:
        workers.submit(1, "task")
        with pytest.raises(ExplorationError, match=r"3 workers died .* it exited with 3"):
            workers.next(PATIENCE)


def test_torch_has_one_thread() -> None:
    with ProcessWorkers(evaluators.threads, 1) as workers:
        workers.submit(1, None)
        assert collect(workers, 1) == {1: 1}


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="count=0: at least one"):
        ProcessWorkers(evaluators.square, 0)
    with pytest.raises(ValueError, match="`with` statement"):
        ProcessWorkers(evaluators.square, 1).submit(0, 0)


PARENT = """
import signal

from codesign.explore.workers import ProcessWorkers
from tests.explore import evaluators

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    with ProcessWorkers(evaluators.square, 2) as workers:
        workers.submit(0, 0)
        print(workers.next()[1][1], flush=True)
        workers.next()
        input()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_processes_die_with_their_parent(tmp_path: Path, end: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    if end == signal.SIGINT:
        os.killpg(parent.pid, end)  # as the terminal does: to all of the group
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
    assert errors.count("KeyboardInterrupt") == (end == signal.SIGINT)  # the parent's own


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but whom nobody has asked for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
