"""What pruning took from a network's accuracy, won back without training: every convolution is
fitted to what it computed before.

Layer by layer, weights and bias minimise the squared distance from the unpruned network's sums on a
few hundred images, given what the pruned layers before really produce; weights that are zero stay
so. Y. He, X. Zhang, J. Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV
2017, fit the layer that reads what was pruned; here each is fitted, so that errors do not add up.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from codesign.frontend import network as net
from codesign.prune.channels import kept_by
from codesign.quant.execute import compute, linear_part, pad

_SAMPLES = 8192
"""Output pixels that a layer is fitted on; a kernel has hundreds of weights for each output."""
_RIDGE = 3e-3
"""Pull of the weights towards what they were, relative to the mean power of an input."""


def recalibrate(
    network: net.Network, reference: net.Network, images: net.FloatArray, seed: int = 0
) -> net.Network:
    """The pruned ``network`` with convolutions fitted to those of ``reference``.

    Parameters
    ----------
    network:
        ``reference`` after ``prune_channels``, ``prune_blocks`` or both; simplified.
    images:
        [K, C, H, W] of the training set; a few hundred are enough.
    seed:
        Of the pixels that are looked at.

    Raises
    ------
    ValueError
        ``network`` has not been pruned from ``reference``.
    """
    kept = kept_by(network, reference)
    (source,) = network.inputs
    random = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    now, before = {source: x}, {source: x}
    ops: list[net.Op] = []
    with torch.no_grad():
        for op, old in zip(network.ops, reference.ops, strict=True):
            inputs = [before[name] for name in net.op_inputs(old)]
            if isinstance(op, net.Conv2d) and isinstance(old, net.Conv2d) and _fits(op):
                wanted = linear_part(old, *inputs)[:, torch.from_numpy(kept[op.y])]
                op = _fitted(op, now[op.x], wanted, random)
            before[op.y] = compute(old, *inputs)
            now[op.y] = compute(op, *(now[name] for name in net.op_inputs(op)))
            ops.append(op)
    return dataclasses.replace(network, ops=tuple(ops))


def _fits(op: net.Conv2d) -> bool:
    """Whether the convolution is one that is fitted: dense, or depthwise; others stay as they
    are."""
    return op.groups == 1 or op.groups == op.weight.shape[0]


def _fitted(
    op: net.Conv2d, x: torch.Tensor, wanted: torch.Tensor, random: torch.Generator
) -> net.Conv2d:
    patches, targets = _samples(op, x, wanted, random)
    present = torch.from_numpy(op.weight).flatten(1).T.double()
    patches -= (mean := patches.mean(dim=0))
    targets -= (middle := targets.mean(dim=0))
    weight = torch.zeros_like(present)
    dense = (patches.T @ patches, patches.T @ targets) if op.groups == 1 else None
    for rows, columns, outputs in _problems(op):
        if dense is not None:
            gram, right = dense[0][columns][:, columns], dense[1][columns][:, outputs]
        else:
            inputs = patches[:, columns]
            gram, right = inputs.T @ inputs, inputs.T @ targets[:, outputs]
        pull = _RIDGE * float(gram.diagonal().mean()) + torch.finfo(torch.float32).tiny
        left = gram.double() + pull * torch.eye(len(gram), dtype=torch.float64)
        start = present[rows][:, outputs]
        weight[rows[:, None], outputs] = torch.linalg.solve(left, right.double() + pull * start)
    if op.groups == 1:
        means = weight.T @ mean.double()
    else:
        means = (weight * mean.double().reshape(op.groups, -1).T).sum(dim=0)
    return dataclasses.replace(
        op,
        weight=weight.T.reshape(op.weight.shape).float().contiguous().numpy(),
        bias=(middle.double() - means).float().numpy(),
    )


def _problems(op: net.Conv2d) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Least squares with one matrix: (rows of the weights [I*kh*kw, O], columns of the patches,
    outputs), for outputs that have the same weights left."""
    alive = torch.from_numpy(op.weight != 0).flatten(1)
    found = []
    if op.groups > 1:
        size = alive.shape[1]
        for output in range(len(alive)):
            rows = alive[output].nonzero().flatten()
            found.append((rows, rows + output * size, torch.tensor([output])))
        return [one for one in found if len(one[0])]
    patterns, which = torch.unique(alive, dim=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        rows = pattern.nonzero().flatten()
        if len(rows):
            found.append((rows, rows, (which == index).nonzero().flatten()))
    return found


def _samples(
    op: net.Conv2d, x: torch.Tensor, wanted: torch.Tensor, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the kernel meets [S, I*kh*kw] and should make [S, O], at random output pixels."""
    window = op.window
    count, outputs, height, width = wanted.shape
    each = min(height * width, -(-_SAMPLES // count))
    places = torch.stack(
        [torch.randperm(height * width, generator=random)[:each] for _ in range(count)]
    )
    y, left = places // width * window.stride[0], places % width * window.stride[1]
    maps = pad(x, window, 0.0)
    image = torch.arange(count)[:, None]
    parts = [
        maps[image, :, y + ky * window.dilation[0], left + kx * window.dilation[1]]
        for ky in range(window.kernel[0])
        for kx in range(window.kernel[1])
    ]  # each [count, each, I]
    patches = torch.stack(parts, dim=3).reshape(count * each, -1)
    targets = wanted.flatten(2)[image, :, places].reshape(count * each, outputs)
    return patches, targets
