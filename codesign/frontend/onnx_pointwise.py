"""ONNX's functions of single values, sums and products, and what moves no value."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_evaluate import FAILURES, Function
from codesign.frontend.onnx_file import Node
from codesign.frontend.onnx_scope import Scope, given, map_shape

FUNCTIONS = frozenset(
    ("Abs", "Celu", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish",
     "Neg", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu")
)  # fmt: skip
"""Operators of one tensor that become tables: ONNX's own definition of them is evaluated."""
REAL_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div"))


def function(scope: Scope, node: Node) -> None:
    """A function of one tensor."""
    value = scope.value(node)
    _emit_function(scope, node, node.inputs[0], (node,), value.extents)


def parametric(scope: Scope, node: Node) -> None:
    """PRelu with one slope for all channels."""
    value, slope = scope.value(node), scope.floats(node, 1)
    if slope.size != 1:
        raise scope.unsupported(
            node, f"it has {slope.size} slopes, one for each channel; train with one for all "
            "(num_parameters=1)"
        )  # fmt: skip
    _emit_function(scope, node, node.inputs[0], (node,), value.extents)


def clamp(scope: Scope, node: Node) -> None:
    """Relu, Clip, and Max and Min with a number."""
    computed = 0
    if node.kind == "Relu":
        low, high = 0.0, math.inf
    elif node.kind == "Clip":
        low, high = _bounds(scope, node)
    else:
        computed, bound = _bound(scope, node)
        low, high = (bound, math.inf) if node.kind == "Max" else (-math.inf, bound)
    value = scope.value(node, computed)
    scope.emit(node, net.Clamp(node.name, value.tensor, node.outputs[0], low, high), value.extents)
    scope.functions[node.outputs[0]] = (node.inputs[computed], (node,))


def _bound(scope: Scope, node: Node) -> tuple[int, float]:
    """Of Max or Min: the position of the tensor, and the number."""
    computed = [place for place in range(len(node.inputs)) if scope.is_computed(node, place)]
    if len(node.inputs) != 2 or len(computed) != 1:
        raise scope.unsupported(node, "of several tensors it cannot be computed; add them instead")
    bound = scope.floats(node, 1 - computed[0])
    if bound.size != 1:
        raise scope.unsupported(node, f"its bound has {bound.size} numbers; one is accepted")
    return computed[0], float(bound.flat[0])


def _bounds(scope: Scope, node: Node) -> tuple[float, float]:
    low, high = (
        float(scope.floats(node, position).reshape(())) if given(node, position) else default
        for position, default in ((1, -math.inf), (2, math.inf))
    )
    if not low <= high:
        raise scope.unsupported(node, f"its bounds {low}..{high} are empty; put the lower first")
    return low, high


def _emit_function(
    scope: Scope, node: Node, root: str, nodes: tuple[Node, ...], extents: tuple[int, ...]
) -> None:
    """``nodes`` compute the output from the ONNX tensor ``root`` and constants."""
    y = node.outputs[0]
    made = {output for one in nodes for output in one.outputs}
    constants = {
        name: scope.constants[name]
        for one in nodes
        for name in one.inputs
        if name and name != root and name not in made
    }
    try:
        call = Function(nodes, root, y, constants, scope.model.opset)
        call(np.zeros(1, np.float32))
    except FAILURES as error:
        raise scope.broken(
            node, f"it cannot be computed: {error}; export the model again"
        ) from error
    scope.emit(node, net.Unary(node.name, scope.values[root].tensor, y, call), extents)
    scope.functions[y] = (root, nodes)


