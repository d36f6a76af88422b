"""A float network as a torch module: any that a frontend made, with weights that can be trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from codesign.frontend import network as net
from codesign.quant.execute import compute, convolved

_STEP = 2.0**-8
"""Of the difference quotients of functions that are known by their values alone."""


class Trainable(nn.Module):
    """Maps [B, C, H, W] of the network's input -> its first output, [B, C, H, W].

    Weights, biases, factors and offsets are parameters; weights that are zero stay zero. Clamps are
    those of the network; functions known by their values alone are differentiated by differences.
    """

    def __init__(self, network: net.Network) -> None:
        super().__init__()
        self.source = network
        self.values, self.masks = nn.ParameterDict(), nn.Module()
        for index, op in enumerate(network.ops):
            for name in _parameters(op):
                array = torch.from_numpy(getattr(op, name).copy())
                self.values[f"{name}{index}"] = nn.Parameter(array)
                if name == "weight" and (array == 0).any():
                    self.masks.register_buffer(f"{name}{index}", (array != 0).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first output of a batch."""
        (source,) = self.source.inputs
        values = {source: x}
        for index, op in enumerate(self.source.ops):
            inputs = [values[name] for name in net.op_inputs(op)]
            values[op.y] = self._compute(index, op, *inputs)
        return values[self.source.outputs[0]]

    def network(self) -> net.Network:
        """The network with the weights as they are now."""
        ops = []
        for index, op in enumerate(self.source.ops):
            arrays = {
                name: self._value(name, index).detach().numpy().copy() for name in _parameters(op)
            }
            ops.append(dataclasses.replace(op, **arrays) if arrays else op)
        return dataclasses.replace(self.source, ops=tuple(ops))

    def _value(self, name: str, index: int) -> torch.Tensor:
        value: torch.Tensor = self.values[f"{name}{index}"]
        mask = getattr(self.masks, f"{name}{index}", None)
        return value if mask is None else value * mask

    def _compute(self, index: int, op: net.Op, *x: torch.Tensor) -> torch.Tensor:
        if isinstance(op, net.Conv2d):
            weight, bias = self._value("weight", index), self._value("bias", index)
            return convolved(x[0], weight, bias, op.window, op.groups).clamp(op.low, op.high)
        if isinstance(op, net.Linear):
            weight, bias = self._value("weight", index), self._value("bias", index)
            return functional.linear(x[0].flatten(1), weight, bias)[:, :, None, None]
        if isinstance(op, net.BatchNorm):
            factor, offset = self._value("factor", index), self._value("offset", index)
            return x[0] * factor[:, None, None] + offset[:, None, None]
        if isinstance(op, net.Unary):
            found: torch.Tensor = _Differences.apply(x[0], op.function)  # type: ignore[no-untyped-call]
            return found
        return compute(op, *x)


def _parameters(op: net.Op) -> tuple[str, ...]:
    if isinstance(op, net.Conv2d | net.Linear):
        return ("weight", "bias")
    return ("factor", "offset") if isinstance(op, net.BatchNorm) else ()


class _Differences(torch.autograd.Function):
    """A function of numpy arrays, and its central difference quotient."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, function: Callable[[net.FloatArray], net.FloatArray]
    ) -> torch.Tensor:
        values: net.FloatArray = x.detach().numpy()
        step = np.float32(_STEP)
        above, below = function(values + step), function(values - step)
        ctx.save_for_backward(torch.from_numpy((above - below) / (2 * step)))
        return torch.from_numpy(function(values))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None
