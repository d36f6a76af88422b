"""Pointwise functions of one tensor, over however many nodes, become one unary operation.

The ATen operators themselves are evaluated, so that any of them works.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.torch_scope import Scope

aten = torch.ops.aten


def pointwise(scope: Scope, node: Node, sources: list[Node]) -> net.Op:
    """A function of one tensor, possibly over several nodes, or the sum or difference of two."""
    scope.check_dtype(node)
    target: Any = node.target
    for source in node.all_input_nodes:
        if source in scope.constants and scope.constants[source].numel() != 1:
            shape = tuple(scope.constants[source].shape)
            raise scope.unsupported(
                node, f"its constant has shape {shape}; constants of one element are accepted"
            )
    names = [scope.names[source] for source in sources]
    root = _common_root(scope, names)
    if root is not None:
        function = functools.partial(_evaluate, target, _template(scope, node, root))
        return net.Unary(scope.name(node), root, node.name, function)
    if target in (aten.add.Tensor, aten.sub.Tensor) and len(sources) == 2:
        alpha = float(scope.argument(node, 2, "alpha", 1.0))
        factor = alpha if target is aten.add.Tensor else -alpha
        a, b = scope.tensor(node, 0, "input"), scope.tensor(node, 1, "other")
        if scope.shapes[a] != scope.shapes[b]:
            raise scope.unsupported(
                node, f"it broadcasts {scope.shapes[a]} with {scope.shapes[b]}; make them equal"
            )
        return net.Add(scope.name(node), a, b, node.name, 1.0, factor)
    raise scope.unsupported(node, "of two different tensors only add and sub are accepted")


def _common_root(scope: Scope, names: list[str]) -> str | None:
    """The nearest tensor of which all are pointwise functions."""
    chains = [_chain(scope, name) for name in names]
    return next((name for name in chains[0] if all(name in chain for chain in chains)), None)


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


def _evaluate(target: Callable[..., Any], template: tuple[Any, Any], x: FloatArray) -> FloatArray:
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
    return np.asarray(result.numpy(), np.float32)
