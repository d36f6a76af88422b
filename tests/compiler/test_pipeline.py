"""Whole programs: the machine reference computes what the graph reference says, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import arith, ir, isa
from codesign.arch import preset
from codesign.artifact import Program
from codesign.compiler import compile
from codesign.errors import CapacityError, GraphError, UnsupportedOpError
from codesign.reference import graph as graph_reference
from tests.compiler.builder import Builder
from tests.compiler.execution import check
from tests.compiler.networks import ARCHS, ROOMY, TINY, random_layer, random_network, resnet8


def compile_and_check(graph, arch, number, **options):
    return check(compile(graph, arch, **options), np.random.default_rng(number), runs=2)


@settings(max_examples=45)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_layers(number, arch, keep):
    compile_and_check(random_layer(number), arch, number, keep_tensors=keep)


@settings(max_examples=15)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_networks(number, arch, keep):
    compile_and_check(random_network(number), arch, number, keep_tensors=keep)


@pytest.mark.slow
@settings(max_examples=1500)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_layers(number, arch, keep):
    compile_and_check(random_layer(number), arch, number, keep_tensors=keep)


@pytest.mark.slow
@settings(max_examples=500)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_networks(number, arch, keep):
    compile_and_check(random_network(number), arch, number, keep_tensors=keep)


def test_resnet8_takes_less_than_37000_cycles():
    program = compile(resnet8(np.random.default_rng(0)), preset("pynq_z2"))
    run = check(program, np.random.default_rng(1))
    assert run.cycles <= 37_000
    assert sum(span.macs for span in program.layers) == 12_501_632
    assert len(program.inputs[0].fold) == 2


@pytest.mark.parametrize(
    ("shape", "outputs", "kernel", "stride", "groups", "least"),
    [
        ((64, 16, 16), 64, 3, 1, 1, 0.97),
        ((64, 16, 16), 64, 1, 1, 1, 0.92),
        ((32, 32, 32), 64, 3, 2, 1, 0.95),
        ((64, 16, 16), 64, 3, 1, 64, 0.95),
    ],
)
def test_single_layers_fill_the_array(shape, outputs, kernel, stride, groups, least):
    rng = np.random.default_rng(0)
    b = Builder(rng)
    padding = (kernel // 2,) * 4
    x = b.input(shape)
    y = b.conv(x, outputs, (kernel, kernel), (stride, stride), padding, groups=groups)
    arch = preset("pynq_z2")
    program = compile(b.graph(y), arch)
    calcs = [at for at in check(program, rng).trace if at.unit is isa.Unit.CALC]
    cycles = max(at.end for at in calcs) - min(at.start for at in calcs)
    peak = arch.pixels * arch.in_channels if groups > 1 else arch.macs_per_cycle
    assert sum(span.macs for span in program.layers) / (cycles * peak) >= least


def test_saved_program_runs_alike(tmp_path):
    program = compile(random_network(5), TINY, seed=5)
    program.save(tmp_path / "p")
    check(Program.load(tmp_path / "p"), np.random.default_rng(0))


def test_zero_weight_blocks_cost_nothing():
    def cycles(density):
        rng = np.random.default_rng(4)
        b = Builder(rng)
        graph = b.graph(b.conv(b.input((32, 8, 8)), 16, density=density))
        return compile_and_check(graph, TINY, 4).counters["CALC_ACTIVE"]

    assert cycles(0.25) < 0.4 * cycles(1.0)


def test_all_weights_zero():
    rng = np.random.default_rng(4)
    b = Builder(rng)
    compile_and_check(b.graph(b.conv(b.input((9, 4, 4)), 9, density=0.0)), TINY, 4)


def test_spans_cover_the_instructions_of_each_layer():
    program = compile(random_network(12), TINY)
    for span in program.layers:
        assert 1 <= span.first < span.last <= program.infer.count - 1
    inside = [i for span in program.layers for i in range(span.first, span.last)]
    assert len(inside) == len(set(inside))
    for index in range(1, program.infer.count - 1):
        first = program.infer.offset + index * isa.INSTRUCTION_BYTES
        instruction = isa.decode(program.image[first : first + isa.INSTRUCTION_BYTES])
        assert index in inside or instruction.opcode is isa.Opcode.LOAD


def test_batched_layers_report_the_whole_work():
    rng = np.random.default_rng(6)
    b = Builder(rng, batch=3)
    y = b.linear(b.global_pool(b.conv(b.input((3, 6, 6)), 8)), 4)
    graph = b.graph(y)
    program = compile(graph, TINY)
    for op in graph.ops:
        work = sum(span.macs for span in program.layers if span.name == op.name)
        assert work == 3 * ir.macs(graph, op)


def test_identity_residual_of_the_layers_own_source():
    rng = np.random.default_rng(7)
    b = Builder(rng)
    x = b.input((5, 6, 6))
    compile_and_check(b.graph(b.add(b.conv(x, 5, clamp=(-128, 127)), x), b.add(x, x)), TINY, 7)


def test_map_read_at_both_strides_gets_a_split_copy():
    rng = np.random.default_rng(8)
    b = Builder(rng)
    x = b.conv(b.input((3, 7, 9)), 6)
    y = b.conv(x, 5, stride=(2, 2))
    program = compile(b.graph(y, b.conv(x, 5)), TINY)
    assert any(span.op == "Copy" for span in program.layers)
    check(program, rng, runs=2)


def test_input_that_is_an_output():
    rng = np.random.default_rng(9)
    b = Builder(rng, batch=2)
    x = b.input((5, 3, 3))
    compile_and_check(b.graph(x, b.flatten(x), b.table(x)), TINY, 9)
    b = Builder(rng)
    compile_and_check(b.graph(b.input((3, 2, 2))), TINY, 9)


def test_input_that_is_an_output_outlives_all_layers():
    rng = np.random.default_rng(9)
    b = Builder(rng)
    x = b.input((1, 8, 8))
    y = b.conv(b.conv(b.global_pool(x), 4), 4)
    compile_and_check(b.graph(x, b.conv(b.conv(y, 4), 4)), TINY.replace(regions=2), 9)


def test_flattened_branches_meet():
    rng = np.random.default_rng(10)
    b = Builder(rng, batch=2)
    x = b.conv(b.input((3, 4, 4)), 5)
    y = b.add(b.table(b.flatten(x)), b.flatten(b.conv(x, 5)))
    compile_and_check(b.graph(b.linear(b.table(y), 7)), TINY, 10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda b, x: b.conv(x, 4, (2, 1), padding=(130, 0, 0, 0)),
            "reaches -130 pixels; a tap reaches -128 to 127",
        ),
        (
            lambda b, x: b.conv(x, 4, (1, 1), (3, 3), (0, 0, 400, 0)),
            r"dilation \(1, 1\) reaches -400 pixels; a tap reaches -384 to 381",
        ),
        (lambda b, x: b.global_pool(b.flatten(x)), "pools a flattened map"),
        (lambda b, x: b.conv(b.flatten(x), 4, padding=(2,) * 4), "a linear layer is accepted"),
        (lambda b, x: b.add(b.flatten(x), b.input((288, 1, 1))), "add before flattening"),
    ],
)
def test_unsupported_operations_are_refused(build, message):
    b = Builder(np.random.default_rng(0))
    x = b.input((2, 12, 12))
    with pytest.raises(UnsupportedOpError, match=message):
        compile(b.graph(build(b, x)), TINY)


@pytest.mark.parametrize(("pixels", "drain"), [(3, 3), (4, 2), (4, 4), (5, 5), (6, 3)])
@pytest.mark.parametrize("keep", [False, True])
def test_split_maps_are_written_added_and_saved_at_any_drain(pixels, drain, keep):
    """Maps of stride 2 that are loaded, written, the sum of an add and its residual."""
    b = Builder(np.random.default_rng(0))
    x = b.conv(b.input((5, 19, 21)), 6, stride=(2, 2))
    y = b.conv(b.conv(x, 6), 6, clamp=(-128, 127))
    z = b.conv(b.add(y, b.conv(x, 6)), 9, stride=(2, 2))
    w = b.conv(z, 5, (1, 1), (2, 2), (0,) * 4)
    graph = b.graph(b.conv(z, 4), w)
    compile_and_check(graph, ROOMY.replace(pixels=pixels, drain=drain), 0, keep_tensors=keep)


STRIDES = ((3, 3), (4, 4), (1, 2), (2, 1), (3, 1), (1, 5), (7, 4))


@pytest.mark.parametrize("arch", [*ARCHS[:5], TINY.replace(act_depth=64, wgt_depth=160)])
@pytest.mark.parametrize("stride", STRIDES)
def test_any_stride(arch, stride):
    """A map read at several strides, by line and split, results of which are added and pooled."""
    b = Builder(np.random.default_rng(0))
    x = b.conv(b.input((5, 19, 22)), 6)
    y = b.conv(x, 7, (4, 5), stride, (2, 3, 1, 2), clamp=(-128, 127))
    z = b.conv(x, 7, (3, 2), stride, (1, 3, 0, 1), groups=1, clamp=(-128, 127))
    w = b.max_pool(x, (3, 3), stride, (1, 2, 2, 1))
    v = b.avg_pool(b.conv(x, 6, stride=(2, 2)), (2, 3), stride, (1, 0, 1, 1))
    total = b.add(y, z) if b.shape(y) == b.shape(z) else z
    compile_and_check(b.graph(b.conv(total, 4, stride=(2, 2)), w, v), arch, 0)


@pytest.mark.parametrize("arch", [*ARCHS, TINY.replace(act_depth=200)])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "folded"),
    [
        ((3, 33, 30), (11, 11), (4, 4), (2, 1, 2, 3), (4, 4)),
        ((3, 32, 32), (8, 8), (8, 8), (0,) * 4, (8, 8)),
        ((1, 20, 31), (5, 5), (1, 3), (2, 2, 1, 1), (1, 3)),
        ((70, 9, 9), (3, 3), (3, 3), (0,) * 4, (3, 3)),
        ((3, 4, 4), (3, 3), (4, 4), (2,) * 4, (1, 1)),  # one pixel would be a vector
    ],
)
def test_first_layer_of_large_stride_has_squares_as_channels(
    arch, shape, kernel, stride, padding, folded
):
    b = Builder(np.random.default_rng(0), batch=2)
    program = compile(b.graph(b.conv(b.input(shape), 5, kernel, stride, padding)), arch)
    assert program.inputs[0].step == folded
    assert len(program.inputs[0].fold) >= folded[0] * folded[1]
    check(program, np.random.default_rng(1))


@pytest.mark.parametrize("counted", [(0, 0, 0, 0), (1, 0, 0, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("arch", [TINY, ARCHS[4], TINY.replace(act_depth=64)])
def test_means_of_what_lies_in_the_map(arch, stride, counted, tmp_path):
    b = Builder(np.random.default_rng(0), batch=2)
    x = b.conv(b.input((9, 14, 15)), 9)
    y = b.avg_pool(x, (3, 3), stride, (1, 1, 1, 1), counted=counted)
    graph = b.graph(b.conv(b.add(y, b.avg_pool(x, (3, 3), stride, (1,) * 4)), 5))
    compile(graph, arch).save(tmp_path / "program")
    program = Program.load(tmp_path / "program")
    assert program.graph.ops[1:3] == graph.ops[1:3]
    check(program, np.random.default_rng(1))


def test_mean_of_equal_values_is_their_value():
    """Only where the multiplier of every window is that of the pixels it counts."""
    window = ir.Window((3, 3), (2, 2), (1, 1, 1, 1))
    parts = tuple((n, *arith.quantize_multiplier(1 / n)) for n in (4, 6))
    tensors = {name: ir.Tensor(name, shape, 1.0, -5) for name, shape in
               (("x", (2, 6, 6)), ("y", (2, 3, 3)))}  # fmt: skip
    pool = ir.AvgPool2d(
        "pool", "x", "y", window, *arith.quantize_multiplier(1 / 9), counted=(0,) * 4, parts=parts
    )
    graph = ir.Graph("net", 1, tensors, (pool,), ("x",), ("y",))
    ir.verify(graph)
    values = {"x": np.full((1, 2, 6, 6), 93, np.int8)}
    assert (graph_reference.run(graph, values)["y"] == 93).all()
    broken = ir.AvgPool2d("pool", "x", "y", window, 1 << 16, 16, counted=(0,) * 4, parts=parts[1:])
    with pytest.raises(GraphError, match=r"no multiplier for windows of \[4\] pixels"):
        ir.verify(ir.Graph("net", 1, tensors, (broken,), ("x",), ("y",)))


def test_message_tells_where_the_operation_stands():
    b = Builder(np.random.default_rng(0))
    y = b.conv(b.input((2, 12, 12)), 4, (2, 1), padding=(130, 0, 0, 0))
    graph = b.graph(y)
    graph = ir.Graph(
        "net", 1, graph.tensors, graph.ops, graph.inputs, graph.outputs, {"conv_t1": "Net.stem.0"}
    )
    with pytest.raises(UnsupportedOpError, match=r"'conv_t1' at Net\.stem\.0"):
        compile(graph, TINY)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (
            TINY.replace(act_depth=16),
            "'conv_t1': a strip of one line by 4 columns needs rows of 3 pixels for maps 't0' 24, "
            "'t1' 4; the architecture has 3 regions of 16; raise act_depth to 24 or more",
        ),
        (TINY.replace(wgt_depth=16), "needs 18 WGT words for one instruction, the architecture"),
        (
            TINY.replace(out_channels=16, param_depth=2),
            "needs 4 PARAM words for one instruction, the architecture has 2; raise param_depth",
        ),
        (TINY.replace(tap_depth=16), "needs 18 TAP words"),
        (TINY.replace(acc_bits=24, in_channels=64, out_channels=64), None),
    ],
)
def test_what_does_not_fit_is_refused(arch, message):
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.conv(b.input((8, 12, 12)), 16))
    if message is None:
        compile_and_check(graph, arch, 0)
    else:
        with pytest.raises(CapacityError, match=message):
            compile(graph, arch)


def test_sums_beyond_the_accumulator_are_refused():
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.linear(b.input((2048, 1, 1)), 4))
    with pytest.raises(CapacityError, match="accumulators of 24 bits; choose acc_bits=26"):
        compile(graph, TINY.replace(acc_bits=24))


def test_a_batch_too_large_is_refused_as_such():
    b = Builder(np.random.default_rng(0), batch=500)
    graph = b.graph(b.linear(b.input((32, 1, 1)), 10))
    message = "one line of the 500 samples of the batch, .* or compile for a smaller batch"
    with pytest.raises(CapacityError, match=message):
        compile(graph, TINY)


def test_too_many_taps_are_refused():
    b = Builder(np.random.default_rng(0))
    with pytest.raises(CapacityError, match=r"needs 4096 taps .* at most 4095"):
        compile(b.graph(b.global_pool(b.input((4, 64, 64)))), TINY)


def test_maps_too_wide_for_an_instruction_are_refused():
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.conv(b.input((1, 1, 5000)), 1, (1, 3), padding=(0, 0, 1, 1)))
    with pytest.raises(CapacityError, match=r"Conv2d 'conv_t1'.*5000 does not fit 12 bits"):
        compile(graph, TINY.replace(act_depth=8192))


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("kind", ["max", "avg", "conv", "depthwise"])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((8, 8), {"kernel": (2, 2), "padding": (1,) * 4, "dilation": (9, 9)}),
        ((1, 1), {"kernel": (1, 1), "padding": (1,) * 4, "stride": (2, 2)}),
    ],
)
def test_a_window_that_never_meets_the_map_sees_padding_alone(kind, size, window, number):
    b = Builder(np.random.default_rng(number), batch=2)
    x = b.input((6, *size))
    window = {"stride": (1, 1), **window}
    if kind in ("max", "avg"):
        y = (b.max_pool if kind == "max" else b.avg_pool)(x, **window)
    else:
        y = b.conv(x, 6, groups=6 if kind == "depthwise" else 1, **window)
    compile_and_check(b.graph(y), TINY, number)
