"""The graph reference against torch, operation by operation."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from codesign import ir
from codesign.errors import GraphError
from codesign.reference import graph as reference

SHAPE_CASES = [
    # channels in, channels out, groups, kernel, stride, padding, dilation, (H, W)
    (3, 5, 1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (7, 6)),
    (4, 8, 2, (1, 5), (1, 2), (0, 0, 2, 1), (1, 1), (5, 9)),
    (6, 6, 6, (3, 3), (2, 2), (0, 1, 1, 0), (1, 1), (8, 7)),
    (6, 12, 6, (2, 2), (1, 1), (0, 0, 0, 0), (2, 3), (6, 8)),
    (4, 4, 1, (7, 7), (2, 1), (3, 3, 3, 3), (1, 1), (9, 4)),
    (16, 10, 1, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), (1, 1)),
]


def int8(rng, *shape, low=-128):
    return rng.integers(low, 128, shape).astype(np.int8)


def exact_requantize(acc, multiplier, shift, zero):
    """By fractions: zero + floor(acc * multiplier / 2**shift + 1/2)."""
    return zero + int((Fraction(int(acc) * int(multiplier), 1 << int(shift)) + Fraction(1, 2)) // 1)


def exact_requantize_twice(acc, multiplier, shift, zero):
    """By fractions: half up to a 2**24th, then the nearest, ties away from zero."""
    high = Fraction(exact_requantize(acc, multiplier, 24, 0), 1 << (int(shift) - 24))
    return zero + int(abs(high) + Fraction(1, 2)) * (1 if high > 0 else -1)


def torch_pad(x, window, value):
    top, bottom, left, right = window.padding
    return torch.nn.functional.pad(
        torch.tensor(x, dtype=torch.float64), (left, right, top, bottom), value=value
    )


def single(op, *shapes_and_zeros, batch=2):
    tensors = {
        name: ir.Tensor(name, shape, 1.0, zero)
        for name, (shape, zero) in zip("xyz", shapes_and_zeros, strict=False)
    }
    inputs = ir.op_inputs(op)
    return ir.Graph("test", batch, tensors, (op,), inputs, (op.y,))


def conv_graph(rng, case, zero_x, zero_y, low=-128, high=127, twice=False):
    c_in, c_out, groups, kernel, stride, padding, dilation, size = case
    window = ir.Window(kernel, stride, padding, dilation)
    op = ir.Conv2d(
        "conv",
        "x",
        "y",
        int8(rng, c_out, c_in // groups, *kernel, low=-127),
        rng.integers(-50000, 50000, c_out).astype(np.int32),
        rng.integers(-(1 << 24) + 1, 1 << 24, c_out).astype(np.int32),
        rng.integers(23, 38, c_out).astype(np.int32),
        window,
        groups,
        low,
        high,
        twice,
    )
    return single(op, ((c_in, *size), zero_x), ((c_out, *window.output_size(*size)), zero_y))


@pytest.mark.parametrize("case", SHAPE_CASES)
@pytest.mark.parametrize("zeros", [(-128, 127), (0, 0), (127, -128)])
@pytest.mark.parametrize("twice", [False, True])
def test_convolution_is_torchs_on_centred_integers(case, zeros, twice):
    rng = np.random.default_rng(1)
    graph = conv_graph(rng, case, *zeros, low=-100, high=90, twice=twice)
    op = graph.ops[0]
    x = int8(rng, 2, *graph.tensors["x"].shape)
    acc = torch.nn.functional.conv2d(
        torch_pad(x.astype(float) - zeros[0], op.window, 0.0),
        torch.tensor(op.weight, dtype=torch.float64),
        torch.tensor(op.bias, dtype=torch.float64),
        stride=op.window.stride,
        dilation=op.window.dilation,
        groups=op.groups,
    ).numpy()
    y = reference.run(graph, {"x": x})["y"]
    assert (y.dtype, y.shape) == (np.int8, acc.shape)
    for at, value in np.ndenumerate(acc):
        o = at[1]
        rule = exact_requantize_twice if twice and op.shift[o] > 24 else exact_requantize
        exact = rule(value, op.multiplier[o], op.shift[o], zeros[1])
        assert y[at] == min(max(exact, -100), 90)


def test_accumulator_wraps_at_32_bits():
    op = ir.Conv2d(
        "conv", "x", "y", np.full((1, 1, 1, 1), 127, np.int8), np.array([2**31 - 1], np.int32),
        np.array([1 << 16], np.int32), np.array([40], np.int32), ir.Window((1, 1)),
    )  # fmt: skip
    graph = single(op, ((1, 1, 1), 0), ((1, 1, 1), 0), batch=1)
    y = reference.run(graph, {"x": np.full((1, 1, 1, 1), 1, np.int8)})["y"]
    assert y.item() == exact_requantize(2**31 - 1 + 127 - 2**32, 1 << 16, 40, 0) == -128


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 0, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_pools_are_torchs(padding, stride):
    rng = np.random.default_rng(2)
    window = ir.Window((3, 2), stride, padding)
    shape, out = (5, 8, 7), (5, *window.output_size(8, 7))
    x = int8(rng, 2, *shape)
    pool = single(ir.MaxPool2d("pool", "x", "y", window), (shape, 3), (out, 3))
    expected = torch.nn.functional.max_pool2d(torch_pad(x, window, -128.0), (3, 2), stride)
    assert np.array_equal(reference.run(pool, {"x": x})["y"], expected.numpy())

    op = ir.AvgPool2d("mean", "x", "y", window, multiplier=87381, shift=19, low=-60, high=70)
    mean = single(op, (shape, 5), (out, -7))
    total = torch.nn.functional.avg_pool2d(
        torch_pad(x.astype(float) - 5, window, 0.0), (3, 2), stride, divisor_override=1
    )
    y = reference.run(mean, {"x": x})["y"]
    for at, value in np.ndenumerate(total.numpy()):
        assert y[at] == min(max(exact_requantize(value, 87381, 19, -7), -60), 70)


def test_add_is_exact():
    rng = np.random.default_rng(3)
    op = ir.Add("add", "x", "y", "z", 70001, -33333, 17, low=-120, high=100)
    graph = single(op, ((3, 4, 5), 9), ((3, 4, 5), -11), ((3, 4, 5), 2))
    a, b = int8(rng, 2, 3, 4, 5), int8(rng, 2, 3, 4, 5)
    z = reference.run(graph, {"x": a, "y": b})["z"]
    for at, value in np.ndenumerate(z):
        total = 70001 * (int(a[at]) - 9) - 33333 * (int(b[at]) + 11)
        assert value == min(max(exact_requantize(total, 1, 17, 2), -120), 100)


def test_table_and_flatten():
    rng = np.random.default_rng(4)
    table = int8(rng, 256)
    x = int8(rng, 2, 3, 4, 5)
    graph = single(ir.Table("table", "x", "y", table), ((3, 4, 5), 0), ((3, 4, 5), 0))
    assert np.array_equal(
        reference.run(graph, {"x": x})["y"], np.vectorize(lambda v: table[v + 128])(x.astype(int))
    )
    graph = single(ir.Flatten("flatten", "x", "y"), ((3, 4, 5), 0), ((60, 1, 1), 0))
    expected = torch.flatten(torch.tensor(x), 1).numpy()
    assert np.array_equal(reference.run(graph, {"x": x})["y"][:, :, 0, 0], expected)


def test_refusals_name_what_is_wrong():
    graph = single(ir.Flatten("flatten", "x", "y"), ((3, 4, 5), 0), ((60, 1, 1), 0))
    x = np.zeros((2, 3, 4, 5), np.int8)
    with pytest.raises(ValueError, match=r"needs inputs \['x'\], not \[\]"):
        reference.run(graph, {})
    with pytest.raises(TypeError, match="type int64; quantise it to int8"):
        reference.run(graph, {"x": x.astype(np.int64)})
    with pytest.raises(ValueError, match=r"shape \(1, 3, 4, 5\); the graph needs \(2, 3, 4, 5\)"):
        reference.run(graph, {"x": x[:1]})
    wrong = single(ir.Flatten("flatten", "x", "y"), ((3, 4, 5), 0), ((61, 1, 1), 0))
    with pytest.raises(GraphError, match="'flatten' produces"):
        reference.run(wrong, {"x": x})
