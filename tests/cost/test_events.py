"""Closed-form energy events and DRAM bytes against those of compiled programs."""

import numpy as np
import pytest

from codesign import ir
from codesign.arch import Arch, preset
from codesign.compiler import compile
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.closed_form import cycles
from codesign.cost.energy import EVENTS, GROUPS
from codesign.cost.energy_events import inference_counts, predicted_energy
from codesign.cost.events import bus_bytes, energy, events
from codesign.cost.least_traffic import least_traffic_bytes
from codesign.cost.workload import Workload
from codesign.report.traffic import traffic
from sim.benches import network
from tests.compiler.builder import Builder

TINY, PYNQ = preset("tiny"), preset("pynq_z2")
ARCHS = (
    TINY.replace(act_depth=1024),
    PYNQ,
    preset("kv260"),
    PYNQ.replace(pixels=8, drain=4, in_channels=4, out_channels=16, dma_bits=128),
    PYNQ.replace(pixels=5, in_channels=16, out_channels=16, clock_mhz=100.0),
)
EVENT_ERROR, DRAM_ERROR, ENERGY_ERROR = 0.01, 0.01, 0.03
STREAMED_ERROR = 0.35
"""Worst relative errors, of networks that stay on chip; docs/explore.md tells them."""


def mixed(batch: int = 1) -> ir.Graph:
    """Every mode, strides, a residual, tables, blocks of zeros, a pool and a linear layer."""
    b = Builder(np.random.default_rng(7), batch)
    x = b.input((3, 20, 18))
    y = b.conv(x, 16)
    z = b.conv(y, 24, stride=(2, 2), density=0.6)
    y = b.conv(z, 24, groups=24)
    y = b.add(b.conv(y, 24, density=0.4), z)
    y = b.table(y)
    y = b.max_pool(y, (2, 2), (2, 2))
    y = b.conv(y, 40, (1, 1), padding=(0, 0, 0, 0))
    return b.graph(b.conv(y, 10, b.shape(y)[1:], padding=(0, 0, 0, 0)))


def counted(program) -> dict[str, int]:
    """Events of a program, bytes of DRAM from its instructions."""
    array, rest = inference_counts(program)
    moved = traffic(program).values()
    return {name: array[name] + rest[name] for name in EVENTS} | {
        "dram_byte": sum(at.read + at.written for at in moved)
    }


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: f"{arch.pixels}x{arch.out_channels}")
def test_events_are_those_of_the_program(arch: Arch):
    graph = mixed()
    program = compile(graph, arch)
    workload, archs = Workload.of(graph), Archs.of([arch])
    found = cycles(workload, archs)
    assert found.resident[0]
    counts = events(workload, archs, found)
    truth = counted(program)
    for name in EVENTS[:-1]:
        assert counts[name].sum() == pytest.approx(truth[name], rel=EVENT_ERROR), name
    read, written = bus_bytes(found)
    assert float(read[0] + written[0]) == pytest.approx(truth["dram_byte"], rel=DRAM_ERROR)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: f"{arch.pixels}x{arch.out_channels}")
def test_energy_is_that_of_the_program(arch: Arch):
    graph = mixed()
    coefficients = energy_file.find(arch.board)
    assert coefficients is not None
    truth = predicted_energy(compile(graph, arch, energy=coefficients))
    assert truth is not None
    workload, archs = Workload.of(graph), Archs.of([arch])
    found = cycles(workload, archs)
    spent = energy(events(workload, archs, found), archs, found, coefficients)
    assert float(spent.total_uj[0]) == pytest.approx(truth.total_uj, rel=ENERGY_ERROR)
    for part in (*GROUPS, "static"):
        value = float(getattr(spent, f"{part}_uj")[0])
        assert value == pytest.approx(getattr(truth, f"{part}_uj"), rel=0.05), part


@pytest.mark.parametrize("arch", [TINY, PYNQ.replace(act_depth=48)], ids=["weights", "maps"])
def test_streamed_networks_are_rougher(arch: Arch):
    """Weights or maps that come through DRAM: the error that docs/explore.md tells."""
    graph, coefficients = mixed(), energy_file.find(arch.board)
    assert coefficients is not None
    program = compile(graph, arch, energy=coefficients)
    truth = predicted_energy(program)
    assert truth is not None
    workload, archs = Workload.of(graph), Archs.of([arch])
    found = cycles(workload, archs)
    assert not found.resident[0]
    spent = energy(events(workload, archs, found), archs, found, coefficients)
    assert float(spent.total_uj[0]) == pytest.approx(truth.total_uj, rel=STREAMED_ERROR)
    moved = counted(program)["dram_byte"]
    assert float(np.sum(bus_bytes(found))) == pytest.approx(moved, rel=STREAMED_ERROR)


