"""Bounds against numbers computed by hand, and how they must change."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign import ir
from codesign.arch import preset
from codesign.cost.bounds import (
    Bounds,
    Demand,
    compute_cycles,
    copy_demand,
    demand_of,
    dram_cycles,
    layer_bounds,
    least_traffic,
    network_bounds,
    on_chip_words,
)
from tests.compiler.builder import Builder

PYNQ = preset("pynq_z2")


def demand(make, batch=1):
    """The demand of the last operations that ``make`` adds to a map of 16 x 9 x 7."""
    b = Builder(np.random.default_rng(0), batch)
    y = make(b, b.input((16, 9, 7)))
    return demand_of(b.graph(y), b.ops)


def test_a_convolution():
    found = demand(lambda b, x: b.conv(x, 32), batch=2)
    macs = 2 * 32 * 16 * 9 * 63
    assert found == Demand(macs, macs, True, 9.0, 2 * 1008, 32 * 16 * 9, 2 * 32 * 63)


def test_a_stride_leaves_out_pixels():
    found = demand(lambda b, x: b.conv(x, 8, (1, 1), (2, 2), (0, 0, 0, 0)))
    assert (found.outputs, found.reuse) == (8 * 5 * 4, 1.0)
    assert found.inputs == 16 * 5 * 4
    strided = demand(lambda b, x: b.conv(x, 8, (3, 3), (2, 2)))
    assert (strided.inputs, strided.reuse) == (1008, 9 / 4)


def test_depthwise_layers_and_pools_have_fewer_lanes():
    depthwise = demand(lambda b, x: b.conv(x, 16, groups=16))
    assert (depthwise.macs, depthwise.dense) == (16 * 9 * 63, False)
    assert compute_cycles(PYNQ, depthwise) == 16 * 9 * 63 / 48
    pool = demand(lambda b, x: b.max_pool(x, (2, 2), (2, 2)))
    assert (pool.macs, pool.operations, pool.weights) == (0, 4 * 16 * 4 * 3, 0)
    assert pool.inputs == 16 * 8 * 6
    grouped = demand(lambda b, x: b.conv(x, 16, groups=4))
    assert grouped.dense


def test_what_is_added_is_read():
    b = Builder(np.random.default_rng(0))
    x, other = b.input((16, 9, 7)), b.input((8, 9, 7))
    y = b.add(b.conv(x, 8), other)
    found = demand_of(b.graph(y), b.ops)
    assert found.inputs == 1008 + 8 * 63
    assert found.macs == 8 * 16 * 9 * 63
    assert copy_demand(b.graph(y), x) == Demand(0, 1008, False, 1.0, 1008, 0, 1008)


def test_traffic_by_hand():
    """3 x 3, 64 to 64 channels, 56 x 56: 115,605,504 MACs."""
    layer = Demand(115_605_504, 115_605_504, True, 9.0, 200_704, 36_864, 200_704)
    # 2 * 115,605,504 / sqrt(9 * 10,000) = 770,703.36
    assert least_traffic(layer, 10_000) == pytest.approx(770_703.36 + 200_704)
    assert least_traffic(layer, 1 << 20) == 200_704 + 36_864 + 200_704
    with pytest.raises(ValueError, match="0 words on chip"):
        least_traffic(layer, 0)


def test_cycles_by_hand():
    assert on_chip_words(PYNQ) == 3 * 6 * 1024 * 8 + 4608 * 64
    assert dram_cycles(PYNQ, 800, 720) == 100
    assert dram_cycles(PYNQ, 8, 720) == 90
    layer = Demand(384_000, 384_000, True, 9.0, 16_000, 4_000, 8_000)
    assert layer_bounds(PYNQ, layer) == Bounds(1000.0, 2500.0, 28_000.0)
    assert network_bounds([Bounds(1, 2, 3), Bounds(10, 20, 30)]) == Bounds(11, 22, 33)
    assert network_bounds([]) == Bounds(0, 0, 0)


counts = st.integers(1, 1 << 30)
demands = st.builds(
    lambda macs, reuse, i, w, o: Demand(macs, macs, True, reuse, i, w, o),
    counts, st.floats(1, 121), counts, counts, counts,
)  # fmt: skip


@given(layer=demands, words=st.integers(1, 1 << 24), factor=st.integers(2, 64))
def test_more_memory_or_reuse_never_needs_more_traffic(layer, words, factor):
    traffic = least_traffic(layer, words)
    assert traffic >= layer.inputs + layer.weights + layer.outputs
    assert least_traffic(layer, factor * words) <= traffic
    reused = dataclasses.replace(layer, reuse=factor * layer.reuse)
    assert least_traffic(reused, words) <= traffic
    more = dataclasses.replace(layer, macs=factor * layer.macs)
    assert least_traffic(more, words) >= traffic
    # only with a quarter of the memory do reads double, and never more than that
    assert least_traffic(layer, -(-words // 4)) <= 2 * traffic * (1 + 1e-9)


@given(layer=demands)
def test_a_wider_machine_is_bound_less(layer):
    wide = PYNQ.replace(pixels=12, dma_bits=128)
    assert compute_cycles(wide, layer) == compute_cycles(PYNQ, layer) / 2
    assert layer_bounds(wide, layer).dram_cycles <= layer_bounds(PYNQ, layer).dram_cycles / 2
    assert math.isfinite(layer_bounds(wide, layer).traffic_bytes)


def test_there_must_be_an_operation():
    b = Builder(np.random.default_rng(0))
    with pytest.raises(ValueError, match="no operation"):
        demand_of(b.graph(b.input((4, 3, 3))), [])


def test_upsampled_maps_count_as_what_they_are():
    """A 3 by 3 kernel on an upsampled map meets 2 by 2 pixels; a transposed one counts inputs."""
    tensors = {
        "x": ir.Tensor("x", (2, 4, 4), 1.0, 0),
        "u": ir.Tensor("u", (2, 8, 8), 1.0, 0),
        "y": ir.Tensor("y", (3, 8, 8), 1.0, 0),
        "z": ir.Tensor("z", (3, 8, 8), 1.0, 0),
    }
    full = np.ones(3, np.int32)

    def conv(name, x, y, window):
        weight = np.ones((3, 2, *window.kernel), np.int8)
        return ir.Conv2d(name, x, y, weight, full, full, full, window)

    ops = (
        ir.Upsample("up", "x", "u", (2, 2)),
        conv("same", "u", "y", ir.Window((3, 3), padding=(1, 1, 1, 1))),
        conv("back", "x", "z", ir.Window((4, 4), padding=(2, 2, 2, 2), base_dilation=(2, 2))),
    )
    graph = ir.Graph("net", 1, tensors, ops, ("x",), ("y", "z"))
    ir.verify(graph)
    same, back = (demand_of(graph, (op,)) for op in ops[1:])
    assert same.macs == 64 * 6 * 9
    assert same.operations == 64 * 6 * 4
    assert same.inputs == back.inputs == 32
    assert back.operations == back.macs == 16 * 6 * 16
