"""Costs of networks on architectures: the ways to ask, and against compiled programs."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from codesign.arch import preset
from codesign.boards import board
from codesign.compiler import compile
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.workload import Workload
from codesign.explore.estimate import EXACT, PREDICTED, columns, cost, exact_cost, workload_of
from codesign.frontend.torch_export import from_module
from codesign.quant.torch_module import quantize_module
from codesign.zoo import demo

TINY, PYNQ = preset("tiny"), preset("pynq_z2")
IMAGE = torch.zeros(1, 1, 8, 8)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return demo.network()[0]


@pytest.fixture(scope="module")
def graph(module):
    images = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    return quantize_module(module, images, name="demo")


def test_all_ways_to_give_a_network_cost_the_same(module, graph):
    network = from_module(module, IMAGE, "demo")
    ways = [cost(module, PYNQ, IMAGE), cost(network, PYNQ), cost(graph, PYNQ)]
    ways.append(cost(workload_of(network), PYNQ))
    first, *others = [dataclasses.replace(way, network="") for way in ways]
    assert all(other == first for other in others)


def test_a_cost_is_near_the_compiled_program(graph):
    found, exact = cost(graph, PYNQ), exact_cost(graph, PYNQ)
    assert (found.word, exact.word) == (PREDICTED, EXACT)
    assert exact.cycles == compile(graph, PYNQ).predicted_cycles
    assert found.cycles == pytest.approx(exact.cycles, rel=0.05)
    assert [at.name for at in found.layers] == [at.name for at in exact.layers]
    assert [at.op for at in found.layers] == [at.op for at in exact.layers]
    assert [at.macs for at in found.layers] == [at.macs for at in exact.layers]
    assert found.macs == exact.macs == sum(at.macs for at in found.layers)
    assert found.dram_least_bytes == exact.dram_least_bytes <= exact.dram_read_bytes
    assert found.dram_read_bytes == pytest.approx(exact.dram_read_bytes, rel=0.03)
    assert found.dram_write_bytes == pytest.approx(exact.dram_write_bytes, rel=0.03)
    assert found.energy is not None
    assert exact.energy is not None
    assert found.energy.total_uj == pytest.approx(exact.energy.total_uj, rel=0.05)
    assert found.resources == exact.resources
    assert {at.bound for at in found.layers} <= {"array", "DRAM", "latency"}


def test_latency_follows_the_clock(graph):
    slow = cost(graph, PYNQ.replace(clock_mhz=75.0))
    assert slow.latency_ms == pytest.approx(2 * cost(graph, PYNQ).latency_ms)
    assert slow.latency_ms == pytest.approx(slow.cycles / 75e3)


def test_what_does_not_fit_says_why(graph):
    large = cost(graph, PYNQ.replace(name="large", pixels=9))
    assert len(large.fits) == 1
    assert "dsp: 312 of 220" in large.fits[0]
    assert cost(graph, PYNQ).fits == ()


def test_boards_without_coefficients_have_no_energy(graph, monkeypatch):
    monkeypatch.setattr(energy_file, "find", lambda board, path=None: None)
    found = cost(graph, PYNQ)
    assert found.energy is None
    assert {at.energy_uj for at in found.layers} == {None}


def test_columns_are_the_costs_of_each(graph):
    archs = [PYNQ, PYNQ.replace(pixels=4), PYNQ.replace(pixels=9, drain=3)]
    workload, at = Workload.of(graph), board("pynq-z2")
    found = columns(workload, Archs.of(archs), at, energy_file.find("pynq-z2"))
    for row, arch in enumerate(archs):
        one = cost(graph, arch)
        assert found.cycles.total[row] == one.cycles
        assert found.latency_ms[row] == pytest.approx(one.latency_ms)
        assert found.dram_read_bytes[row] == one.dram_read_bytes
        assert found.energy is not None
        assert one.energy is not None
        assert found.energy.total_uj[row] == pytest.approx(one.energy.total_uj)
        assert found.resources.dsp[row] == one.resources.dsp


def test_channels_change_without_a_new_export(module):
    """What a training loop calls: milliseconds, for the workload is made once."""
    workload = workload_of(module, IMAGE)
    widest = max(workload.layers, key=lambda at: at.macs)
    less = workload.with_channels({widest.target: int(widest.out_channels) // 2})
    assert cost(less, PYNQ).cycles < cost(workload, PYNQ).cycles


def test_what_is_no_network_is_refused(module):
    with pytest.raises(TypeError, match="a torch module needs an example input"):
        cost(module, PYNQ)
    with pytest.raises(TypeError, match="str is no network: give a torch module with an example"):
        cost("resnet8", PYNQ)


def test_costs_are_json(graph):
    found = cost(graph, PYNQ).to_dict()
    assert found["word"] == "predicted"
    assert found["arch"]["name"] == "pynq_z2"
    assert found["layers"][0].keys() >= {"name", "op", "cycles", "macs", "utilization", "bound"}
