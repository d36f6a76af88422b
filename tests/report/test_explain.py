"""What is told of a program adds up to what the machine reference counts."""

import json
from itertools import pairwise

import numpy as np
import pytest

from codesign import ir
from codesign.arch import preset
from codesign.cli.explain import letters
from codesign.compiler import compile
from codesign.report.explain import explain, fused_ops, limit
from codesign.report.traffic import traffic
from tests.compiler.builder import Builder
from tests.compiler.execution import infer, random_inputs, start

TINY = preset("tiny")
SMALL = TINY.replace(act_depth=200, wgt_depth=160, tap_depth=160, param_depth=16)


def network(batch=1):
    """Three convolutions, the last with a sum fused, one of stride 2, and a pool."""
    b = Builder(np.random.default_rng(1), batch)
    x = b.conv(b.input((6, 12, 12)), 8)
    y = b.add(b.conv(b.conv(x, 8), 8, clamp=(-128, 127)), x)
    return b.graph(b.max_pool(b.conv(y, 12, stride=(2, 2), padding=(1, 0, 1, 0)), (3, 3), (1, 1)))


def large():
    """Maps and weights that do not fit SMALL."""
    b = Builder(np.random.default_rng(2))
    x = b.input((8, 20, 20))
    for channels in (16, 16, 24):
        x = b.conv(x, channels)
    return b.graph(b.max_pool(x, (2, 2), (2, 2)))


CASES = [(network(), TINY), (network(3), TINY), (large(), SMALL), (large(), preset("pynq_z2"))]


@pytest.mark.parametrize(("graph", "arch"), CASES)
def test_all_bytes_are_attributed(graph: ir.Graph, arch):
    program = compile(graph, arch)
    machine = start(program)
    _, _, run = infer(machine, program, random_inputs(graph, np.random.default_rng(3)))
    found = traffic(program).values()
    assert sum(at.read for at in found) == run.counters["READ_BEATS"] * arch.beat_bytes
    assert sum(at.written for at in found) == run.counters["WRITE_BEATS"] * arch.beat_bytes
    total = explain(program)["total"]
    assert total["dram_read_bytes"] == sum(at.read for at in found)
    assert total["cycles"] == program.predicted_cycles == run.cycles


@pytest.mark.parametrize(
    ("cycles", "compute", "bus", "name"),
    [
        (100, 90, 10, "array"),
        (100, 50, 49, "array"),
        (100, 10, 51, "DRAM"),
        (100, 49, 49, "latency"),
        (57, 8, 8, "latency"),
    ],
)
def test_what_neither_array_nor_bus_explains_is_latency(cycles, compute, bus, name):
    assert limit(cycles, compute, bus) == {
        "limit": name,
        "limit_ratio": pytest.approx(cycles / max(compute, bus)),
    }


@pytest.mark.parametrize(("graph", "arch"), CASES)
def test_nothing_is_quicker_than_its_bounds(graph: ir.Graph, arch):
    document = explain(compile(graph, arch))
    json.dumps(document, allow_nan=False)
    assert document["total"]["limit_ratio"] > 1
    for layer in document["layers"]:
        assert layer["cycles"] >= 0.95 * layer["compute_cycles"], layer["name"]
    assert sum(at["macs"] for at in document["layers"]) == document["total"]["macs"]


def test_a_resident_network():
    document = explain(compile(network(), TINY))
    first, _, second, third, pool = document["layers"]
    assert [at["op"] for at in document["layers"]] == [
        "Conv2d", "Conv2d", "Conv2d+Add", "Conv2d", "MaxPool2d",
    ]  # fmt: skip
    assert [at["source"] for at in document["layers"]] == ["DRAM", *4 * ["on chip"]]
    assert [at["result"] for at in document["layers"]] == [*4 * ["on chip"], "DRAM"]
    assert [at["weights"] for at in document["layers"]] == [*4 * ["on chip"], "none"]
    assert all(at["weights_read_bytes"] == 0 for at in document["layers"])
    # 6 channels are 2 words of 4 bytes for each of 144 pixels
    assert first["maps_read_bytes"] == 2 * 4 * 144
    assert second["dram_write_bytes"] == second["maps_read_bytes"] == 0
    # rows of 3 x 3 or 4 x 4 pixels, three words of 4 bytes for each
    assert pool["dram_write_bytes"] >= 3 * 4 * 16
    assert third["shape"] == "8x12x12 > 12x6x6, 3x3/2"
    assert pool["shape"] == "12x6x6 > 12x4x4, 3x3"
    assert document["provenance"]["cycles"].startswith("predicted")


def test_a_streamed_network():
    document = explain(compile(large(), SMALL))
    layers = document["layers"]
    assert layers[0]["source"] == "DRAM" == layers[-1]["result"]
    for layer, weights in zip(layers[:3], (8 * 16 * 9, 16 * 16 * 9, 16 * 24 * 9), strict=True):
        assert layer["weights"] == "streamed"
        assert layer["weights_read_bytes"] >= weights
    assert max(at["strips"] for at in layers) > 1
    assert layers[0]["maps_read_bytes"] >= 8 * 20 * 20
    assert layers[-1]["dram_write_bytes"] >= 24 * 10 * 10
    # a map that leaves the chip is read again, one that does not is not
    for before, after in pairwise(layers):
        assert (before["result"] == "DRAM") == (after["source"] == "DRAM")


def test_samples_in_turn_are_a_group():
    alone, together = (explain(compile(network(batch), TINY))["layers"] for batch in (1, 3))
    assert [at["group"] for at in alone] == 5 * [None]
    assert all(at["macs"] == 3 * one["macs"] for at, one in zip(together, alone, strict=True))


def test_fused_operations_are_found():
    graph = network()
    conv, _, second, add, *_ = graph.ops
    assert fused_ops(graph, second.name, "Conv2d+Add") == (second, add)
    assert fused_ops(graph, conv.name, "Conv2d") == (conv,)
    assert fused_ops(graph, "t0:split", "Copy") == ()


def test_letters_count_on():
    assert [letters(at) for at in (None, 1, 26, 27, 52, 53)] == ["", "a", "z", "aa", "az", "ba"]
