"""QONNX, the format of Brevitas: Quant and Trunc nodes.

A Quant node is a QuantizeLinear and a DequantizeLinear in one: it returns the real values that
codes of a width, a sign and a range stand for (A. Pappalardo et al., "QONNX: Representing
Arbitrary-Precision Quantized Neural Networks", arXiv 2206.07527). Widths up to 8 run in int8; codes
that are narrower keep their scale and are clamped to their own range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from codesign.arith import INT8_MAX, INT8_MIN
from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_file import Array, Node
from codesign.frontend.onnx_qdq import UINT8_OFFSET, set_coding
from codesign.frontend.onnx_scope import Quantized, Scope, Value
from codesign.quant.values import Coding

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""The format's, and those of its older versions."""
_WIDTH = 8
_ROUNDINGS = ("ROUND", "HALF_EVEN")


@dataclass(frozen=True, eq=False)
class Grid:
    """Codes ``low``..``high``; code q stands for ``scale`` * (q - ``zero``)."""

    scale: Array
    zero: Array
    low: int
    high: int


def convert(scope: Scope, node: Node) -> None:
    """A node of one of ``DOMAINS``."""
    if node.kind not in OPERATORS:
        raise scope.unsupported(node, REMEDIES.get(node.kind, ACCEPTED))
    OPERATORS[node.kind](scope, node)


def quant(scope: Scope, node: Node) -> None:
    """Of a constant, or of what was computed."""
    name = scope.operand(node, 0)
    grid = _grid(scope, node, (1, 2, 3))
    if name in scope.constants:
        _quantize_constant(scope, node, grid, scope.floats(node, 0))
    else:
        _quantize_activation(scope, node, grid)


def trunc(scope: Scope, node: Node) -> None:
    """Behind an average pool: the pool's sum, shifted and rounded once, is the mean's code.

    The input's own scale (inputs 1 and 3) says in what steps the sum comes; the output's grid alone
    says what it becomes.
    """
    if len(node.inputs) < 6:
        raise scope.unsupported(
            node, "it is of version 1, without a scale of its output; export with Brevitas 0.12 "
            "or later"
        )  # fmt: skip
    _quantize_activation(scope, node, _grid(scope, node, (4, 2, 5)))


OPERATORS: Mapping[str, Callable[[Scope, Node], None]] = {
    "Quant": quant,
    "IntQuant": quant,
    "Trunc": trunc,
}
ACCEPTED = f"of its domain, {', '.join(sorted(OPERATORS))} are accepted"
_BINARY = "values of one bit have no zero, which padding and int8 need; quantise to 2..8 bits"
REMEDIES: Mapping[str, str] = {
    "BipolarQuant": _BINARY,
    "FloatQuant": "it quantises to minifloats; quantise to integers (brevitas.quant.Int8...)",
    "MultiThreshold": "it is FINN's, made of activations; export with brevitas.export.export_qonnx "
    "and leave FINN's transformations out",
}


def _grid(scope: Scope, node: Node, positions: tuple[int, int, int]) -> Grid:
    """The codes of a node whose scale, zero point and width are the inputs at ``positions``."""
    rounding = str(scope.attribute(node, "rounding_mode", "ROUND")).upper()
    if rounding not in _ROUNDINGS:
        raise scope.unsupported(
            node, f"it rounds by {rounding}; the machine rounds to nearest: export with "
            "float_to_int_impl_type ROUND"
        )  # fmt: skip
    scale, zero, width = (scope.floats(node, position) for position in positions)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise scope.broken(node, f"its scale {scale.min()} is not positive; quantise it again")
    if (
        width.size != 1
        or not (zero == np.round(zero)).all()
        or not float(width.flat[0]).is_integer()
    ):
        raise scope.unsupported(
            node, f"its zero point {zero.reshape(-1)[:3]} or width {width.reshape(-1)[:3]} is no "
            "whole number; export the model again"
        )  # fmt: skip
    bits = int(width.flat[0])
    signed, narrow = (bool(scope.attribute(node, name, 1)) for name in ("signed", "narrow"))
    if not 1 + signed <= bits <= 32:
        raise scope.unsupported(node, f"its codes have {bits} bits; 2..{_WIDTH} are accepted")
    if signed:
        low, high = -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    else:
        low, high = 0, (1 << bits) - 1 - narrow
    return Grid(scale, zero, low, high)


