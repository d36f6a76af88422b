"""Transposed convolutions and nearest upsampling: the machine computes what the graph says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign import ir
from codesign.arch import preset
from codesign.artifact import Program
from codesign.compiler import compile, kernels
from codesign.compiler.lower import lower
from codesign.compiler.phases import separate_phases
from codesign.errors import CapacityError, GraphError, UnsupportedOpError
from tests.compiler.builder import Builder
from tests.compiler.execution import check
from tests.compiler.networks import ARCHS, ROOMY, TINY
from tests.compiler.upsampling import FULL, random_upsampling, transposed, unet

ZEROS = (0,) * 4
DEEP = {"act_depth": 8192, "tap_depth": 16384, "param_depth": 4096}


def builder(batch=1):
    return Builder(np.random.default_rng(3), batch)


def compile_and_check(graph, arch=ROOMY, number=0, **options):
    program = compile(graph, arch, **options)
    return program, check(program, np.random.default_rng(number))


def compiles(number, arch, keep):
    graph = random_upsampling(number)
    try:
        program = compile(graph, arch, keep_tensors=keep)
    except CapacityError:
        program = compile(graph, arch.replace(**DEEP), keep_tensors=keep)
    check(program, np.random.default_rng(number))


@settings(max_examples=40)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_random_networks(number, arch, keep):
    compiles(number, arch, keep)


@pytest.mark.slow
@settings(max_examples=1500)
@given(number=st.integers(0, 1 << 30), arch=st.sampled_from(ARCHS), keep=st.booleans())
def test_many_random_networks(number, arch, keep):
    compiles(number, arch, keep)


@pytest.mark.parametrize("arch", [TINY.replace(act_depth=512), ARCHS[2], ARCHS[4]])
@pytest.mark.parametrize("size", [8, 12])
def test_unet(arch, size):
    graph = unet(np.random.default_rng(size), size=size, width=4, batch=2)
    compile_and_check(graph, arch.replace(wgt_depth=8192, tap_depth=8192, param_depth=512))


def test_saved_program_of_a_split_output_runs_alike(tmp_path):
    b = builder()
    up = transposed(b, b.input((3, 5, 3)), 4, (3, 3), (4, 4), (1, 1), (1, 0))
    program = compile(b.graph(up), ROOMY)
    assert program.outputs[0].factor == 4
    program.save(tmp_path / "p")
    check(Program.load(tmp_path / "p"), np.random.default_rng(0))


@pytest.mark.parametrize("size", [(1, 7), (7, 1), (1, 1)])
def test_one_line_or_column(size):
    """The stride along the other axis says nothing there."""
    b = builder()
    kernel = tuple(1 if extent == 1 else 4 for extent in size)
    stride = tuple(1 if extent == 1 else 2 for extent in size)
    x = transposed(b, b.input((3, *size)), 5, kernel, stride, (0, 0), (0, 0))
    compile_and_check(b.graph(b.conv(b.upsample(x, stride), 4)))


def test_a_kernel_smaller_than_its_stride_leaves_phases_of_bias_alone():
    b = builder()
    x = b.input((3, 4, 4))
    compile_and_check(b.graph(transposed(b, x, 4, (1, 2), (3, 3), (0, 0), (2, 1))))


def test_a_convolution_of_an_upsampled_map_reads_the_map_itself():
    """Nine positions read four pixels: no copy is made, and equal pixels share taps."""
    b = builder()
    x = b.conv(b.input((4, 6, 6)), 4)
    y = b.conv(b.upsample(x), 4)
    small = b.ops[-1].weight // 8
    b.ops[-1] = ir.Conv2d(**{**vars(b.ops[-1]), "weight": small.astype(np.int8)})
    program, _ = compile_and_check(b.graph(y))
    assert [layer.op for layer in program.layers] == ["Conv2d", "Conv2d"]
    layer = separate_phases(lower(b.graph(y), ROOMY), ROOMY).layers[-1]
    assert [len(block.taps) for block in layer.blocks] == [4, 4, 4, 4]


def test_weights_that_do_not_fit_one_tap_take_the_fewest():
    weight = np.array([[300, -127], [0, 254]])
    parts = list(kernels.summands(weight))
    assert len(parts) == 3
    np.testing.assert_array_equal(sum(part.astype(int) for part in parts), weight)
    assert not list(kernels.summands(0 * weight))


def test_a_maximum_of_padding_alone_on_an_upsampled_map():
    b = builder()
    x = b.upsample(b.input((4, 1, 2)), (2, 2))
    compile_and_check(b.graph(b.max_pool(x, (3, 3), (3, 3), (4, 0, 2, 0))))


def test_a_sum_joins_the_copy_of_an_upsampled_map():
    b = builder()
    x = b.input((4, 4, 6))
    low = b.conv(x, 4, stride=(2, 2))
    up = b.add(b.upsample(low), b.conv(x, 4, clamp=FULL))
    program, _ = compile_and_check(b.graph(b.table(up)), keep_tensors=True)
    assert [layer.op for layer in program.layers][2:] == ["Conv2d", "Upsample+Add+Table"]


def test_upsampling_by_several_factors_at_once():
    b = builder()
    y = b.conv(b.upsample(b.upsample(b.input((2, 2, 3))), (3, 3)), 3, (5, 5), padding=(2,) * 4)
    program, _ = compile_and_check(b.graph(y))
    assert program.outputs[0].factor == 6


def test_a_stride_meets_an_upsampling():
    """Two pixels of the upsampled map are one of the map, or a third and a half."""
    b = builder()
    x = b.input((3, 6, 4))
    whole = b.conv(b.upsample(x), 4, stride=(2, 2), padding=(1, 0, 1, 0))
    part = b.conv(b.upsample(x, (3, 3)), 4, stride=(2, 2))
    compile_and_check(b.graph(whole, part))


def test_a_layer_by_line_runs_in_phases_where_its_maps_are_split():
    b = builder()
    x = b.upsample(transposed(b, b.input((3, 6, 6)), 4, (2, 2), (2, 2), (0, 0), (0, 0)))
    compile_and_check(b.graph(b.conv(x, 4, (3, 3), (3, 3), ZEROS)), ROOMY)
    y = transposed(b, b.input((3, 12, 12)), 4, (2, 2), (2, 2), (0, 0), (0, 0))
    compile_and_check(b.graph(b.conv(y, 4, (3, 3), (3, 3), ZEROS)), ROOMY)


def test_batches():
    b = builder(batch=3)
    x = b.global_pool(b.input((5, 4, 4)))
    y = transposed(b, x, 4, (4, 4), (2, 2), (0, 0), (0, 0))
    compile_and_check(b.graph(b.conv(b.upsample(y), 3)))


def test_refusals_name_the_layer_and_the_remedy():
    b = builder()
    x = b.input((3, 4, 4))
    with pytest.raises(UnsupportedOpError, match=r"conv_t1.*upsampled by \(2, 3\).*equal ones"):
        lower(b.graph(transposed(b, x, 4, (3, 3), (2, 3), (0, 0), (0, 0))), TINY)
    b = builder()
    y = b.upsample(b.upsample(b.input((1, 2, 2)), (8, 8)), (4, 4))
    with pytest.raises(UnsupportedOpError, match=r"32x32 phase planes; at most 16x16"):
        compile(b.graph(b.conv(y, 1)), TINY)
    b = builder()
    y = transposed(b, b.input((64, 16, 16)), 64, (4, 4), (2, 2), (1, 1), (0, 0))
    with pytest.raises(CapacityError, match=r"conv_t1.*must fit on the chip"):
        compile(b.graph(y), TINY)


def test_the_graph_checks_what_it_is_given():
    b = builder()
    x = b.input((3, 4, 4))
    y = b.upsample(x, (2, 2))
    b.tensors[y] = ir.Tensor(y, (3, 8, 8), 0.1, b.tensors[x].zero_point)
    with pytest.raises(GraphError, match="must share scale"):
        ir.verify(b.graph(y))
    c = builder()
    z = c.max_pool(c.input((3, 4, 4)), (2, 2), (2, 2))
    window = ir.Window((2, 2), (2, 2), base_dilation=(2, 2))
    c.ops[0] = ir.MaxPool2d("max", c.ops[0].x, z, window)
    with pytest.raises(GraphError, match="no pools"):
        ir.verify(c.graph(z))


def test_macs_of_a_transposed_convolution_count_inputs():
    b = builder()
    x = b.input((3, 4, 5))
    y = transposed(b, x, 6, (4, 4), (2, 2), (1, 1), (0, 0))
    graph = b.graph(y)
    assert ir.macs(graph, graph.ops[0]) == 6 * 3 * 16 * 4 * 5


def test_the_unet_fits_pynq_z2():
    program = compile(unet(np.random.default_rng(0)), preset("pynq_z2"))
    assert {layer.op for layer in program.layers} == {"Conv2d", "Conv2d+Add"}
    assert program.outputs[0].factor == 2
