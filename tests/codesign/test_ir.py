"""What ``ir.verify`` refuses, and the sizes that windows and operations have."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codesign import ir
from codesign.errors import GraphError


def conv(**changes):
    fields = {
        "name": "conv", "x": "x", "y": "y", "weight": np.ones((4, 2, 3, 3), np.int8),
        "bias": np.zeros(4, np.int32), "multiplier": np.ones(4, np.int32),
        "shift": np.ones(4, np.int32), "window": ir.Window((3, 3), padding=(1, 1, 1, 1)),
    }  # fmt: skip
    return ir.Conv2d(**fields | changes)


def graph(*ops, shapes=None, **changes):
    shapes = shapes or {"x": (2, 5, 6), "y": (4, 5, 6)}
    tensors = {name: ir.Tensor(name, shape, 0.5, 1) for name, shape in shapes.items()}
    plain = ir.Graph("g", 1, tensors, ops or (conv(),), ("x",), ("y",))
    return dataclasses.replace(plain, **changes)


SAME = {"x": (2, 5, 6), "y": (2, 5, 6)}
REFUSALS = [
    (graph(batch=0), "batch 0 must be at least 1"),
    (graph(shapes={"x": (2, 5), "y": (4, 5, 6)}), "tensor 'x' has shape"),
    (graph(shapes={"x": (2, 5, 6), "y": (4, 5, 7)}), r"'conv' produces \(4, 5, 6\), but 'y' is"),
    (graph(outputs=("z",)), "output 'z' is not produced"),
    (graph(inputs=()), "'conv' reads 'x', which nothing before it produces"),
    (graph(conv(), conv()), "two operations have the same name"),
    (graph(conv(), conv(name="again")), "'again' writes 'y', which is undeclared or already"),
    (graph(conv(groups=2)), r"weight \(4, 2, 3, 3\) in 2 groups does not match 2 input channels"),
    (graph(conv(weight=np.full((4, 2, 3, 3), -128, np.int8))), "weights must be int8 in -127..127"),
    (graph(conv(weight=np.ones((4, 2, 3, 3), np.int16))), "weights must be int8 in -127..127"),
    (graph(conv(bias=np.zeros(3, np.int32))), "must each have 4 entries"),
    (graph(conv(shift=np.array([1, 2, 55, 56]))), r"'conv': shifts must lie in 1\.\.55"),
    (graph(conv(shift=np.array([1, 2, 0, 3]))), r"'conv': shifts must lie in 1\.\.55"),
    (graph(ir.Table("t", "x", "y", np.zeros(255, np.int8)), shapes=SAME), "256 int8 entries"),
    (graph(ir.Flatten("f", "x", "y"), shapes=SAME), r"'f' produces \(60, 1, 1\)"),
    (graph(ir.Add("a", "x", "w", "y", 1, 1, 1), shapes={**SAME, "w": (2, 5, 5)},
           inputs=("x", "w")), r"adds shapes \(2, 5, 6\) and \(2, 5, 5\)"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "text"), REFUSALS, ids=lambda x: str(x)[:30])
def test_refusals(wrong, text):
    with pytest.raises(GraphError, match=text):
        ir.verify(wrong)


def test_a_max_pool_keeps_its_scale():
    pool = ir.MaxPool2d("pool", "x", "y", ir.Window((1, 1)))
    right = graph(pool, shapes=SAME)
    ir.verify(right)
    other = dataclasses.replace(right.tensors["y"], scale=0.25)
    wrong = dataclasses.replace(right, tensors={**right.tensors, "y": other})
    with pytest.raises(GraphError, match="'pool': input and output of a max pool must share"):
        ir.verify(wrong)


@pytest.mark.parametrize("change", [{"scale": 0.0}, {"zero_point": 128}, {"bits": 4}])
def test_tensors_are_int8_with_a_positive_scale(change):
    right = graph()
    other = dataclasses.replace(right.tensors["x"], **change)
    with pytest.raises(GraphError, match="tensor 'x': scale"):
        ir.verify(dataclasses.replace(right, tensors={**right.tensors, "x": other}))


@given(
    st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(9, 20)
)
def test_window_sizes_are_torchs(kernel, stride, padding, dilation, size):
    if dilation * (kernel - 1) + 1 > size + 2 * padding:
        return
    window = ir.Window((kernel, 1), (stride, 1), (padding, padding, 0, 0), (dilation, 1))
    out = torch.nn.functional.conv2d(
        torch.zeros(1, 1, size, 3),
        torch.zeros(1, 1, kernel, 1),
        stride=(stride, 1),
        padding=(padding, 0),
        dilation=(dilation, 1),
    )
    assert window.output_size(size, 3) == tuple(out.shape[2:])


def test_channels_round_twice_where_two_shifts_are_left():
    shift = np.array([23, 24, 25, 40])
    assert conv(shift=shift).twice_channels.tolist() == [False] * 4
    assert conv(shift=shift, twice=True).twice_channels.tolist() == [False, False, True, True]


def test_macs_and_neighbours():
    plain = graph()
    assert ir.macs(plain, plain.ops[0]) == 4 * 2 * 9 * 30
    assert plain.producer("y") is plain.ops[0]
    assert plain.producer("x") is None
    assert plain.consumers("x") == plain.ops
    assert ir.op_inputs(ir.Add("a", "x", "w", "y", 1, 1, 1)) == ("x", "w")
    pool = graph(ir.MaxPool2d("pool", "x", "y", ir.Window((1, 1))), shapes=SAME)
    assert ir.macs(pool, pool.ops[0]) == 0
