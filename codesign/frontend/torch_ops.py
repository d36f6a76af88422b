"""Core ATen nodes, one by one, to operations of the float network."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.torch_place import operation_names, place
from codesign.ir import Padding, Pair, Shape, Window

ACCEPTED = (
    "conv2d, linear, batch_norm, relu, relu6, clamp, max_pool2d, avg_pool2d, adaptive_avg_pool2d, mean over H and W, "
    "add and sub of two tensors, flatten, zero padding, and any pointwise function of one tensor"
)
aten = torch.ops.aten
_COPIES = {aten.clone.default, aten.alias.default, aten.detach.default, aten._to_copy.default}
_RESHAPES = {
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.squeeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.unsqueeze.default,
}  # fmt: skip
_FIRST_ONLY = {
    aten._native_batch_norm_legit_no_training.default, aten.max_pool2d_with_indices.default, aten.native_dropout.default,
}  # fmt: skip
"""Operators that return a tuple of which networks use the first element."""


class Converter:
    """Walks the nodes of one program.

    ``names`` maps a node to the network's tensor; nodes that depend on constants alone are
    evaluated into ``constants``.
    """

    def __init__(
        self, nodes: Iterable[Node], placeholders: dict[str, Any], input_name: str
    ) -> None:
        self._placeholders = placeholders
        self._input = input_name
        self._op_names = operation_names(nodes)
        self._constants: dict[Node, Any] = {}
        self._names: dict[Node, str] = {}
        self._ops: dict[str, net.Op] = {}  # by the tensor that they write
        self._shapes: dict[str, Shape] = {}
        self._origin: dict[str, str] = {}
        self._outputs: tuple[str, ...] = ()
        self._batch: Any = None

    def network(self, name: str) -> net.Network:
        """What was converted."""
        return net.Network(
            name,
            self._shapes,
            tuple(self._ops.values()),
            (self._input,),
            self._outputs,
            self._origin,
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
                self._constants[node] = self._placeholders[node.name]
            return
        value = node.meta["val"]
        if (
            not isinstance(value, torch.Tensor)
            or value.dtype != torch.float32
            or value.dim() not in (2, 4)
        ):
            shown = (
                f"{value.dtype} of shape {tuple(value.shape)}"
                if isinstance(value, torch.Tensor)
                else repr(value)
            )
            raise GraphError(
                f"input {node.name!r} is {shown}; float32 [B, C, H, W] or [B, F] is accepted"
            )
        self._batch = value.shape[0]
        self._names[node] = node.name
        self._shapes[node.name] = self.shape(node)

    def _output(self, node: Node) -> None:
        results = node.args[0] if isinstance(node.args[0], tuple | list) else (node.args[0],)
        for result in results:
            if not isinstance(result, Node) or result not in self._names:
                raise GraphError(
                    f"output {result!r} does not depend on the input; return computed tensors alone"
                )
        self._outputs = tuple(self._names[result] for result in results if isinstance(result, Node))

    def _call(self, node: Node) -> None:
        target: Any = node.target
        sources = [source for source in node.all_input_nodes if source in self._names]
        if target is operator.getitem:
            self._getitem(node)
        elif not sources:
            self._fold(node)
        elif target in _COPIES:
            self._check_dtype(node)
            self._emit(net.Identity(self.name(node), self._names[sources[0]], node.name), node)
        elif target in _RESHAPES:
            self._emit(self._reshape(node, sources[0]), node)
        elif target in _CONVERTERS:
            self._emit(_CONVERTERS[target](self, node), node)
        elif torch.Tag.pointwise in getattr(target, "tags", ()):
            self._emit(self._pointwise(node, sources), node)
        else:
            raise self.unsupported(node, f"accepted are {ACCEPTED}")

    # --- constants and plumbing ------------------------------------------------------------------
    def _fold(self, node: Node) -> None:
        """Evaluate what depends on constants alone; sizes of dynamic dimensions are no constants
        and stay unknown.
        """
        if all(source in self._constants for source in node.all_input_nodes):
            args, kwargs = torch.fx.node.map_arg(
                (node.args, node.kwargs), self._constants.__getitem__
            )
            self._constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]

    def _getitem(self, node: Node) -> None:
        source, index = node.args[0], node.args[1]
        assert isinstance(source, Node)
        if source in self._constants:
            self._constants[node] = self._constants[source][index]
        elif index == 0 and source.target in _FIRST_ONLY:
            self._names[node] = self._names[source]
        else:
            raise self.unsupported(
                source, f"output {index} of it is used; only output 0 is accepted"
            )

    def _emit(self, op: net.Op, node: Node) -> None:
        shape = net.output_shape(op, self._shapes)
        declared = self.shape(node)
        if shape != declared:
            raise self.unsupported(
                node, f"its output {declared} should be {shape} for this machine"
            )
        self._ops[op.y] = op
        self._shapes[op.y] = shape
        self._names[node] = op.y
        self._origin[op.name] = place(node)

    def name(self, node: Node) -> str:
        return self._op_names[node]

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
        if value.dim() not in (2, 4) or extents[0] != self._batch:
            raise self.unsupported(
                node,
                f"its output has shape {extents}; maps [B, C, H, W] and vectors [B, F] are accepted",
            )
        return (extents[1], *(extents[2:] or (1, 1)))

    def unsupported(self, node: Node, remedy: str) -> UnsupportedOpError:
        """The error for a node."""
        return UnsupportedOpError(f"{node.target} at {place(node)} is not supported: {remedy}")

    def tensor(self, node: Node, position: int, name: str) -> str:
        """The network's tensor in an argument of the node."""
        source = self.argument(node, position, name, None)
        if not isinstance(source, Node) or source not in self._names:
            raise self.unsupported(node, f"its argument {name!r} must be computed from the input")
        return self._names[source]

    def constant(self, node: Node, position: int, name: str) -> FloatArray | None:
        """The value of a constant argument, or None where it is not given."""
        source = self.argument(node, position, name, None)
        if source is None:
            return None
        if source not in self._constants:
            raise self.unsupported(node, f"its argument {name!r} must be a constant of the model")
        return np.array(self._constants[source].detach().cpu().numpy(), np.float32)

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
        return self._shapes[self.tensor(node, 0, "input")]

    def _check_dtype(self, node: Node) -> None:
        if node.meta["val"].dtype != torch.float32:
            raise self.unsupported(
                node, f"it makes {node.meta['val'].dtype}; the network must stay in float32"
            )

    # --- shapes ----------------------------------------------------------------------------------
    def _reshape(self, node: Node, source: Node) -> net.Op:
        x, y = self._shapes[self._names[source]], self.shape(node)
        if y == x:
            return net.Identity(self.name(node), self._names[source], node.name)
        if y == (math.prod(x), 1, 1):
            return net.Flatten(self.name(node), self._names[source], node.name)
        raise self.unsupported(
            node, f"it turns {x} into {y}; only flattening all of (C, H, W) is accepted"
        )

    # --- pointwise -------------------------------------------------------------------------------
    def _pointwise(self, node: Node, sources: list[Node]) -> net.Op:
        """A function of one tensor, possibly over several nodes, or the sum or difference of two."""
        self._check_dtype(node)
        for source in node.all_input_nodes:
            if source in self._constants and self._constants[source].numel() != 1:
                shape = tuple(self._constants[source].shape)
                raise self.unsupported(
                    node, f"its constant has shape {shape}; constants of one element are accepted"
                )
        names = [self._names[source] for source in sources]
        root = self._common_root(names)
        if root is not None:
            function = functools.partial(_evaluate, node.target, self._template(node, root))
            return net.Unary(self.name(node), root, node.name, function)
        if node.target in (aten.add.Tensor, aten.sub.Tensor) and len(sources) == 2:
            alpha = float(self.argument(node, 2, "alpha", 1.0))
            factor = alpha if node.target is aten.add.Tensor else -alpha
            a, b = self.tensor(node, 0, "input"), self.tensor(node, 1, "other")
            if self._shapes[a] != self._shapes[b]:
                raise self.unsupported(
                    node, f"it broadcasts {self._shapes[a]} with {self._shapes[b]}; make them equal"
                )
            return net.Add(self.name(node), a, b, node.name, 1.0, factor)
        raise self.unsupported(node, "of two different tensors only add and sub are accepted")

    def _common_root(self, names: list[str]) -> str | None:
        """The nearest tensor of which all are pointwise functions."""
        chains = [self._chain(name) for name in names]
        return next((name for name in chains[0] if all(name in chain for chain in chains)), None)

    def _chain(self, name: str) -> list[str]:
        """A tensor and those that it is a pointwise function of, nearest first."""
        chain = [name]
        while isinstance(op := self._ops.get(chain[-1]), net.Unary | net.Clamp | net.Identity):
            chain.append(op.x)
        return chain

    def _template(self, node: Node, root: str) -> tuple[Any, Any]:
        """The node's arguments with tensors replaced by their functions of ``root``."""

        def replace(source: Node) -> Any:
            if source in self._constants:
                return self._constants[source].reshape(())
            chain = self._chain(self._names[source])
            return Steps(tuple(self._ops[name] for name in reversed(chain[: chain.index(root)])))

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


