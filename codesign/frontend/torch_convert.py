"""Walks an exported program in core ATen and builds the float network."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.fx import Node

from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend import network as net
from codesign.frontend import torch_ends
from codesign.frontend.torch_channels import CHANNELS
from codesign.frontend.torch_ops import CONVERTERS
from codesign.frontend.torch_place import place
from codesign.frontend.torch_pointwise import pointwise
from codesign.frontend.torch_scope import Scope

ACCEPTED = (
    "conv2d, conv_transpose2d, linear, batch_norm, relu, relu6, clamp, max_pool2d, avg_pool2d, "
    "adaptive_avg_pool2d, mean over H and W, interpolate(mode='nearest'), add and sub of two "
    "tensors, cat, split and slices of channels, flatten, zero padding, any pointwise function of "
    "one tensor, and softmax or argmax at the very end"
)
aten = torch.ops.aten
_EVALUATE = "export the model in evaluation mode (model.eval())"
_STATISTICS = "it needs statistics of each input; use batch_norm, whose are constants"
_UPSAMPLE = (
    "use mode='nearest', or conv_transpose2d with groups=channels, which interpolates with the "
    "right weights"
)
REMEDIES: dict[Any, str] = {
    aten.native_layer_norm.default: _STATISTICS,
    aten.native_group_norm.default: _STATISTICS,
    aten.upsample_bilinear2d.vec: _UPSAMPLE,
    aten._log_softmax.default: (
        "leave it out, or end with softmax: both keep the order of their inputs"
    ),
    aten.native_dropout.default: _EVALUATE,
    aten._native_batch_norm_legit_functional.default: _EVALUATE,
    aten._native_batch_norm_legit.no_stats: "it has no running statistics; track them",
}
_COPIES = {aten.clone.default, aten.alias.default, aten.detach.default, aten._to_copy.default}
_RESHAPES = {
    aten.view.default, aten._unsafe_view.default, aten.reshape.default,
    aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default,
}  # fmt: skip
_FIRST_ONLY = {
    aten._native_batch_norm_legit_no_training.default,
    aten.max_pool2d_with_indices.default,
    aten.adaptive_max_pool2d.default,
}
"""Operators that return a tuple of which networks use the first element."""


class Converter:
    """Walks the nodes of one program, given the values of its placeholders but the input.

    Of the program's results those at the indices ``returned`` are the user's; the others are what
    operations in place leave behind.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        placeholders: dict[str, Any],
        input_name: str,
        returned: Sequence[int],
    ) -> None:
        self.scope = Scope(nodes)
        self._placeholders = placeholders
        self._input = input_name
        self._returned = returned
        self._outputs: tuple[str, ...] = ()
        self._host_steps: tuple[tuple[int, str], ...] = ()

    def network(self, name: str) -> net.Network:
        """What was converted."""
        return net.Network(
            name,
            self.scope.shapes,
            tuple(self.scope.ops.values()),
            (self._input,),
            self._outputs,
            self.scope.origin,
            self._host_steps,
            self.scope.coded_as,
        )

    def convert(self, node: Node) -> None:
        """Convert one node; ``UnsupportedOpError`` says what and where it is."""
        if node.op == "placeholder":
            self._placeholder(node)
        elif node.op == "output":
            self._output(node)
        elif node.op == "call_function":
            self._call(node)
        else:
            raise UnsupportedOpError(
                f"{node.op} {node.name!r}: export the model without submodule calls"
            )

    def _placeholder(self, node: Node) -> None:
        if node.name != self._input:
            if node.name in self._placeholders:
                self.scope.constants[node] = self._placeholders[node.name]
            return
        value = node.meta["val"]
        if not isinstance(value, torch.Tensor):
            raise GraphError(f"input {node.name!r} is {value!r}; one tensor is accepted")
        if value.dtype != torch.float32 or value.dim() not in (2, 4):
            shown = f"{value.dtype} {list(value.shape)}"
            raise GraphError(
                f"input {node.name!r} is {shown}; float32 [B, C, H, W] or [B, F] is accepted"
            )
        if not all(isinstance(extent, int) for extent in value.shape[1:]):
            raise GraphError(
                f"input {node.name!r} has dynamic shape {list(value.shape)}; the batch alone may be"
            )
        self.scope.batch = value.shape[0]
        self.scope.names[node] = node.name
        self.scope.shapes[node.name] = self.scope.shape(node)

    def _output(self, node: Node) -> None:
        every = node.args[0] if isinstance(node.args[0], tuple | list) else (node.args[0],)
        results = [every[index] for index in self._returned]
        for result in results:
            if isinstance(result, Node) and result in self.scope.host:
                continue
            if isinstance(result, Node) and self.scope.names.get(result) in self.scope.not_real:
                raise GraphError(f"output {result} is no real tensor; return float32 tensors alone")
            if not isinstance(result, Node) or result not in self.scope.names:
                raise GraphError(
                    f"output {result!r} does not depend on the input; return computed tensors alone"
                )
        ends = [
            self.scope.host.get(result) or (self.scope.names[result], ())
            for result in results
            if isinstance(result, Node)
        ]
        self._outputs = tuple(tensor for tensor, _ in ends)
        self._host_steps = tuple(
            (index, kind) for index, (_, kinds) in enumerate(ends) for kind in kinds
        )

    def _call(self, node: Node) -> None:
        target: Any = node.target
        sources = [source for source in node.all_input_nodes if source in self.scope.names]
        torch_ends.refuse_readers(self.scope, node)
        if target in torch_ends.KINDS and not self.scope.constants.keys() >= {
            *node.all_input_nodes
        }:
            torch_ends.step(self.scope, node)
        elif target is operator.getitem:
            self._getitem(node)
        elif not isinstance(node.meta.get("val"), torch.Tensor | tuple | list):
            return  # sizes of a dynamic batch and assertions on them: shapes are read elsewhere
        elif not sources:
            self._fold(node)
        elif target in _COPIES and node.meta["val"].dtype == sources[0].meta["val"].dtype:
            x = self.scope.tensor(node, 0, "input")
            self._emit(net.Identity(self.scope.name(node), x, node.name), node)
        elif target in _RESHAPES:
            self._emit(self._reshape(node), node)
        elif target in CHANNELS:
            CHANNELS[target](self.scope, node)
        elif target in CONVERTERS:
            self._emit(CONVERTERS[target](self.scope, node), node)
        elif target in _COPIES or torch.Tag.pointwise in getattr(target, "tags", ()):
            self._emit(pointwise(self.scope, node, sources), node)
        else:
            raise self.scope.unsupported(node, REMEDIES.get(target, f"accepted are {ACCEPTED}"))

    # --- constants and plumbing ------------------------------------------------------------------
    def _fold(self, node: Node) -> None:
        """Evaluate what depends on constants alone."""
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise self.scope.unsupported(node, "it is random; a network must be a function")
        if all(source in self.scope.constants for source in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg(
                (node.args, node.kwargs), self.scope.constants.__getitem__
            )
            self.scope.constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]

    def _getitem(self, node: Node) -> None:
        source, index = node.args[0], node.args[1]
        assert isinstance(source, Node)
        assert isinstance(index, int)
        if source in self.scope.constants:
            self.scope.constants[node] = self.scope.constants[source][index]
        elif (source, index) in self.scope.parts:
            self.scope.names[node] = self.scope.parts[source, index]
        elif index == 0 and source.target in _FIRST_ONLY:
            self.scope.names[node] = self.scope.names[source]
        else:
            raise self.scope.unsupported(
                source, f"output {index} of it is used; only output 0 is accepted"
            )

    def _emit(self, op: net.Op, node: Node) -> None:
        shape = net.output_shape(op, self.scope.shapes)
        declared = self.scope.shape(node)
        if shape != declared:
            raise self.scope.unsupported(
                node, f"its output {declared} should be {shape} for this machine"
            )
        self.scope.ops[op.y] = op
        self.scope.shapes[op.y] = shape
        self.scope.names[node] = op.y
        self.scope.origin[op.name] = place(node)

    # --- shapes ----------------------------------------------------------------------------------
    def _reshape(self, node: Node) -> net.Op:
        source = self.scope.tensor(node, 0, "input")
        x, y = self.scope.shapes[source], self.scope.shape(node)
        if y == x:
            return net.Identity(self.scope.name(node), source, node.name)
        if y == (math.prod(x), 1, 1):
            return net.Flatten(self.scope.name(node), source, node.name)
        raise self.scope.unsupported(
            node, f"it turns {x} into {y}; only flattening all of (C, H, W) is accepted"
        )
