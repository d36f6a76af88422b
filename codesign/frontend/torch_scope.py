"""What is known while a program is converted, and how operators read their arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.errors import UnsupportedOpError
from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.torch_place import operation_names, place
from codesign.ir import Shape


class Scope:
    """``names`` maps nodes to tensors of the network, ``constants`` those that depend on no input
    to values.

    ``ops``, ``shapes`` and ``not_real`` (types of tensors that are not float32) are by tensor,
    ``origin`` by operation, ``coded_as`` is the network's; ``parts`` are the tensors of nodes with
    several results; ``host`` maps nodes that the host computes to a tensor and the steps
    behind it; ``batch`` is the example's, a number or a symbol.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.op_names = operation_names(nodes)
        self.constants: dict[Node, Any] = {}
        self.names: dict[Node, str] = {}
        self.ops: dict[str, net.Op] = {}
        self.shapes: dict[str, Shape] = {}
        self.origin: dict[str, str] = {}
        self.not_real: dict[str, torch.dtype] = {}
        self.coded_as: dict[str, str] = {}
        self.parts: dict[tuple[Node, int], str] = {}
        self.host: dict[Node, tuple[str, tuple[str, ...]]] = {}
        self.batch: Any = None

    def name(self, node: Node) -> str:
        """The name of the operation that the node becomes."""
        return self.op_names[node]

    def shape(self, node: Node) -> Shape:
        """(C, H, W) of a node's first result; dimensions other than the batch must be known."""
        value = node.meta["val"]
        value = value[0] if isinstance(value, tuple | list) else value
        extents = tuple(value.shape)
        if not all(isinstance(extent, int) for extent in extents[1:]):
            raise self.unsupported(
                node,
                f"its shape {extents} is dynamic; export with fixed channels, height and width",
            )
        if value.dim() not in (2, 4) or extents[0] != self.batch:
            raise self.unsupported(
                node,
                f"its output is {list(extents)}; maps [B, C, H, W] and vectors [B, F] are accepted",
            )
        return (extents[1], *(extents[2:] or (1, 1)))

    def unsupported(self, node: Node, remedy: str) -> UnsupportedOpError:
        """The error for a node."""
        return UnsupportedOpError(f"{node.target} at {place(node)} is not supported: {remedy}")

    def tensor(self, node: Node, position: int, name: str) -> str:
        """The network's tensor in an argument of the node."""
        return self.computed(node, self.argument(node, position, name, None), name)

    def computed(self, node: Node, source: Any, name: str) -> str:
        """The network's tensor that ``source``, an argument of the node, is."""
        if not isinstance(source, Node) or source not in self.names:
            raise self.unsupported(node, f"its argument {name!r} must be computed from the input")
        tensor = self.names[source]
        if tensor in self.not_real:
            raise self.unsupported(
                node, f"its argument {name!r} is {self.not_real[tensor]}; float32 is accepted"
            )
        return tensor

    def constant(self, node: Node, position: int, name: str) -> FloatArray | None:
        """The value of a constant argument, or None where it is not given."""
        source = self.argument(node, position, name, None)
        if source is None:
            return None
        if source not in self.constants:
            raise self.unsupported(node, f"its argument {name!r} must be a constant of the model")
        return np.array(self.constants[source].detach().cpu().numpy(), np.float32)

    def required(self, node: Node, position: int, name: str) -> FloatArray:
        """The value of a constant argument that must be given."""
        value = self.constant(node, position, name)
        if value is None:
            raise self.unsupported(node, f"its argument {name!r} must be given")
        return value

    def argument(self, node: Node, position: int, name: str, default: Any) -> Any:
        """An argument by position or name."""
        return node.args[position] if position < len(node.args) else node.kwargs.get(name, default)

    def input_shape(self, node: Node) -> Shape:
        """Shape of the tensor in the node's first argument."""
        return self.shapes[self.tensor(node, 0, "input")]
