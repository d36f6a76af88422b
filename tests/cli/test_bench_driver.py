"""The driver's overhead is that of runs whose results are right."""

import dataclasses
from collections.abc import Iterator

import pytest

from codesign.arch import preset
from codesign.cli.bench import driver
from codesign.cli.bench.workload import Workload, saved
from codesign.compiler import compile as compile_graph
from codesign.errors import CodesignError
from codesign.ir import Conv2d
from codesign.reference.device import ReferenceDevice
from host.driver import Accelerator
from host.report import Report
from host.session import Session
from sim.benches import network

TINY = preset("tiny")
FIGURES = {
    "overhead_us", "overhead_least_us", "overhead_real_us", "stream_overhead_least_us", "host_us",
    "host_stream_us", "report_us", "accelerator_us",
}  # fmt: skip


@pytest.fixture
def work() -> Iterator[Workload]:
    program = compile_graph(network.graph(), TINY)
    with saved(program, network.inputs(program.graph.batch)) as made:
        yield made


def test_figures_of_a_small_network(work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "REPEATS", 50)
    monkeypatch.setattr(driver, "SIMULATIONS", 5)
    with ReferenceDevice(TINY) as device:
        found = {row.name: row.value for row in driver.rows(work, device)}
    assert found.keys() == {f"driver.{name}" for name in FIGURES}
    assert min(found.values()) >= 0
    assert 0 < found["driver.overhead_least_us"] <= found["driver.overhead_us"]
    assert found["driver.host_us"] > 0
    cycles = work.program.predicted_cycles
    assert found["driver.accelerator_us"] == pytest.approx(cycles / TINY.clock_mhz)


def test_wrong_results_are_not_measured(work: Workload) -> None:
    graph = work.program.graph
    first, *others = graph.ops
    assert isinstance(first, Conv2d)
    changed = dataclasses.replace(first, bias=first.bias + 5000)
    program = dataclasses.replace(
        work.program, graph=dataclasses.replace(graph, ops=(changed, *others))
    )
    other = dataclasses.replace(work, program=program)
    with ReferenceDevice(TINY) as device, pytest.raises(CodesignError, match="wrong results"):
        driver.rows(other, device)


def test_the_overhead_is_that_of_runs_that_are_computed(
    work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "REPEATS", 5)
    monkeypatch.setattr(driver, "SIMULATIONS", 5)
    told = [3.0, 30.0, 1.0, 10.0, 9.0, 90.0, 4.0, 40.0, 2.0, 20.0, 7.0]  # codes, real, ...; stream
    report = Accelerator.report

    def reported(accelerator: Accelerator) -> Report:
        return dataclasses.replace(report(accelerator), overhead_us=told.pop(0) if told else 0.0)

    monkeypatch.setattr(Accelerator, "report", reported)
    with ReferenceDevice(TINY) as device:
        found = {row.name: row.value for row in driver.rows(work, device)}
    assert found["driver.overhead_us"] == 3.0
    assert found["driver.overhead_least_us"] == 1.0
    assert found["driver.overhead_real_us"] == 30.0
    assert found["driver.stream_overhead_least_us"] == 7.0


def test_replayed_runs_that_are_not_started_are_wrong(
    work: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "REPEATS", 2)
    monkeypatch.setattr(driver, "SIMULATIONS", 5)
    start = Session.start

    def started(session: Session, slot: int) -> None:
        if not device.replayed:
            start(session, slot)

    class Replayed(driver.Answered):
        replayed = False

        def answer(self) -> None:
            super().answer()
            device.replayed = True

    with ReferenceDevice(TINY) as reference:
        device = Replayed(reference)
        monkeypatch.setattr(driver, "Answered", lambda _: device)
        monkeypatch.setattr(Session, "start", started)
        with pytest.raises(CodesignError, match="wrong results"):
            driver.rows(work, reference)
