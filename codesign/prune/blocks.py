"""Block pruning: M by N tap blocks of weights become zero, and the compiler drops their cycles.

A block is the weights of one kernel position, from one plane of M input channels to one block of N
outputs: what the array multiplies in a cycle. Every block of N outputs keeps the same number of
blocks (``codesign.cost.sparsity.kept_taps``), those of the largest L2 norm, whatever their place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from codesign.compiler.kernels import geometry
from codesign.cost.sparsity import kept_taps
from codesign.frontend import network as net

BoolArray = npt.NDArray[np.bool_]


def sparse_layers(network: net.Network) -> tuple[str, ...]:
    """Names of the layers whose tap blocks can be pruned, in order: the ungrouped convolutions of a
    simplified network, but those that ``refusal`` tells of."""
    return tuple(op.name for op in network.ops if not refusal(network, op))


def refusal(network: net.Network, op: net.Op) -> str:
    """Why an operation has no tap blocks to prune; empty where it has."""
    if isinstance(op, net.Linear):
        return "it is a linear layer that is no convolution yet: simplify the network first"
    if not isinstance(op, net.Conv2d):
        return f"it is a {type(op).__name__}, which has no weights"
    if op.groups > 1:
        return f"it convolves in {op.groups} groups"
    if op.window.base_dilation != (1, 1):
        return "it is a transposed convolution, whose phases share no taps"
    if isinstance(network.producer(op.x), net.Upsample):
        return "it reads an upsampled map, where kernel positions share taps"
    if op.x in network.inputs and op.window.kernel != (1, 1):
        return "it reads the input, where the host folds kernel positions into taps"
    return ""


def prune_blocks(
    network: net.Network, sparsity: Mapping[str, float], in_channels: int, out_channels: int
) -> net.Network:
    """The network with a share of the M by N tap blocks of the named layers zero.

    Parameters
    ----------
    network:
        A simplified one (``codesign.frontend.passes.simplify``): its convolutions are the
        program's.
    sparsity:
        Layer -> share of its tap blocks, in [0, 1]; of ``taps`` for a block of N outputs
        ``kept_taps(taps, share)`` stay.
    in_channels, out_channels:
        M and N of the array.

    Raises
    ------
    ValueError
        A name that is no layer of the network, one without tap blocks, or a share outside [0, 1].
    """
    ops = {op.name: op for op in network.ops}
    for name, share in sparsity.items():
        if name not in ops:
            raise ValueError(
                f"network {network.name!r} has no layer {name!r}; its tap blocks are those of "
                f"{', '.join(sparse_layers(network)) or 'none'}"
            )
        op = ops[name]
        reason = refusal(network, op)
        if reason and share:
            raise ValueError(f"layer {name!r} has no tap blocks to prune: {reason}; leave it out")
        if isinstance(op, net.Conv2d) and share:
            mask = block_mask(network, op, share, in_channels, out_channels)
            weight = np.where(mask, op.weight, 0).astype(np.float32)
            ops[name] = dataclasses.replace(op, weight=weight)
    return dataclasses.replace(network, ops=tuple(ops.values()))


def block_mask(
    network: net.Network, op: net.Conv2d, share: float, in_channels: int, out_channels: int
) -> BoolArray:
    """Which weights of a convolution stay, the shape of its kernel [O, I, kh, kw].

    Positions that meet nothing but padding are no taps, and go."""
    live = _live(network, op)
    norms = _block_norms(op.weight, in_channels, out_channels)
    norms[:, :, ~live] = -1.0
    blocks, planes = norms.shape[:2]
    taps = planes * int(live.sum())
    kept = int(kept_taps(taps, share))
    flat = norms.reshape(blocks, -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :kept]
    chosen = np.zeros(flat.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    outputs, inputs = op.weight.shape[:2]
    whole = chosen.reshape(norms.shape).repeat(out_channels, axis=0).repeat(in_channels, axis=1)
    return whole[:outputs, :inputs]


def _live(network: net.Network, op: net.Conv2d) -> BoolArray:
    """[kh, kw] kernel positions that ever meet the map: those that the compiler makes taps of."""
    source, target = network.shapes[op.x][1:], network.shapes[op.y][1:]
    at = geometry(op.name, op.window, source, target)
    live = np.zeros(op.window.kernel, bool)
    live[np.ix_(list(at.rows[0]), list(at.columns[0]))] = True
    return live


def _block_norms(
    weight: net.FloatArray, in_channels: int, out_channels: int
) -> npt.NDArray[np.float64]:
    """Squared L2 norms [ceil(O/N), ceil(I/M), kh, kw] of the tap blocks."""
    squares = weight.astype(np.float64) ** 2
    by_output = np.add.reduceat(squares, np.arange(0, weight.shape[0], out_channels), axis=0)
    starts = np.arange(0, weight.shape[1], in_channels)
    norms: npt.NDArray[np.float64] = np.add.reduceat(by_output, starts, axis=1)
    return norms