# --- two operands ------------------------------------------------------------------------------
def arithmetic(scope: Scope, node: Node) -> None:
    """Add, Sub, Mul, Div: of two tensors, or of a tensor and a constant."""
    computed = [position for position in (0, 1) if scope.is_computed(node, position)]
    if len(computed) == 1:
        _with_constant(scope, node, computed[0])
        return
    a, b = scope.value(node, 0), scope.value(node, 1)
    root = _common_root(scope, node)
    if root is not None:
        nodes = (*_path(scope, node.inputs[0], root), *_path(scope, node.inputs[1], root), node)
        unique = tuple(dict.fromkeys(nodes))
        order = {one.name: place for place, one in enumerate(scope.model.nodes)}
        ordered = tuple(sorted(unique, key=lambda one: order[one.name]))
        _emit_function(scope, node, root, ordered, a.extents)
        return
    if node.kind not in ("Add", "Sub"):
        raise scope.unsupported(
            node, "of two different tensors it cannot be computed, only Add and Sub can; one "
            "operand must be constant"
        )  # fmt: skip
    if a.extents != b.extents:
        raise scope.unsupported(
            node, f"it broadcasts {list(a.extents)} with {list(b.extents)}; make them equal"
        )
    factor = 1.0 if node.kind == "Add" else -1.0
    op = net.Add(node.name, a.tensor, b.tensor, node.outputs[0], 1.0, factor)
    scope.emit(node, op, a.extents)


def _ancestors(scope: Scope, name: str) -> list[str]:
    """An ONNX tensor and those that it is a function of, nearest first."""
    names = [name]
    while names[-1] in scope.functions:
        names.append(scope.functions[names[-1]][0])
    return names


def _common_root(scope: Scope, node: Node) -> str | None:
    a, b = (_ancestors(scope, name) for name in node.inputs[:2])
    return next((name for name in a if name in b), None)


def _path(scope: Scope, name: str, root: str) -> tuple[Node, ...]:
    """The nodes from ``root`` to ``name``."""
    found: tuple[Node, ...] = ()
    while name != root:
        name, nodes = scope.functions[name]
        found = (*nodes, *found)
    return found


def _with_constant(scope: Scope, node: Node, position: int) -> None:
    """By a number a function where values are codes, or of a function; else a factor and an offset
    per channel, which may join a convolution."""
    value, constant = scope.value(node, position), scope.floats(node, 1 - position)
    if node.kind == "Div" and position == 1:
        raise scope.unsupported(node, "it divides a constant by a tensor; multiply instead")
    if constant.size == 1 and constant.ndim <= 1 + len(value.extents):
        behind = any(isinstance(op, net.Unary) and op.y == value.tensor for op in scope.ops)
        if scope.model.quantized or behind:
            _emit_function(scope, node, node.inputs[position], (node,), value.extents)
            return
        scope.functions[node.outputs[0]] = (node.inputs[position], (node,))
    channels = value.extents[0]
    numbers = _per_channel(scope, node, constant, value.extents)
    factor, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if node.kind == "Mul":
        factor = numbers
    elif node.kind == "Div":
        factor = np.float32(1) / numbers
    elif node.kind == "Add":
        offset = numbers
    else:
        factor, offset = (factor, -numbers) if position == 0 else (-factor, numbers)
    op = net.BatchNorm(node.name, value.tensor, node.outputs[0], factor, offset)
    scope.emit(node, op, value.extents)


def _per_channel(
    scope: Scope, node: Node, constant: FloatArray, extents: tuple[int, ...]
) -> FloatArray:
    """A constant as [C]: one element, or what broadcasts along all but the channels."""
    rank = 1 + len(extents)
    shape = (*(1,) * (rank - constant.ndim), *constant.shape)
    accepted = ((1,) * rank, (1, extents[0], *(1,) * (rank - 2)))
    if shape not in accepted:
        raise scope.unsupported(
            node, f"its constant has shape {list(constant.shape)}; one element, or one for each of "
            f"the {extents[0]} channels, is accepted"
        )  # fmt: skip
    return np.array(np.broadcast_to(constant.reshape(-1), (extents[0],)), np.float32)


