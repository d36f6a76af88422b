"""Rewrites of the float network, each small and pure; ``simplify`` runs them with a verification
after each.

Afterwards only Conv2d, MaxPool2d, AvgPool2d, Add, Unary, Flatten and Upsample are left: the
operations of ``codesign.ir``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from codesign.frontend.network import (
    AvgPool2d,
    BatchNorm,
    Clamp,
    Clamping,
    Conv2d,
    Flatten,
    FloatArray,
    Identity,
    Linear,
    MaxPool2d,
    Network,
    Op,
    Pad,
    Unary,
    Upsample,
    op_inputs,
    output_shape,
    rename_inputs,
    verify,
)
from codesign.ir import Pair, Window

Pass = Callable[[Network], Network]


def drop_identities(network: Network) -> Network:
    """Let readers of an identity's (or a 1 by 1 map's flatten's) output read its input."""
    source: dict[str, str] = {}
    ops = []
    for op in network.ops:
        op = rename_inputs(op, source)
        flat = isinstance(op, Flatten) and network.shapes[op.x][1:] == (1, 1)
        if flat or isinstance(op, Identity):
            source[op.y] = op_inputs(op)[0]
        else:
            ops.append(op)
    outputs = tuple(source.get(name, name) for name in network.outputs)
    return dataclasses.replace(network, ops=tuple(ops), outputs=outputs)


def sink_flattens(network: Network) -> Network:
    """Move a flatten, or upsampling, behind the pointwise functions that read it, so that these
    meet their producers, on fewer pixels.
    """
    for index, op in enumerate(network.ops):
        flatten = network.producer(op.x) if isinstance(op, Clamp | Unary) else None
        if (
            isinstance(op, Clamp | Unary)
            and isinstance(flatten, Flatten | Upsample)
            and network.uses(op.x) == 1
        ):
            ops = list(network.ops)
            computed = f"{op.y}:{flatten.x}"  # another map than flatten.y
            ops[ops.index(flatten)] = dataclasses.replace(op, x=flatten.x, y=computed)
            ops[index] = dataclasses.replace(flatten, x=computed, y=op.y)
            shapes = {**network.shapes, computed: network.shapes[flatten.x]}
            return sink_flattens(dataclasses.replace(network, ops=tuple(ops), shapes=shapes))
    return network


def linear_to_conv(network: Network) -> Network:
    """A linear layer is a convolution of a 1 by 1 map; one behind a flatten convolves the whole map
    with no padding.

    The latter needs no flattened copy: weight [O, C*H*W] in C, H, W order is a kernel [O, C, H, W].
    """
    ops: list[Op] = []
    for op in network.ops:
        if isinstance(op, Linear):
            flatten = network.producer(op.x)
            x = flatten.x if isinstance(flatten, Flatten) else op.x
            channels, height, width = network.shapes[x]
            weight = op.weight.reshape(-1, channels, height, width)
            op = Conv2d(op.name, x, op.y, weight, op.bias, Window((height, width)))
        ops.append(op)
    return dataclasses.replace(network, ops=tuple(ops))


def fold_pads(network: Network) -> Network:
    """Zero padding joins the window of convolutions and average pools; before anything else it is a
    1 by 1 pool.
    """
    pads = {op.y: op for op in network.ops if isinstance(op, Pad)}
    ops: list[Op] = []
    for op in network.ops:
        if isinstance(op, Pad):
            op = AvgPool2d(op.name, op.x, op.y, Window((1, 1), padding=op.padding))
        elif isinstance(op, Conv2d | AvgPool2d) and op.x in pads:
            pad = pads[op.x]
            apart_y, apart_x = op.window.base_dilation
            top, bottom, left, right = (
                pixels * apart + own
                for pixels, apart, own in zip(
                    pad.padding,
                    (apart_y, apart_y, apart_x, apart_x),
                    op.window.padding,
                    strict=True,
                )
            )
            window = dataclasses.replace(op.window, padding=(top, bottom, left, right))
            if isinstance(op, AvgPool2d) and op.counted is not None:
                a, b, c, d = (x + y for x, y in zip(pad.padding, op.counted, strict=True))
                op = dataclasses.replace(op, counted=(a, b, c, d))
            op = dataclasses.replace(op, x=pad.x, window=window)
        ops.append(op)
    return dataclasses.replace(network, ops=tuple(ops))


