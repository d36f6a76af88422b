"""Execution of the float network, in torch for speed: what calibration observes and quantised
results compare with.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from codesign.frontend import network as net
from codesign.ir import Window, counts

Values = dict[str, npt.NDArray[np.float32]]


def execute(network: net.Network, inputs: npt.NDArray[np.float32]) -> Values:
    """Every tensor [B, C, H, W] of the network for a batch of its one input [B, C, H, W]."""
    shape = network.shapes[network.inputs[0]]
    inputs = np.ascontiguousarray(inputs, np.float32)
    if inputs.shape[1:] == shape[:1] and shape[1:] == (1, 1):
        inputs = inputs[:, :, None, None]
    if inputs.shape[1:] != shape:
        raise ValueError(
            f"inputs have shape {inputs.shape}; the network takes [B, {', '.join(map(str, shape))}]"
        )
    values = {network.inputs[0]: torch.from_numpy(inputs)}
    with torch.no_grad():
        for op in network.ops:
            values[op.y] = compute(op, *(values[name] for name in net.op_inputs(op)))
    return {name: value.numpy() for name, value in values.items()}


def run(network: net.Network, inputs: npt.NDArray[np.float32], chunk: int = 64) -> Values:
    """The outputs alone, computed ``chunk`` samples at a time."""
    parts = [
        execute(network, inputs[start : start + chunk]) for start in range(0, len(inputs), chunk)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in network.outputs}


def compute(op: net.Op, *x: torch.Tensor) -> torch.Tensor:
    """What the operation makes of its inputs, each [B, C, H, W]."""
    if isinstance(op, net.Conv2d | net.AvgPool2d | net.Add):
        return linear_part(op, *x).clamp(op.low, op.high)
    return _rest(op, x[0])


def linear_part(
    op: net.Clamping, x: torch.Tensor, other: torch.Tensor | None = None
) -> torch.Tensor:
    """``compute`` before the clamp."""
    if isinstance(op, net.Conv2d):
        weight, bias = torch.from_numpy(op.weight), torch.tensor(op.bias)
        return convolved(x, weight, bias, op.window, op.groups)
    if isinstance(op, net.AvgPool2d):
        window, kernel, groups = op.window, op.window.kernel, x.shape[1]
        ones = torch.full((groups, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        mean = functional.conv2d(
            pad(x, window, 0.0), ones, None, window.stride, 0, window.dilation, groups
        )
        if op.counted is None:
            return mean
        _, channels, height, width = x.shape
        count = torch.from_numpy(counts(op.window, op.counted, (channels, height, width)))
        return mean * (kernel[0] * kernel[1] / count.clamp(min=1)).to(mean.dtype)
    assert other is not None
    return op.a_factor * x + op.b_factor * other


def convolved(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, window: Window, groups: int
) -> torch.Tensor:
    """Sums of a convolution with zero padding; even padding costs no copy."""
    top, bottom, left, right = window.padding
    stride, dilation = window.stride, window.dilation
    if (top, left) == (bottom, right) and window.base_dilation == (1, 1):
        return functional.conv2d(x, weight, bias, stride, (top, left), dilation, groups)
    spread = pad(x, window, 0.0)
    return functional.conv2d(spread, weight, bias, stride, 0, dilation, groups)


def _rest(op: net.Op, x: torch.Tensor) -> torch.Tensor:
    if isinstance(op, net.MaxPool2d):
        window = op.window
        padded = pad(x, window, -math.inf)
        return functional.max_pool2d(padded, window.kernel, window.stride, 0, window.dilation)
    if isinstance(op, net.Linear):
        return functional.linear(x.flatten(1), torch.from_numpy(op.weight), torch.tensor(op.bias))[
            :, :, None, None
        ]
    if isinstance(op, net.BatchNorm):
        return x * torch.tensor(op.factor)[:, None, None] + torch.tensor(op.offset)[:, None, None]
    if isinstance(op, net.Pad):
        return pad(x, Window((1, 1), padding=op.padding), 0.0)
    if isinstance(op, net.Clamp):
        return x.clamp(op.low, op.high)
    if isinstance(op, net.Upsample):
        y, x_factor = op.factor
        return x.repeat_interleave(y, dim=2).repeat_interleave(x_factor, dim=3)
    if isinstance(op, net.Unary):
        return torch.from_numpy(op.function(x.numpy()))
    return x.reshape(len(x), -1, 1, 1) if isinstance(op, net.Flatten) else x


def pad(x: torch.Tensor, window: Window, value: float) -> torch.Tensor:
    """The map spread as the window's ``base_dilation`` says, with its padding around it."""
    top, bottom, left, right = window.padding
    if window.base_dilation != (1, 1):
        apart_y, apart_x = window.base_dilation
        batch, channels, height, width = x.shape
        size = (batch, channels, apart_y * (height - 1) + 1, apart_x * (width - 1) + 1)
        spread = torch.full(size, value)
        spread[:, :, ::apart_y, ::apart_x] = x
        x = spread
    return functional.pad(x, (left, right, top, bottom), value=value) if any(window.padding) else x