# --- moving nothing ----------------------------------------------------------------------------
def identity(scope: Scope, node: Node) -> None:
    """Identity and, in inference, Dropout."""
    training = scope.constant(node, 2) if node.kind == "Dropout" else None
    if training is not None and training.any():
        raise scope.unsupported(node, "it is in training mode; export the model for inference")
    scope.alias(node, scope.value(node))


def cast(scope: Scope, node: Node) -> None:
    """To a type of real values."""
    kind = int(scope.attribute(node, "to", 0))
    if kind not in REAL_TYPES:
        name = {number: one for one, number in onnx.TensorProto.DataType.items()}.get(kind, kind)
        raise scope.unsupported(
            node, f"it casts to {name}; leave it out, the machine rounds results to int8"
        )
    scope.alias(node, scope.value(node))


def reshape(scope: Scope, node: Node) -> None:
    """Flatten, Reshape, Squeeze, Unsqueeze: from maps to vectors."""
    value = scope.value(node)
    whole = (scope.model.batch, *value.extents)
    target = _target(scope, node, whole)
    extents = target[1:]
    if target[0] != whole[0] or len(extents) not in (1, 3):
        raise scope.unsupported(
            node, f"it makes {list(target)} of {list(whole)}; [B, F] and [B, C, H, W] are accepted"
        )
    shape = scope.shapes[value.tensor]
    if map_shape(extents) == shape:
        scope.alias(node, replace(value, extents=extents))
    elif extents[0] == math.prod(shape):
        op = net.Flatten(node.name, value.tensor, node.outputs[0])
        scope.emit(node, op, extents)
    else:
        raise scope.unsupported(
            node, f"it turns {list(whole)} into {list(target)}; only flattening all of C, H, W is "
            "accepted"
        )  # fmt: skip


def _target(scope: Scope, node: Node, whole: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, batch first, that the node makes of ``whole``."""
    rank = len(whole)
    if node.kind == "Flatten":
        axis = int(scope.attribute(node, "axis", 1))
        axis += rank if axis < 0 else 0
        return math.prod(whole[:axis]), math.prod(whole[axis:])
    if node.kind == "Squeeze":
        axes = scope.axes(node, 1)
        dropped = {axis % rank for axis in axes} if axes is not None else set(range(1, rank))
        return tuple(n for i, n in enumerate(whole) if i not in dropped or (n != 1 or i == 0))
    if node.kind == "Unsqueeze":
        axes = scope.axes(node, 1) or []
        total = rank + len(axes)
        kept = iter(whole)
        added = {axis % total for axis in axes}
        return tuple(1 if axis in added else next(kept) for axis in range(total))
    wanted = [int(extent) for extent in scope.required(node, 1).reshape(-1)]
    if not scope.attribute(node, "allowzero", 0):
        wanted = [whole[i] if n == 0 and i < rank else n for i, n in enumerate(wanted)]
    known = math.prod(n for n in wanted if n != -1)
    wanted = [math.prod(whole) // known if n == -1 and known > 0 else n for n in wanted]
    if math.prod(wanted) != math.prod(whole) or min(wanted, default=0) < 1:
        raise scope.broken(node, f"it makes {wanted} of {list(whole)}; export the model again")
    return tuple(wanted)


def transpose(scope: Scope, node: Node) -> None:
    """Accepted where it moves no value."""
    value = scope.value(node)
    extents = (scope.model.batch, *value.extents)
    order = [int(axis) for axis in scope.attribute(node, "perm", range(len(extents))[::-1])]
    moved = [axis for axis in order if axis and extents[axis] > 1]
    if moved != sorted(moved) or order[0] != 0:
        raise scope.unsupported(
            node, f"it moves values ({order} of {list(extents)}); export with maps in the order "
            "[B, C, H, W]"
        )  # fmt: skip
    target = tuple(extents[axis] for axis in order)[1:]
    if map_shape(target) != scope.shapes[value.tensor]:
        raise scope.unsupported(node, f"it makes {list(target)} of {list(extents)}; leave it out")
    scope.alias(node, replace(value, extents=target))
