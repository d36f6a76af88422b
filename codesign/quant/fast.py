"""int8 accuracy over many images: bit for bit the graph reference's, at many times its speed.

Sums of products are torch's float32 convolutions wherever every partial sum stays an integer below
2**24, which float32 holds exactly in any order of summation; requantisation is float64 wherever its
integers stay below 2**53. Bounds are worked out for each operation from its own weights; where one
does not hold, the reference computes that operation. Algorithms that do not merely add products
(NNPACK's Winograd and Fourier transforms) are switched off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from codesign import ir
from codesign.arith import INT8_MAX, INT8_MIN, TWICE_SHIFT
from codesign.quant.accuracy import accuracy
from codesign.quant.execute import convolved, pad
from codesign.quant.values import Coding
from codesign.reference import graph as reference

_FLOAT32, _FLOAT64, _ACCUMULATOR = 1 << 24, 1 << 53, 1 << 31
"""Below them, float32 and float64 hold every integer, and an accumulator every sum."""
_CHUNK = 32
"""Images at a time: their maps stay in a core's cache."""

Int8Array = npt.NDArray[np.int8]
Maps = Callable[..., torch.Tensor]
"""From the centred values, q - zero_point, of what an operation reads to those that it makes, both
float32 [B, C, H, W]."""


def evaluate(
    graph: ir.Graph, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]
) -> float:
    """Share of ``images`` [K, C, H, W] whose largest output is the label's (``accuracy``).

    Raises
    ------
    ValueError
        The graph has more than one input or output, or the images another shape.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"graph {graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} "
            "outputs; accuracy is that of one of each"
        )
    source = graph.tensors[graph.inputs[0]]
    coding = Coding(source.scale, source.zero_point)
    found = run(graph, {source.name: coding.encode(images)})
    return accuracy(found[graph.outputs[0]], labels)


def run(graph: ir.Graph, inputs: Mapping[str, Int8Array]) -> dict[str, Int8Array]:
    """The graph's outputs, int8 [K, C, H, W] each, for inputs [K, C, H, W] of any number K: those
    of ``reference.graph.run``.

    Raises
    ------
    TypeError, ValueError
        An input is not int8, not of its tensor's shape, or there is no sample.
    """
    ir.verify(graph)
    for name in graph.inputs:
        x, shape = inputs[name], graph.tensors[name].shape
        if x.dtype != np.int8:
            raise TypeError(f"input {name!r} has type {x.dtype}; quantise it to int8")
        if x.shape[1:] != shape or not len(x):
            raise ValueError(
                f"input {name!r} has shape {x.shape}; graph {graph.name!r} takes "
                f"[K, {', '.join(map(str, shape))}], K of 1 or more"
            )
    steps = [step(graph, op) for op in graph.ops]
    count = len(inputs[graph.inputs[0]])
    parts = []
    with torch.no_grad(), torch.backends.nnpack.flags(enabled=False):
        for start in range(0, count, _CHUNK):
            values = {
                name: _centred(graph.tensors[name], inputs[name][start : start + _CHUNK])
                for name in graph.inputs
            }
            for at in steps:
                values[at.y] = at.compute(*(values[name] for name in at.x))
                for name in at.last:
                    del values[name]
            parts.append([_codes(graph.tensors[name], values[name]) for name in graph.outputs])
    return {
        name: np.concatenate(found)
        for name, found in zip(graph.outputs, zip(*parts, strict=True), strict=True)
    }


def _centred(tensor: ir.Tensor, codes: Int8Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(codes)).float() - tensor.zero_point


def _codes(tensor: ir.Tensor, values: torch.Tensor) -> Int8Array:
    codes: Int8Array = (values + tensor.zero_point).to(torch.int8).numpy()
    return codes


@dataclass(frozen=True)
class Step:
    """An operation, ready to be computed. ``last``: tensors that nothing later reads; ``slow``:
    whether the reference computes it."""

    x: tuple[str, ...]
    y: str
    compute: Maps
    last: tuple[str, ...]
    slow: bool


def step(graph: ir.Graph, op: ir.Op) -> Step:
    """How an operation of the graph is computed."""
    x = ir.op_inputs(op)
    later = graph.ops[graph.ops.index(op) + 1 :]
    needed = {name for one in later for name in ir.op_inputs(one)} | {*graph.outputs}
    last = tuple(name for name in dict.fromkeys(x) if name not in needed)
    fast = _maps(graph, op)
    compute = fast or partial(_by_reference, graph, op)
    return Step(x, op.y, compute, last, fast is None)


def _maps(graph: ir.Graph, op: ir.Op) -> Maps | None:
    """How torch computes the operation; None where a bound does not hold."""
    if isinstance(op, ir.Conv2d):
        return _conv(graph, op)
    if isinstance(op, ir.AvgPool2d):
        return _average(graph, op)
    if isinstance(op, ir.Add):
        return _add(graph, op)
    if isinstance(op, ir.Table):
        centred = op.table.astype(np.float32) - graph.tensors[op.y].zero_point
        first = graph.tensors[op.x].zero_point - INT8_MIN
        return partial(_table, torch.from_numpy(centred), first)
    if isinstance(op, ir.MaxPool2d):
        return partial(_maximum, op.window, float(INT8_MIN - graph.tensors[op.x].zero_point))
    if isinstance(op, ir.Upsample):
        return partial(_upsample, op.factor)
    return _flatten


def _conv(graph: ir.Graph, op: ir.Conv2d) -> Maps | None:
    largest = _largest(graph.tensors[op.x])
    sums = np.abs(op.weight.astype(np.int64)).reshape(len(op.weight), -1).sum(axis=1) * largest
    rescale = _rescaling(graph, op, op.multiplier, op.shift, op.bias, sums, op.twice_channels)
    parts = _parts(op, largest)
    if rescale is None or not parts:
        return None
    weights = [
        (at, torch.from_numpy(np.ascontiguousarray(op.weight[:, at], np.float32))) for at in parts
    ]
    if len(weights) == 1:
        return lambda x: rescale(convolved(x, weights[0][1], None, op.window, op.groups))
    return lambda x: rescale(
        torch.stack([convolved(x[:, at], w, None, op.window, 1).double() for at, w in weights]).sum(
            0
        )
    )


def _parts(op: ir.Conv2d, largest: int) -> list[slice]:
    """Input channels in parts whose sums float32 holds; none where a single channel's are too
    large, or the convolution is grouped."""
    by_input = np.abs(op.weight.astype(np.int64)).sum(axis=(2, 3)) * largest
    found, first, inputs = [], 0, by_input.shape[1]
    while first < inputs:
        over = (np.cumsum(by_input[:, first:], axis=1) >= _FLOAT32).any(axis=0)
        end = first + int(over.argmax()) if over.any() else inputs
        if end == first:
            return []
        found.append(slice(first, end))
        first = end
    return found if len(found) == 1 or op.groups == 1 else []


def _average(graph: ir.Graph, op: ir.AvgPool2d) -> Maps | None:
    count = ir.counts(op.window, op.counted, graph.tensors[op.x].shape)
    parts = [op.part(int(n)) for n in count.ravel()]
    multiplier, shift = np.array(parts, np.int64).T.reshape(2, 1, *count.shape)
    kernel = op.window.kernel
    sums = np.array(_largest(graph.tensors[op.x]) * kernel[0] * kernel[1])
    zero = np.zeros(1, np.int64)
    rescale = _rescaling(graph, op, multiplier, shift, zero, sums, np.zeros(1, bool))
    if rescale is None or sums >= _FLOAT32:
        return None
    channels = graph.tensors[op.x].shape[0]
    ones = torch.ones(channels, 1, *kernel)
    return lambda x: rescale(convolved(x, ones, None, op.window, channels))


def _rescaling(
    graph: ir.Graph,
    op: ir.Conv2d | ir.AvgPool2d,
    multiplier: npt.NDArray[np.integer],
    shift: npt.NDArray[np.integer],
    bias: npt.NDArray[np.integer],
    sums: npt.NDArray[np.int64],
    twice: npt.NDArray[np.bool_],
) -> Maps | None:
    """Requantisation of sums no larger than ``sums``, and the clamp; parameters are [C], or
    [1, H, W]. None where an integer might not fit."""
    largest = sums + np.abs(bias.astype(np.int64))
    product = largest * np.abs(multiplier.astype(np.int64))
    half = np.left_shift(np.int64(1), shift.astype(np.int64) - 1)
    if (largest >= _ACCUMULATOR).any() or (product >= _FLOAT64 - half).any():
        return None
    zero = graph.tensors[op.y].zero_point
    low, high = op.low - zero, op.high - zero
    shape = (-1, 1, 1) if multiplier.ndim == 1 else multiplier.shape
    first = np.where(twice, TWICE_SHIFT, shift)
    scale = multiplier * 0.5**first
    factor, offset = (
        torch.from_numpy(value.reshape(shape)) for value in (scale, bias * scale + 0.5)
    )
    if not twice.any():
        return lambda acc: _rounded(acc, factor, offset).clamp_(low, high).float()
    second = torch.from_numpy(np.where(twice, shift - TWICE_SHIFT, 0).reshape(shape))
    both = torch.from_numpy(twice.reshape(shape))

    def rescaled(acc: torch.Tensor) -> torch.Tensor:
        high_part = _rounded(acc, factor, offset)
        ties_away = (high_part * 0.5**second + 0.5 - (high_part < 0) * 0.5**second).floor_()
        return torch.where(both, ties_away, high_part).clamp_(low, high).float()

    return rescaled


def _rounded(acc: torch.Tensor, factor: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(offset, acc.double(), factor).floor_()


def _add(graph: ir.Graph, op: ir.Add) -> Maps | None:
    total = sum(
        _largest(graph.tensors[name]) * abs(multiplier)
        for name, multiplier in ((op.a, op.a_multiplier), (op.b, op.b_multiplier))
    )
    if total + (1 << op.shift - 1) >= _FLOAT64:
        return None
    zero = graph.tensors[op.y].zero_point
    low, high = op.low - zero, op.high - zero
    a_scale, b_scale = op.a_multiplier * 0.5**op.shift, op.b_multiplier * 0.5**op.shift

    def added(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        sums = a.double().mul_(a_scale).add_(b.double(), alpha=b_scale)
        return sums.add_(0.5).floor_().clamp_(low, high).float()

    return added


def _table(table: torch.Tensor, first: int, x: torch.Tensor) -> torch.Tensor:
    return table[(x + first).to(torch.int32)]


def _maximum(window: ir.Window, least: float, x: torch.Tensor) -> torch.Tensor:
    spread = pad(x, window, least)
    return functional.max_pool2d(spread, window.kernel, window.stride, 0, window.dilation)


def _upsample(factor: ir.Pair, x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(factor[0], dim=2).repeat_interleave(factor[1], dim=3)


def _flatten(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), -1, 1, 1)


def _largest(tensor: ir.Tensor) -> int:
    """Largest magnitude of a centred value."""
    return max(INT8_MAX - tensor.zero_point, tensor.zero_point - INT8_MIN)


def _by_reference(graph: ir.Graph, op: ir.Op, *x: torch.Tensor) -> torch.Tensor:
    """The operation as the reference computes it."""
    names = ir.op_inputs(op)
    inputs = {
        name: _codes(graph.tensors[name], value) for name, value in zip(names, x, strict=True)
    }
    alone = dataclasses.replace(
        graph, batch=len(x[0]), ops=(op,), inputs=tuple(inputs), outputs=(op.y,)
    )
    return _centred(graph.tensors[op.y], reference.run(alone, inputs)[op.y])