# --- operators -----------------------------------------------------------------------------------
def _pair(values: Any) -> Pair:
    values = [values] if isinstance(values, int) else list(values)
    return (int(values[0]), int(values[-1]))


def _symmetric(values: Any) -> Padding:
    y, x = _pair(values)
    return (y, y, x, x)


def _convolution(c: Converter, node: Node) -> net.Op:
    weight = c.required(node, 1, "weight")
    bias = c.constant(node, 2, "bias")
    stride, padding, dilation = (
        c.argument(node, i, n, None) for i, n in ((3, "stride"), (4, "padding"), (5, "dilation"))
    )
    if weight.ndim != 4:
        raise c.unsupported(
            node, f"it has {weight.ndim - 2} spatial dimensions; convolutions of 2 are accepted"
        )
    if c.argument(node, 6, "transposed", False):
        raise c.unsupported(node, "it is transposed; convolutions that are not are accepted")
    return net.Conv2d(
        c.name(node), c.tensor(node, 0, "input"), node.name, weight,
        np.zeros(weight.shape[0], np.float32) if bias is None else bias,
        Window((weight.shape[2], weight.shape[3]), _pair(stride), _symmetric(padding), _pair(dilation)),
        int(c.argument(node, 8, "groups", 1)),
    )  # fmt: skip