def fold_batch_norms(network: Network) -> Network:
    """Scale the weights of a convolution by the batch normalisation that alone reads it; others
    become depthwise.
    """
    ops: dict[str, Op] = {}  # by what they write
    for op in network.ops:
        if isinstance(op, BatchNorm):
            conv = ops.get(op.x)
            if isinstance(conv, Conv2d) and network.uses(op.x) == 1 and _unclamped(conv):
                del ops[op.x]
                weight = conv.weight * op.factor[:, None, None, None]
                bias = conv.bias * op.factor + op.offset
                op = dataclasses.replace(conv, y=op.y, weight=weight, bias=bias)
            else:
                weight = op.factor[:, None, None, None]
                op = Conv2d(op.name, op.x, op.y, weight, op.offset, Window((1, 1)), len(op.factor))
        ops[op.y] = op
    return dataclasses.replace(network, ops=tuple(ops.values()))


def hoist_clamps(network: Network) -> Network:
    """Clamp before a max pool rather than behind it (both are monotone), where the pool alone reads
    its input.
    """
    ops = list(network.ops)
    for index, op in enumerate(ops):
        pool = next((o for o in ops[:index] if isinstance(op, Clamp) and o.y == op.x), None)
        if isinstance(op, Clamp) and isinstance(pool, MaxPool2d):
            producer = network.producer(pool.x)
            if network.uses(op.x) == network.uses(pool.x) == 1 and isinstance(producer, Clamping):
                place, clamped = ops.index(pool), f"{op.y}:{pool.x}"  # another map than pool.y
                ops[place], ops[index] = (
                    dataclasses.replace(op, x=pool.x, y=clamped),
                    dataclasses.replace(pool, x=clamped, y=op.y),
                )
                shapes = {**network.shapes, clamped: network.shapes[pool.x]}
                return hoist_clamps(dataclasses.replace(network, ops=tuple(ops), shapes=shapes))
    return network


def fuse_clamps(network: Network) -> Network:
    """Join a clamp to the operation before it where it alone reads that; else it is a Unary."""
    ops: dict[str, Op] = {}
    for op in network.ops:
        if isinstance(op, Clamp):
            producer = ops.get(op.x)
            if isinstance(producer, Clamping) and network.uses(op.x) == 1:
                del ops[op.x]
                low, high = _both_clamps(producer, op)
                op = dataclasses.replace(producer, y=op.y, low=low, high=high)
            else:
                op = Unary(op.name, op.x, op.y, functools.partial(_clip, op.low, op.high))
        ops[op.y] = op
    return dataclasses.replace(network, ops=tuple(ops.values()))


def fold_selections(network: Network) -> Network:
    """A convolution that only picks channels (``codesign.frontend.channels``) joins the one before
    it where it alone reads that: its rows are picked, others are zero.
    """
    ops: dict[str, Op] = {}
    for op in network.ops:
        producer = ops.get(op.x) if isinstance(op, Conv2d) else None
        if (
            isinstance(op, Conv2d)
            and isinstance(producer, Conv2d)
            and producer.groups == 1
            and producer.low <= 0 <= producer.high  # what is zero stays so
            and network.uses(op.x) == 1
        ):
            rows = _picked(op)
            if rows is not None:
                del ops[op.x]
                op = _with_rows(producer, op, rows)
        ops[op.y] = op
    return dataclasses.replace(network, ops=tuple(ops.values()))


def merge_unaries(network: Network) -> Network:
    """Two unary functions in a row are one, where nothing else reads the value between them."""
    ops: dict[str, Op] = {}
    for op in network.ops:
        if isinstance(op, Unary):
            first = ops.get(op.x)
            if isinstance(first, Unary) and network.uses(op.x) == 1:
                del ops[op.x]
                op = dataclasses.replace(
                    op, x=first.x, function=functools.partial(_chain, first, op)
                )
        ops[op.y] = op
    return dataclasses.replace(network, ops=tuple(ops.values()))


