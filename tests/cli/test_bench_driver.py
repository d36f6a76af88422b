"""The driver's overhead is that of runs whose results are right."""

import dataclasses
from collections.abc import Iterator

import pytest

from codesign.arch import preset
from codesign.cli.bench import driver, measure
from codesign.cli.bench.workload import Workload, saved
from codesign.compiler import compile as compile_graph
from codesign.errors import CodesignError
from codesign.ir import Conv2d
from codesign.reference.device import ReferenceDevice
from sim.benches import network

TINY = preset("tiny")
FIGURES = {
    "overhead_us", "stream_us", "simulated_overhead_us", "simulated_stream_overhead_us",
    "report_us", "accelerator_us",
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
    assert found["driver.overhead_us"] > 0
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


@pytest.mark.slow
def test_the_driver_is_fast() -> None:
    found = {row.name: row.value for row in measure("driver", preset("pynq_z2"))}
    assert found["driver.overhead_us"] <= 150
