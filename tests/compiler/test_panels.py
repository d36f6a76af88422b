"""Maps whose lines are too long for the chip: the machine reference computes what the graph
reference says, panel by panel of columns."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from codesign import ir
from codesign.arch import preset
from codesign.compiler import compile
from codesign.compiler.lower import lower
from codesign.compiler.stream.choose import too_wide
from codesign.compiler.stream.dram import storages
from codesign.compiler.stream.panels import can_be_cut, panels, step
from codesign.compiler.stream.work import Work
from codesign.errors import CapacityError
from codesign.report.explain import explain
from tests.compiler.builder import Builder
from tests.compiler.execution import check
from tests.compiler.networks import TINY, random_window
from tests.compiler.test_stream import work
from tests.compiler.topologies import FULL

LOW = TINY.replace(act_depth=60, wgt_depth=160, tap_depth=160, param_depth=16)
ARCHS = (
    LOW,
    LOW.replace(pixels=5),
    LOW.replace(pixels=6, drain=3, act_depth=30),
    LOW.replace(pixels=4, drain=4, in_channels=8, out_channels=16, dma_bits=128, act_depth=24),
    LOW.replace(out_channels=8, pixels=4, drain=2),
)
SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def wide_network(number):
    """One to three windowed operations, perhaps with a sum, on a map of long lines."""
    rng = np.random.default_rng(number)
    b = Builder(rng, batch=int(rng.choice([1, 1, 2])))
    x = b.input((int(rng.integers(1, 13)), int(rng.integers(2, 12)), int(rng.integers(30, 90))))
    for _ in range(int(rng.integers(1, 4))):
        channels, *size = b.shape(x)
        kernel, stride, padding, dilation = random_window(rng, size)
        kind = rng.choice(["conv", "depthwise", "max", "residual"])
        if kind == "conv":
            x = b.conv(x, int(rng.integers(1, 13)), kernel, stride, padding, dilation)
        elif kind == "depthwise":
            x = b.conv(x, channels, kernel, stride, padding, dilation, groups=channels)
        elif kind == "max":
            x = b.max_pool(x, kernel, stride, padding, dilation)
        else:
            y = b.conv(x, channels, clamp=FULL)
            x = b.add(b.conv(y, channels, clamp=FULL), x)
    return b.graph(x)


def columns(program):
    return max(layer["panels"] for layer in explain(program)["layers"])


@seed(40)
@settings(max_examples=12, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_wide_networks(number, arch, keep):
    try:
        program = compile(wide_network(number), arch, keep_tensors=keep)
    except CapacityError:
        return  # a kernel of too many taps, or too tall for a strip
    check(program, np.random.default_rng(number))


@pytest.mark.slow
@seed(41)
@settings(max_examples=500, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_wide_networks(number, arch, keep):
    test_random_wide_networks.hypothesis.inner_test(number, arch, keep)


@pytest.mark.parametrize("arch", ARCHS)
def test_wide_network_is_cut_into_panels(arch):
    b = Builder(np.random.default_rng(0))
    x = b.input((8, 12, 61))
    y = b.conv(x, 8, clamp=FULL)
    z = b.conv(b.max_pool(y, (3, 3), (2, 2), (1, 0, 1, 1)), 8, (1, 1), padding=(0,) * 4, clamp=FULL)
    graph = b.graph(b.add(b.conv(y, 8, stride=(2, 2), clamp=FULL), z), y)
    program = compile(graph, arch)
    assert columns(program) > 1
    total = sum(ir.macs(graph, op) for op in graph.ops)
    assert sum(span.macs for span in program.layers) == total
    check(program, np.random.default_rng(1), runs=2)


def test_line_that_fits_is_not_cut():
    b = Builder(np.random.default_rng(0))
    program = compile(b.graph(b.conv(b.input((4, 40, 16)), 4)), LOW)
    assert columns(program) == 1


def test_lines_of_maps_on_panels_begin_where_a_transfer_can():
    b = Builder(np.random.default_rng(0))
    network = lower(b.graph(b.conv(b.input((8, 12, 61)), 8)), LOW)
    wide = too_wide(network, LOW, storages(network, LOW))
    assert wide == {"t0", "t1"}
    assert [at.pitch for at in storages(network, LOW).values()] == [61, 61]
    assert [at.pitch for at in storages(network, LOW, wide).values()] == [64, 64]


def test_panels_need_the_columns_around_them():
    b = Builder(np.random.default_rng(0))
    x = b.input((4, 6, 40))
    y = b.conv(x, 4)
    z = b.conv(y, 4)
    whole = work(b.graph(z), TINY, [z])
    assert can_be_cut(whole)
    assert step(whole) == 4  # words of 4 bytes, transfers begin at 16
    cut = panels(whole, 16)
    assert [at.columns[z] for at in cut] == [(0, 16), (16, 32), (32, 40)]
    assert [at.columns[y] for at in cut] == [(0, 17), (15, 33), (31, 40)]
    assert [at.columns[x] for at in cut] == [(0, 20), (12, 36), (28, 40)]
    assert [at.panel for at in cut] == [0, 1, 2]
    assert not can_be_cut(cut[0])
    offsets = [{tap.ox for tap in at.layers[0].blocks[0].taps} for at in cut]
    assert offsets == [{-1, 0, 1}, {2, 3, 4}, {2, 3, 4}]
    assert [sum(layer.macs for layer in at.layers) for at in cut] == [
        2 * 4 * 4 * 9 * 6 * width for width in (16, 16, 8)
    ]


def test_phases_are_cut_at_even_columns():
    b = Builder(np.random.default_rng(0))
    x = b.input((4, 16, 32))
    y = b.conv(x, 4)
    z = b.conv(y, 4, stride=(2, 2))
    whole: Work = work(b.graph(z), TINY, [z])
    assert [at.columns[y] for at in panels(whole, 4)] == [(0, 8), (6, 16), (14, 24), (22, 32)]


def test_error_names_the_smallest_piece():
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.conv(b.input((60, 12, 60)), 8, (5, 5), padding=(2,) * 4))
    with pytest.raises(CapacityError, match="a strip of one line by 4 columns needs rows") as error:
        compile(graph, LOW)
    assert "raise act_depth to" in str(error.value)


def test_lines_of_4k_for_a_board():
    b = Builder(np.random.default_rng(0))
    program = compile(b.graph(b.conv(b.input((16, 4, 3840)), 8, clamp=FULL)), preset("pynq_z2"))
    (layer,) = explain(program)["layers"]
    assert layer["panels"] > 1
    assert layer["limit_ratio"] < 1.4
    check(program, np.random.default_rng(1))