def test_parts_add_up_and_layers_to_what_is_theirs():
    workload, archs = Workload.of(mixed()), Archs.of(ARCHS)
    found = cycles(workload, archs)
    coefficients = energy_file.find("pynq-z2")
    assert coefficients is not None
    spent = energy(events(workload, archs, found), archs, found, coefficients)
    parts = spent.compute_uj + spent.on_chip_uj + spent.dram_uj + spent.static_uj
    np.testing.assert_allclose(spent.total_uj, parts)
    assert spent.layers_uj.shape == (len(workload.layers), len(ARCHS))
    assert (spent.layers_uj.sum(axis=0) < spent.total_uj).all()
    assert (spent.layers_uj.sum(axis=0) > 0.8 * spent.total_uj).all()


def test_many_architectures_are_each_as_alone():
    workload, coefficients = Workload.of(mixed()), energy_file.find("zcu104")
    assert coefficients is not None

    def totals(archs: Archs) -> np.ndarray:
        found = cycles(workload, archs)
        return energy(events(workload, archs, found), archs, found, coefficients).total_uj

    alone = np.concatenate([totals(Archs.of([arch])) for arch in ARCHS])
    np.testing.assert_allclose(totals(Archs.of(ARCHS)), alone)


def test_a_slower_clock_costs_static_energy_alone():
    workload = Workload.of(mixed())
    archs = Archs.of([PYNQ, PYNQ.replace(clock_mhz=75.0)])
    found, coefficients = cycles(workload, archs), energy_file.find("pynq-z2")
    assert coefficients is not None
    spent = energy(events(workload, archs, found), archs, found, coefficients)
    assert spent.static_uj[1] == pytest.approx(2 * spent.static_uj[0])
    assert spent.compute_uj[1] == spent.compute_uj[0]


def test_blocks_of_zeros_save_energy():
    workload = Workload.of(mixed())
    archs, coefficients = Archs.of([PYNQ]), energy_file.find("pynq-z2")
    assert coefficients is not None
    dense = [layer.name for layer in workload.layers if layer.op.startswith("Conv2d")]

    def compute(share: float) -> float:
        names = {n: share for n in dense if workload.layers[0].name != n}
        given = workload.with_sparsity(
            {at.name: names[at.name] for at in workload.layers
             if at.name in names and at.mode.name == "DENSE"}
        )  # fmt: skip
        found = cycles(given, archs)
        return float(energy(events(given, archs, found), archs, found, coefficients).compute_uj[0])

    assert compute(0.5) < 0.75 * compute(0.0)


@pytest.mark.parametrize("arch", [TINY, *ARCHS], ids=lambda at: f"{at.pixels}x{at.wgt_depth}")
def test_no_program_moves_less_than_the_least(arch: Arch):
    graphs = [mixed(), network.graph(), mixed(batch=2)]
    for graph in graphs:
        moved = traffic(compile(graph, arch)).values()
        least = int(least_traffic_bytes(Workload.of(graph), Archs.of([arch]))[0])
        assert 0 < least <= sum(at.read + at.written for at in moved)


def test_the_least_traffic_counts_what_must_move():
    b = Builder(np.random.default_rng(0))
    x = b.input((4, 8, 8))
    y = b.conv(x, 8, (1, 1), stride=(2, 2), padding=(0, 0, 0, 0))
    graph = b.graph(b.conv(y, 16))
    workload = Workload.of(graph)
    maps = 4 * 16 + 16 * 16  # a quarter of the pixels is read
    weights = 4 * 8 + 9 * 8 * 16
    small = Arch("small", 1, 4, 4, 1, 2, 16, 16, 16, 64)
    assert least_traffic_bytes(workload, Archs.of([PYNQ, small])).tolist() == [
        maps, maps + weights - small.act_bytes - small.wgt_bytes,
    ]  # fmt: skip
