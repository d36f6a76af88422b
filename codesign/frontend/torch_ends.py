"""A softmax or an argmax over channels at a network's very end is the host's."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from codesign.frontend import network as net
from codesign.frontend.torch_scope import Scope

aten = torch.ops.aten
KINDS: dict[Any, str] = {aten._softmax.default: "softmax", aten.argmax.default: "argmax"}
"""Operator -> the host's step."""
_LAST = "it must be the last operation of the network, which the host does: leave out what follows"


def step(scope: Scope, node: Node) -> None:
    """Note a step of the host, perhaps behind another."""
    source = node.all_input_nodes[0]
    rank = source.meta["val"].dim()
    axis = scope.argument(node, 1, "dim", None)
    if axis is None or int(axis) % rank != 1:
        raise scope.unsupported(node, f"it is over axis {axis} of {rank}; axis 1 is accepted")
    if source in scope.host:
        tensor, before = scope.host[source]
        if before[-1] != "softmax" or KINDS[node.target] != "argmax":
            raise scope.unsupported(node, _LAST)
    else:
        tensor, before = scope.tensor(node, 0, "self"), ()
        if _flattened(scope, tensor):
            raise scope.unsupported(
                node, "it is over a flattened map; pool it to 1x1, or end with a linear layer"
            )
    scope.host[node] = (tensor, (*before, KINDS[node.target]))


def refuse_readers(scope: Scope, node: Node) -> None:
    """Nothing but the network's end, or another step, reads what the host computes."""
    for source in node.all_input_nodes:
        if source in scope.host and node.target not in KINDS:
            raise scope.unsupported(source, _LAST)


def _flattened(scope: Scope, tensor: str) -> bool:
    """Whether a tensor is, or is pointwise made of, a flattened map: it lies in memory as one."""
    op = scope.ops.get(tensor)
    if isinstance(op, net.Flatten):
        return scope.shapes[op.x][1:] != (1, 1)
    if isinstance(op, net.Unary | net.Clamp | net.Identity | net.Add):
        return any(_flattened(scope, x) for x in net.op_inputs(op))
    return False