def _addmm(c: Converter, node: Node) -> net.Op:
    if c.argument(node, 3, "beta", 1) != 1 or c.argument(node, 4, "alpha", 1) != 1:
        raise c.unsupported(
            node, "alpha and beta other than 1 are not accepted; scale weight and bias instead"
        )
    weight = c.required(node, 2, "mat2").T
    bias = np.broadcast_to(c.required(node, 0, "self").reshape(-1), weight.shape[:1])
    return net.Linear(c.name(node), c.tensor(node, 1, "mat1"), node.name, weight, bias)


def _mm(c: Converter, node: Node) -> net.Op:
    weight = c.required(node, 1, "mat2").T
    bias = np.zeros(weight.shape[0], np.float32)
    return net.Linear(c.name(node), c.tensor(node, 0, "self"), node.name, weight, bias)


def _batch_norm(c: Converter, node: Node) -> net.Op:
    mean, variance = c.required(node, 3, "running_mean"), c.required(node, 4, "running_var")
    weight, bias = c.constant(node, 1, "weight"), c.constant(node, 2, "bias")
    factor = (1.0 if weight is None else weight) / np.sqrt(variance + float(node.args[6]))  # type: ignore[arg-type]
    offset = (0.0 if bias is None else bias) - mean * factor
    x = c.tensor(node, 0, "input")
    return net.BatchNorm(
        c.name(node), x, node.name, factor.astype(np.float32), offset.astype(np.float32)
    )


def _clamp(c: Converter, node: Node, low: Any, high: Any) -> net.Op:
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    return net.Clamp(c.name(node), c.tensor(node, 0, "input"), node.name, low, high)


def _max_pool(c: Converter, node: Node) -> net.Op:
    kernel = _pair(node.args[1])
    stride = _pair(c.argument(node, 2, "stride", ()) or kernel)
    padding = _symmetric(c.argument(node, 3, "padding", 0))
    window = Window(kernel, stride, padding, _pair(c.argument(node, 4, "dilation", 1)))
    if c.argument(node, 5, "ceil_mode", False):
        window = _reach(window, c.input_shape(node), c.shape(node))
    return net.MaxPool2d(c.name(node), c.tensor(node, 0, "input"), node.name, window)