def _quantize_constant(scope: Scope, node: Node, grid: Grid, values: FloatArray) -> None:
    """Codes by the format's own arithmetic, in float32; ties go to even codes."""
    name, y = node.inputs[0], node.outputs[0]
    try:
        scales = np.broadcast_to(grid.scale, values.shape)
        zeros = np.broadcast_to(grid.zero, values.shape)
    except ValueError as error:
        raise scope.broken(
            node, f"its scale {list(grid.scale.shape)} and zero point {list(grid.zero.shape)} do "
            f"not fit its constant {list(values.shape)}; export the model again"
        ) from error  # fmt: skip
    codes = np.round(np.clip(values / scales + zeros, grid.low, grid.high)).astype(np.int64)
    steps = codes - zeros.astype(np.int64)
    scope.constants[y] = (steps * scales.astype(np.float64)).astype(np.float32)
    if grid.zero.any():
        scope.asymmetric[y] = (name, int(grid.zero[grid.zero != 0].flat[0]))
    scope.quantized[y] = Quantized(steps, scales.astype(np.float64))


def _quantize_activation(scope: Scope, node: Node, grid: Grid) -> None:
    value = scope.any_value(node)
    if value.is_codes:
        raise scope.unsupported(node, "it quantises codes; put a DequantizeLinear before it")
    if value.steps:
        scope.alias(node, value)  # what the host computes is not rounded
        return
    if grid.scale.size != 1 or grid.zero.size != 1:
        raise scope.unsupported(
            node, f"it has {grid.scale.size} scales for an activation; quantise activations per "
            "tensor (Int8ActPerTensorFloat)"
        )  # fmt: skip
    offset = UINT8_OFFSET if grid.high > INT8_MAX else 0
    low, high = grid.low - offset, grid.high - offset
    zero = int(grid.zero.flat[0]) - offset
    if low < INT8_MIN or high > INT8_MAX:
        raise scope.unsupported(
            node, f"its codes are {grid.low}..{grid.high}; activations of up to {_WIDTH} bits are "
            "accepted"
        )  # fmt: skip
    if not low <= zero <= high:
        raise scope.unsupported(
            node, f"its zero point {zero + offset} is outside its codes {grid.low}..{grid.high}; "
            "quantise so that zero has a code"
        )  # fmt: skip
    scale = float(grid.scale.flat[0])
    coding = Coding(scale, zero)
    if (low, high) != (INT8_MIN, INT8_MAX):
        value = _clamp(scope, node, coding, (low, high))
    else:
        value = set_coding(scope, node, value, coding)
    scope.alias(node, value)


def _clamp(scope: Scope, node: Node, coding: Coding, codes: tuple[int, int]) -> Value:
    """The operand within a part of the int8 codes; joins the operation before where it can."""
    value, y = scope.any_value(node), node.outputs[0]
    tensor = value.tensor
    if tensor == scope.model.input:
        scope.codings.setdefault(tensor, coding)
    elif tensor in scope.codings and not value.is_rounded:
        tensor = f"{y}:{tensor}"
        scope.emit_again(node, value.tensor, tensor)
    else:
        scope.value(node)  # somebody reads it unquantised
    low, high = (coding.scale * (code - coding.zero_point) for code in codes)
    scope.emit(node, net.Clamp(node.name, tensor, y, low, high), value.extents)
    scope.codings[y] = coding
    return replace(scope.values[y], is_rounded=True)
