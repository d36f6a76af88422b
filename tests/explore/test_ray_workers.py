"""On a real cluster of two nodes: each is a raylet with processes and an object store of its
own."""

import functools
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codesign.errors import ExplorationError
from tests.explore import evaluators
from tests.explore.test_workers import PATIENCE, collect

ray_workers = pytest.importorskip(
    "codesign.explore.ray_workers", reason="the extra `ray` is not installed", exc_type=ImportError
)
RayWorkers = ray_workers.RayWorkers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def node(cluster: Any) -> Any:
    """A second node beside the head's."""
    return cluster.add_node(num_cpus=1)


def begun(log: Path) -> list[tuple[int, str]]:
    """The tasks that were begun, in order, with their nodes."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(task), at) for task, at in map(str.split, lines)]


def test_a_node_dies_in_mid_sweep_and_nothing_is_lost(
    cluster: Any, node: Any, tmp_path: Path
) -> None:
    log, found = tmp_path / "log", []
    with RayWorkers(
        functools.partial(evaluators.log_and_nap, log, 0.2), cluster.address
    ) as workers:
        assert workers.size == 2
        for key in range(24):
            workers.submit(key, 100 + key)
        while node.node_id not in {at for _, at in begun(log)}:
            found.append(workers.next(PATIENCE))
        cluster.remove_node(node, allow_graceful=False)
        while (finished := workers.next(PATIENCE)) is not None:
            found.append(finished)
    assert sorted(found) == [(key, 100 + key) for key in range(24)]
    tasks = [task for task, _ in begun(log)]
    again = {task for task in tasks if tasks.count(task) > 1}
    assert len(again) == 1  # the one that the node took along
    assert {at for task, at in begun(log) if task in again} == {
        node.node_id,
        cluster.head_node.node_id,
    }


@pytest.mark.slow
def test_a_node_takes_its_idle_workers_along(cluster: Any, node: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with RayWorkers(functools.partial(evaluators.log_and_nap, log, 0), cluster.address) as workers:
        while node.node_id not in {at for _, at in begun(log)}:
            sweep(workers)
        cluster.remove_node(node, allow_graceful=False)
        sweep(workers)


def sweep(workers: Any) -> None:
    for key in range(20):
        workers.submit(key, key)
    assert collect(workers, 20) == {key: key for key in range(20)}


@pytest.mark.slow
def test_a_worker_dies_but_not_its_node(cluster: Any, tmp_path: Path) -> None:
    deaths = {0: 0, 1: 2, 2: 3}
    make = functools.partial(evaluators.die_in, tmp_path)
    with RayWorkers(make, cluster.address, count=1) as workers:
        for key, count in deaths.items():
            workers.submit(key, (f"design{key}", count))
        found = collect(workers, len(deaths))
    error = found.pop(2)
    assert isinstance(error, ExplorationError)
    assert "task 2 lost its worker 3 times" in str(error)
    assert found == {0: "design0", 1: "design1"}


def test_exceptions_belong_to_their_tasks(cluster: Any) -> None:
    with RayWorkers(evaluators.raise_it, cluster.address) as workers:
        workers.submit(1, "wish")
        assert workers.next(0) is None
        error = collect(workers, 1)[1]
    assert isinstance(error, ValueError)
    assert "in evaluate" in str(error.__cause__)


def test_workers_that_cannot_start(cluster: Any) -> None:
    with RayWorkers(evaluators.refuse, cluster.address) as workers:
        workers.submit(1, "task")
        with pytest.raises(ExplorationError, match=r"cannot start: weights\.pt is missing"):
            workers.next(PATIENCE)


@pytest.mark.slow
def test_workers_that_die_while_they_start(cluster: Any) -> None:
    with RayWorkers(evaluators.die_at_once, cluster.address) as workers:
        workers.submit(1, "task")
        with pytest.raises(ExplorationError, match="3 workers died while they started"):
            workers.next(PATIENCE)


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
        with pytest.raises(ConnectionError, match=f"no Ray cluster answers at {address}"):
            RayWorkers(evaluators.square, address).__enter__()


def test_arguments_are_checked(cluster: Any) -> None:
    with pytest.raises(ValueError, match="count=0: at least one"):
        RayWorkers(evaluators.square, cluster.address, 0)
    with pytest.raises(ValueError, match="`with` statement"):
        RayWorkers(evaluators.square, cluster.address).submit(0, 0)
    with pytest.raises(ValueError, match="'head' is no address of a Ray cluster: give HOST:PORT"):
        RayWorkers(evaluators.square, "head")
