"""Pointwise functions of one tensor, over however many nodes, become one unary operation.

The ATen operators themselves are evaluated, so that any of them works.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.torch_scope import Scope

aten = torch.ops.aten


_TYPES = {torch.float32, torch.float64, torch.float16, torch.bool, torch.int32, torch.int64}
"""What may lie between nodes of one function (masks, say); its result is float32."""


def pointwise(scope: Scope, node: Node, sources: list[Node]) -> net.Op:
    """A function of one tensor over any number of nodes, a sum of two, or per-channel constants."""
    dtype = node.meta["val"].dtype
    if dtype not in _TYPES:
        raise scope.unsupported(node, f"it makes {dtype}; the network must stay in float32")
    constants = [source for source in node.all_input_nodes if source in scope.constants]
    if any(scope.constants[source].numel() != 1 for source in constants):
        return _affine(scope, node, sources)
    root = _common_root(scope, [scope.names[source] for source in sources])
    if root is None:
        return _add(scope, node, sources)
    if dtype != torch.float32:
        scope.not_real[node.name] = dtype
    function = functools.partial(_evaluate, node.target, _template(scope, node, root))
    return net.Unary(scope.name(node), root, node.name, function)


def _add(scope: Scope, node: Node, sources: list[Node]) -> net.Op:
    if node.target not in (aten.add.Tensor, aten.sub.Tensor) or len(sources) != 2:
        raise scope.unsupported(node, "of two different tensors only add and sub are accepted")
    alpha = float(scope.argument(node, 2, "alpha", 1.0))
    a, b = scope.tensor(node, 0, "input"), scope.tensor(node, 1, "other")
    if scope.shapes[a] != scope.shapes[b]:
        raise scope.unsupported(
            node, f"it broadcasts {scope.shapes[a]} with {scope.shapes[b]}; make them equal"
        )
    factor = alpha if node.target is aten.add.Tensor else -alpha
    return net.Add(scope.name(node), a, b, node.name, 1.0, factor)


def _affine(scope: Scope, node: Node, sources: list[Node]) -> net.Op:
    """Arithmetic with one constant per channel."""
    first = node.args[0] in scope.names
    target: Any = node.target
    accepted = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor}
    accepted |= {aten.div.Tensor} if first else set()
    if target not in accepted or len(sources) != 1 or node.kwargs:
        raise scope.unsupported(node, "with constants only add, sub, mul and div are accepted")
    x = scope.tensor(node, 0 if first else 1, "input")
    constant = scope.required(node, 1 if first else 0, "other")
    channels = scope.shapes[x][0]
    rank = node.meta["val"].dim()
    shape = (1, channels, *(1,) * (rank - 2))
    if (*(1,) * (rank - constant.ndim), *constant.shape) != shape:
        raise scope.unsupported(
            node, f"its constant has shape {constant.shape}; one element, or {shape}, is accepted"
        )
    factor, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if target is aten.mul.Tensor:
        factor = constant.reshape(-1)
    elif target is aten.div.Tensor:
        factor = 1.0 / constant.reshape(-1)
    elif target is aten.add.Tensor:
        offset = constant.reshape(-1)
    else:
        factor, offset = (
            (factor, -constant.reshape(-1)) if first else (-factor, constant.reshape(-1))
        )
    return net.BatchNorm(scope.name(node), x, node.name, factor, offset)


def _common_root(scope: Scope, names: list[str]) -> str | None:
    """The nearest real tensor of which all are pointwise functions."""
    chains = [_chain(scope, name) for name in names]
    return next(
        (
            name
            for name in chains[0]
            if name not in scope.not_real and all(name in chain for chain in chains)
        ),
        None,
    )


def _chain(scope: Scope, name: str) -> list[str]:
    """A tensor and those that it is a pointwise function of, nearest first."""
    chain = [name]
    while isinstance(op := scope.ops.get(chain[-1]), net.Unary | net.Clamp | net.Identity):
        chain.append(op.x)
    return chain


def _template(scope: Scope, node: Node, root: str) -> tuple[Any, Any]:
    """The node's arguments with tensors replaced by their functions of ``root``."""

    def replace(source: Node) -> Any:
        if source in scope.constants:
            return scope.constants[source].reshape(())
        if source not in scope.names:
            raise scope.unsupported(node, f"its argument {source.name!r} is a dynamic size")
        chain = _chain(scope, scope.names[source])
        return Steps(tuple(scope.ops[name] for name in reversed(chain[: chain.index(root)])))

    return torch.fx.node.map_arg((node.args, node.kwargs), replace)


class Steps:
    """Pointwise operations from a root to an argument."""

    def __init__(self, ops: tuple[net.Op, ...]) -> None:
        self._ops = ops

    def __call__(self, x: FloatArray) -> FloatArray:
        for op in self._ops:
            if isinstance(op, net.Clamp):
                x = np.clip(x, op.low, op.high).astype(np.float32)
            elif isinstance(op, net.Unary):
                x = op.function(x)
        return x


def _evaluate(target: Any, template: tuple[Any, Any], x: FloatArray) -> FloatArray:
    """The ATen operator itself on ``x``."""

    def fill(value: Any) -> Any:
        if isinstance(value, Steps):
            return torch.from_numpy(np.ascontiguousarray(value(x)))
        return (
            type(value)(fill(item) for item in value) if isinstance(value, tuple | list) else value
        )

    args, kwargs = template
    with torch.no_grad():
        result = target(
            *(fill(arg) for arg in args), **{key: fill(arg) for key, arg in kwargs.items()}
        )
    return np.asarray(result.numpy())