def normalise_strides(network: Network) -> Network:
    """Where a window has a single position along an axis, its stride there says nothing: take the
    other axis' or 1.
    """
    return dataclasses.replace(
        network, ops=tuple(_normalise_stride(op, network) for op in network.ops)
    )


def remove_dead(network: Network) -> Network:
    """Remove operations and tensors that no output depends on."""
    live = set(network.outputs)
    ops: list[Op] = []
    for op in reversed(network.ops):
        if op.y in live:
            ops.append(op)
            live.update(op_inputs(op))
    live.update(network.inputs)
    shapes = {name: shape for name, shape in network.shapes.items() if name in live}
    return dataclasses.replace(network, ops=tuple(reversed(ops)), shapes=shapes)


PASSES: tuple[Pass, ...] = (
    drop_identities,
    remove_dead,
    sink_flattens,
    linear_to_conv,
    fold_pads,
    remove_dead,
    fold_batch_norms,
    hoist_clamps,
    fuse_clamps,
    fold_selections,
    merge_unaries,
    normalise_strides,
    remove_dead,
)


FOR_GIVEN_WEIGHTS = tuple(one for one in PASSES if one is not fold_selections)
"""Those that leave a convolution its output channels, for networks whose weights are codes."""


def simplify(network: Network, passes: Iterable[Pass] = PASSES) -> Network:
    """Run the passes in order, verifying the network before and after each."""
    verify(network)
    for one in passes:
        network = one(network)
        verify(network)
    return network


def _picked(op: Conv2d) -> npt.NDArray[np.int64] | None:
    """The input channel of each output channel, -1 where it is zero; None where it is more."""
    plain = op.groups == 1 and op.window == Window((1, 1)) and not op.bias.any()
    factors = op.weight[:, :, 0, 0]
    if not plain or not np.isin(factors, (0, 1)).all() or (factors.sum(axis=1) > 1).any():
        return None
    return np.where(factors.any(axis=1), factors.argmax(axis=1), -1)


def _with_rows(conv: Conv2d, picking: Conv2d, rows: npt.NDArray[np.int64]) -> Conv2d:
    live = rows >= 0
    weight = np.where(live[:, None, None, None], conv.weight[rows], 0).astype(np.float32)
    bias = np.where(live, conv.bias[rows], 0).astype(np.float32)
    low, high = _both_clamps(conv, picking)
    return dataclasses.replace(conv, y=picking.y, weight=weight, bias=bias, low=low, high=high)


def _both_clamps(first: Clamping, second: Clamping | Clamp) -> tuple[float, float]:
    """The clamp of one behind the other."""
    return (
        min(max(first.low, second.low), second.high),
        min(max(first.high, second.low), second.high),
    )


def _unclamped(op: Clamping) -> bool:
    return op.low == -math.inf and op.high == math.inf


def _clip(low: float, high: float, x: FloatArray) -> FloatArray:
    return np.clip(x, low, high).astype(np.float32)


def _chain(first: Unary, second: Unary, x: FloatArray) -> FloatArray:
    return second.function(first.function(x))


def _normalise_stride(op: Op, network: Network) -> Op:
    if not isinstance(op, Conv2d | MaxPool2d | AvgPool2d):
        return op
    _, height, width = network.shapes[op.x]
    single = [
        extent == 1
        for extent in dataclasses.replace(op.window, stride=(1, 1)).output_size(height, width)
    ]
    stride: Pair = op.window.stride
    if all(single):
        stride = (1, 1)
    elif any(single):
        kept = stride[1] if single[0] else stride[0]
        stride = (kept, kept)
    changed = dataclasses.replace(op, window=dataclasses.replace(op.window, stride=stride))
    return changed if output_shape(changed, network.shapes) == network.shapes[op.y] else op