def _reach(window: Window, x: Shape, y: Shape) -> Window:
    """The window with padding below and at the right up to the last position that ``ceil_mode``
    adds.
    """
    added = []
    for axis in (0, 1):
        reach = window.dilation[axis] * (window.kernel[axis] - 1) + 1
        before, after = window.padding[2 * axis : 2 * axis + 2]
        added.append(
            max(after, (y[axis + 1] - 1) * window.stride[axis] + reach - x[axis + 1] - before)
        )
    top, _, left, _ = window.padding
    return Window(window.kernel, window.stride, (top, added[0], left, added[1]), window.dilation)


def _avg_pool(c: Converter, node: Node) -> net.Op:
    kernel = _pair(node.args[1])
    padding = _symmetric(c.argument(node, 3, "padding", 0))
    window = Window(kernel, _pair(c.argument(node, 2, "stride", ()) or kernel), padding)
    if any(padding) and not c.argument(node, 5, "count_include_pad", True):
        raise c.unsupported(
            node,
            "count_include_pad=False with padding is not accepted; set it to True or padding to 0",
        )
    if c.argument(node, 6, "divisor_override", None) is not None:
        raise c.unsupported(
            node, "divisor_override is not accepted; scale the next layer's weights instead"
        )
    if window.output_size(*c.input_shape(node)[1:]) != c.shape(node)[1:]:
        raise c.unsupported(
            node, "ceil_mode adds windows that reach outside the map; set ceil_mode=False or pad"
        )
    return net.AvgPool2d(c.name(node), c.tensor(node, 0, "input"), node.name, window)


def _adaptive_avg_pool(c: Converter, node: Node) -> net.Op:
    _, height, width = c.input_shape(node)
    _, out_height, out_width = c.shape(node)
    if height % out_height or width % out_width:
        raise c.unsupported(
            node,
            f"output {out_height}x{out_width} does not divide the map {height}x{width}; choose divisors of it",
        )
    kernel = (height // out_height, width // out_width)
    return net.AvgPool2d(
        c.name(node), c.tensor(node, 0, "input"), node.name, Window(kernel, kernel)
    )


def _mean(c: Converter, node: Node) -> net.Op:
    value: Any = node.args[0]
    rank = value.meta["val"].dim()
    axes = {int(axis) % rank for axis in c.argument(node, 1, "dim", None) or range(rank)}
    _, height, width = c.input_shape(node)
    if rank != 4 or not axes <= {2, 3}:
        raise c.unsupported(
            node,
            f"it averages dimensions {sorted(axes)} of {rank}; those over H and W are accepted",
        )
    kernel = (height if 2 in axes else 1, width if 3 in axes else 1)
    return net.AvgPool2d(c.name(node), c.tensor(node, 0, "input"), node.name, Window(kernel))


def _pad(c: Converter, node: Node) -> net.Op:
    sides = [int(side) for side in node.args[1]]  # type: ignore[union-attr, arg-type]
    left, right, top, bottom = (sides + [0, 0, 0, 0])[:4]
    if min(sides) < 0 or any(sides[4:]) or float(c.argument(node, 2, "value", 0.0)) != 0.0:
        raise c.unsupported(
            node,
            f"it pads {sides} with {c.argument(node, 2, 'value', 0.0)}; zeros around H and W are accepted",
        )
    return net.Pad(c.name(node), c.tensor(node, 0, "input"), node.name, (top, bottom, left, right))


_CONVERTERS: dict[Any, Callable[[Converter, Node], net.Op]] = {
    aten.convolution.default: _convolution,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.relu.default: lambda c, node: _clamp(c, node, 0.0, None),
    aten.hardtanh.default: lambda c, node: _clamp(
        c, node, c.argument(node, 1, "min_val", -1.0), c.argument(node, 2, "max_val", 1.0)
    ),
    aten.clamp.default: lambda c, node: _clamp(
        c, node, c.argument(node, 1, "min", None), c.argument(node, 2, "max", None)
    ),
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _avg_pool,
    aten._adaptive_avg_pool2d.default: _adaptive_avg_pool,
    aten.mean.dim: _mean,
    aten.constant_pad_nd.default: _pad,
}
