"""Networks larger than the chip: the machine reference computes what the graph reference says."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from codesign import ir, isa
from codesign.arch import preset
from codesign.compiler import compile
from codesign.compiler.lower import lower
from codesign.compiler.stream.dram import storages
from codesign.compiler.stream.rings import Image, Ring
from codesign.compiler.stream.work import Work, strips
from codesign.errors import CapacityError
from codesign.isa import Base, Opcode, Target
from codesign.report.explain import explain
from tests.compiler.builder import Builder
from tests.compiler.execution import check
from tests.compiler.networks import TINY, random_layer, random_network, resnet8
from tests.compiler.test_order import instructions
from tests.compiler.topologies import mobilenet_v2, resnet18

SMALL = TINY.replace(act_depth=64, wgt_depth=160, tap_depth=160, param_depth=16)
NARROW = SMALL.replace(act_depth=128, wgt_depth=256, tap_depth=256)
ARCHS = (
    SMALL,
    SMALL.replace(act_depth=40, wgt_depth=8192, tap_depth=4096),
    SMALL.replace(pixels=5, act_depth=90),
    SMALL.replace(act_depth=512),
    SMALL.replace(pixels=6, drain=3),
    SMALL.replace(pixels=4, drain=4, act_depth=100, in_channels=8, out_channels=16, dma_bits=128),
    SMALL.replace(out_channels=8, pixels=4, wgt_depth=400, tap_depth=400),
    SMALL.replace(out_channels=8, pixels=4, drain=2, wgt_depth=400, tap_depth=400),
    SMALL.replace(drain=3),
    preset("pynq_z2").replace(act_depth=32, wgt_depth=128, tap_depth=512, param_depth=8),
)
SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def streamed(program):
    """Whether weights are loaded while the network runs."""
    return any(
        at.opcode is Opcode.LOAD and at["target"] == Target.WGT for at in instructions(program)
    )


def check_if_it_fits(graph, arch, number, **options):
    try:
        program = compile(graph, arch, **options)
    except CapacityError:
        return  # a line or a kernel is too large
    check(program, np.random.default_rng(number), runs=2)


@seed(30)
@settings(max_examples=40, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_layers(number, arch, keep):
    check_if_it_fits(random_layer(number), arch, number, keep_tensors=keep)


@seed(31)
@settings(max_examples=25, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_networks(number, arch, keep):
    check_if_it_fits(random_network(number), arch, number, keep_tensors=keep)


@pytest.mark.slow
@seed(32)
@settings(max_examples=1000, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_layers(number, arch, keep):
    check_if_it_fits(random_layer(number), arch, number, keep_tensors=keep)


@pytest.mark.slow
@seed(33)
@settings(max_examples=1000, **SETTINGS)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_networks(number, arch, keep):
    check_if_it_fits(random_network(number), arch, number, keep_tensors=keep)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_small_resnet18(batch, keep):
    rng = np.random.default_rng(0)
    program = compile(resnet18(rng, 32, 8, 10, batch), NARROW, keep_tensors=keep)
    assert streamed(program)
    assert program.scratch_bytes
    check(program, rng)


def test_small_mobilenet_v2():
    rng = np.random.default_rng(0)
    program = compile(mobilenet_v2(rng, 32, 0.25, 10), NARROW)
    assert streamed(program)
    check(program, rng)


def test_network_that_fits_stays_on_chip():
    program = compile(resnet8(np.random.default_rng(0)), preset("pynq_z2"))
    assert not streamed(program)
    assert program.scratch_bytes == 0


def test_outputs_that_are_inputs_are_copied():
    rng = np.random.default_rng(0)
    b = Builder(rng, batch=2)
    x, v = b.input((8, 20, 20)), b.input((9, 1, 1))
    program = compile(b.graph(x, v, b.conv(x, 8)), SMALL)
    assert streamed(program)
    check(program, rng)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_weights_are_loaded_once_for_several_samples(batch):
    """Those of a layer with more weights than fit, on maps of which several do."""
    b = Builder(np.random.default_rng(0), batch)
    program = compile(b.graph(b.conv(b.input((32, 5, 5)), 64)), SMALL.replace(act_depth=200))
    weights = 32 * 64 * 9
    assert weights > SMALL.wgt_bytes
    (layer,) = explain(program)["layers"]
    assert layer["weights_read_bytes"] < 1.5 * weights * -(-batch // 3)
    check(program, np.random.default_rng(1))


def test_tables_stay_on_chip():
    rng = np.random.default_rng(0)
    b = Builder(rng)
    x = b.table(b.conv(b.input((8, 20, 20)), 8))
    y = b.table(b.conv(x, 8))
    program = compile(b.graph(y), SMALL)
    assert program.setup.count == 3
    check(program, rng)
    for _ in range(3):
        y = b.table(b.conv(y, 8))
    with pytest.raises(CapacityError, match="needs 5 tables, the architecture has 4"):
        compile(b.graph(y), SMALL)


def test_spans_share_each_layers_work():
    graph = resnet18(np.random.default_rng(0), 32, 8, 10, 2)
    program = compile(graph, NARROW)
    last = 1
    for span in program.layers:
        assert last <= span.first < span.last <= program.infer.count - 1
        last = span.last
    total = sum(span.macs for span in program.layers)
    assert total == 2 * sum(ir.macs(graph, op) for op in graph.ops)
    inside = {i for span in program.layers for i in range(span.first, span.last)}
    for index, at in enumerate(instructions(program)):
        assert index in inside or at.opcode not in (Opcode.CALC, Opcode.SAVE)


def test_fused_layers_leave_no_map_between_them_in_dram():
    b = Builder(np.random.default_rng(0))
    x = b.input((16, 48, 48))
    y = b.conv(x, 96, (1, 1), padding=(0,) * 4)
    z = b.conv(y, 96, stride=(2, 2), padding=(1, 0, 1, 0), groups=96)
    program = compile(b.graph(b.conv(z, 16, (1, 1), padding=(0,) * 4)), preset("pynq_z2"))
    assert streamed(program)
    assert program.scratch_bytes < 96 * 48 * 48
    check(program, np.random.default_rng(0))


def work(graph, arch, saved):
    network = lower(graph, arch)
    return Work(network, arch, storages(network, arch), network.layers, frozenset(saved))


def test_strips_need_the_lines_around_them():
    b = Builder(np.random.default_rng(0))
    x = b.input((4, 12, 12))
    y = b.conv(x, 4)
    z = b.conv(y, 4)
    cut = strips(work(b.graph(z), TINY, [z]), 4)
    assert [at[z] for at in cut] == [(0, 4), (4, 8), (8, 12)]
    assert [at[y] for at in cut] == [(0, 5), (3, 9), (7, 12)]
    assert [at[x] for at in cut] == [(0, 6), (2, 10), (6, 12)]


def test_strips_of_phases_are_cut_at_even_lines():
    b = Builder(np.random.default_rng(0))
    x = b.input((4, 16, 16))
    y = b.conv(x, 4)
    z = b.conv(y, 4, stride=(2, 2))
    cut = strips(work(b.graph(z), TINY, [z]), 2)
    assert [at[y] for at in cut] == [(0, 4), (2, 8), (6, 12), (10, 16)]


def test_ring_reloads_what_it_has_lost():
    arch = TINY.replace(wgt_depth=16)
    ring = Ring(arch, Target.WGT, Image())
    items = [bytes([n]) * (6 * arch.wgt_word_bytes) for n in range(4)]
    addresses = [ring.need(item, calc, "x") for calc, item in enumerate(items)]
    assert addresses == [0, 6, 0, 6]
    assert [(fill.words, fill.after, fill.deadline) for fill in ring.fills] == [
        (12, -1, 0),
        (12, 1, 2),
    ]
    assert ring.need(items[3], 4, "x") == 6
    assert len(ring.fills) == 2
    assert ring.need(items[0], 5, "x") == 0
    assert (ring.fills[-1].after, ring.fills[-1].deadline) == (2, 5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "macs", "utilization"),
    [(resnet18, 1_814_073_344, 0.80), (mobilenet_v2, 300_774_272, 0.45)],
)
def test_full_topologies(build, macs, utilization):
    arch = preset("pynq_z2")
    program = compile(build(np.random.default_rng(0)), arch)
    assert sum(span.macs for span in program.layers) == macs
    assert macs / (program.predicted_cycles * arch.macs_per_cycle) >= utilization
    check(program, np.random.default_rng(1))


def test_maps_in_dram_are_read_after_they_were_written():
    program = compile(resnet18(np.random.default_rng(0), 32, 8, 10), NARROW)
    found = [at for at in instructions(program) if at.opcode is isa.Opcode.LOAD]
    assert any(at["base"] == Base.SCRATCH and at["wait"] & 2 for at in found)
