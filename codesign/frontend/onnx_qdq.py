"""QuantizeLinear and DequantizeLinear: the codings that a QDQ model brings.

uint8 codes are shifted by 128, which leaves what they stand for unchanged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_file import Array, Node
from codesign.frontend.onnx_scope import Quantized, Scope, Value, given
from codesign.quant.values import Coding

UINT8_OFFSET = 128
"""A uint8 code less this is the int8 code of the same value."""
_INT8, _UINT8 = 3, 2
"""Of ``onnx.TensorProto.DataType``."""


def quantize_linear(scope: Scope, node: Node) -> None:
    """Says how a tensor is coded; a tensor that is coded otherwise becomes a table."""
    value = scope.any_value(node)
    if value.is_codes:
        raise scope.unsupported(node, "it quantises codes; put a DequantizeLinear before it")
    coding = _coding(scope, node)
    if not value.steps:
        value = set_coding(scope, node, value, coding)
        scope.functions[node.outputs[0]] = (node.inputs[0], (node,))
    scope.alias(node, replace(value, is_codes=True))


def set_coding(scope: Scope, node: Node, value: Value, coding: Coding) -> Value:
    """``value`` coded by ``node``; codes of another coding become a table, real values that others
    code otherwise are computed once more."""
    known = scope.codings.get(value.tensor)
    if known is None:
        scope.codings[value.tensor] = coding
        scope.coded_names[value.tensor] = node.outputs[0]
        if node.inputs[0] == value.tensor:
            scope.coded_here.add(value.tensor)
    elif known != coding:
        y = node.outputs[0]
        if value.is_rounded:
            scope.emit(node, net.Unary(node.name, value.tensor, y, _same), value.extents)
        else:
            scope.emit_again(node, value.tensor, y)
        scope.codings[y] = coding
        scope.coded_names[y] = y
        value = replace(scope.values[y], extents=value.extents)
    return replace(value, is_rounded=True)


def dequantize_linear(scope: Scope, node: Node) -> None:
    """Of codes that were computed, or of constants."""
    name = scope.operand(node, 0)
    if name in scope.constants:
        _dequantize_constant(scope, node, scope.constants[name])
        return
    value = scope.any_value(node)
    coding = _coding(scope, node)
    if not value.is_codes:
        raise scope.broken(node, f"it dequantises {name!r}, which is not quantised")
    # an input of codes has no QuantizeLinear
    if not value.steps and scope.codings.setdefault(value.tensor, coding) != coding:
        raise scope.unsupported(
            node, f"it reads {name!r} with another scale or zero point than that was quantised "
            "with; use the same"
        )  # fmt: skip
    if not value.steps:
        scope.functions[node.outputs[0]] = (name, (node,))
    scope.alias(node, replace(value, is_codes=False, is_rounded=True))


def _same(x: FloatArray) -> FloatArray:
    return x


def _coding(scope: Scope, node: Node) -> Coding:
    """The one scale and zero point of an activation, in int8."""
    scale, zero = _parameters(scope, node)
    if scale.size != 1 or zero.size != 1:
        raise scope.unsupported(
            node, f"it has {scale.size} scales for an activation; quantise activations per tensor"
        )
    offset = {np.dtype(np.uint8): UINT8_OFFSET, np.dtype(np.int8): 0}.get(zero.dtype)
    if offset is None:
        raise scope.unsupported(node, f"its codes are {zero.dtype}; int8 and uint8 are accepted")
    return Coding(float(scale.reshape(())), int(zero.reshape(())) - offset)


def _parameters(scope: Scope, node: Node) -> tuple[Array, Array]:
    """Scale, checked, and zero point, whose type is that of the codes."""
    scale = scope.floats(node, 1)
    if scope.attribute(node, "block_size", 0):
        raise scope.unsupported(node, "it quantises in blocks; quantise per tensor or per channel")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise scope.broken(node, f"its scale {scale.min()} is not positive; quantise it again")
    if given(node, 2):
        return scale, scope.required(node, 2)
    signed = scope.attribute(node, "output_dtype", _UINT8) == _INT8
    source = scope.constants.get(node.inputs[0]) if node.kind == "DequantizeLinear" else None
    dtype = source.dtype if source is not None else np.dtype(np.int8 if signed else np.uint8)
    return scale, np.zeros(scale.shape, dtype)


def _dequantize_constant(scope: Scope, node: Node, codes: Array) -> None:
    """Weights, biases (int32) and other constants: real values, and the codes they are of."""
    scale, zero = _parameters(scope, node)
    name, y = node.inputs[0], node.outputs[0]
    if codes.dtype not in (np.int8, np.uint8, np.int32) or zero.dtype != codes.dtype:
        raise scope.unsupported(
            node, f"its constant {name!r} is {codes.dtype} with a zero point of {zero.dtype}; "
            "int8, uint8 and int32 are accepted"
        )  # fmt: skip
    steps = codes.astype(np.int64) - _along_axis(scope, node, zero.astype(np.int64), codes)
    scales = np.broadcast_to(
        _along_axis(scope, node, scale.astype(np.float64), codes), codes.shape
    )  # fmt: skip
    scope.constants[y] = (steps * scales).astype(np.float32)
    if codes.dtype == np.int32:
        return
    signed_zero = zero.astype(np.int64) - (UINT8_OFFSET if codes.dtype == np.uint8 else 0)
    if signed_zero.any():
        scope.asymmetric[y] = (name, int(zero.reshape(-1)[np.flatnonzero(signed_zero)[0]]))
    scope.quantized[y] = Quantized(steps, scales)


def _along_axis(scope: Scope, node: Node, values: Array, codes: Array) -> Array:
    """Numbers for the whole of ``codes``, or along an axis, in a shape that broadcasts."""
    if values.size == 1:
        return values.reshape(())
    axis = int(scope.attribute(node, "axis", 1))
    if not -codes.ndim <= axis < codes.ndim or codes.shape[axis] != values.size:
        raise scope.broken(
            node, f"it has {values.size} scales along axis {axis} of {list(codes.shape)}; quantise "
            "it again"
        )  # fmt: skip
    shape = [1] * codes.ndim
    shape[axis] = values.size
    return values.reshape(shape)
