"""Where a TFLite network begins and ends: codes of real values, and the host's steps behind it."""

from __future__ import annotations

from dataclasses import replace

from codesign.arith import INT8_MAX, INT8_MIN
from codesign.artifact import HostStep
from codesign.errors import GraphError
from codesign.frontend import tflite_pointwise as pointwise
from codesign.frontend.tflite_channels import MOVING_NOTHING
from codesign.frontend.tflite_file import ModelFile, Operator, TensorInfo
from codesign.frontend.tflite_scope import UNPADDED, Scope, Value, map_shape
from codesign.quant.values import Coding

UINT8_OFFSET = 128
"""A uint8 code less this is the int8 code of the same value."""


def model_input(scope: Scope, index: int) -> None:
    """Declare an input of int8 codes; a real or uint8 one is declared by its QUANTIZE."""
    info = scope.model.tensors[index]
    if info.type == "INT8":
        _declare(scope, index, info)


def _declare(scope: Scope, index: int, info: TensorInfo) -> None:
    """Input ``index`` has the codes of ``info``: itself, or its QUANTIZE's output."""
    found = info.quantization
    if found is None or found.scale.size != 1 or not INT8_MIN <= found.zero_point[0] <= INT8_MAX:
        raise GraphError(
            f"input {info.name!r} has no single scale with an int8 zero point; quantise it again"
        )
    shape = map_shape(_settled_extents(scope.model, info))
    if shape is None:
        raise GraphError(
            f"input {info.name!r} has shape {list(info.shape)}; [1, H, W, C], [1, W, C] and [1, C] "
            "are accepted: convert with a batch of 1"
        )
    coding = Coding(float(found.scale[0]), int(found.zero_point[0]))
    name = scope.declare(scope.model.tensors[index].name, shape, coding)
    scope.inputs[index] = name
    scope.values[info.index] = Value(name, info.shape)


def _settled_extents(model: ModelFile, info: TensorInfo) -> tuple[int, ...]:
    """The shape that an input is reshaped to at once, if all its readers agree: no map is chosen
    before."""
    readers = model.readers(info.index)
    results = [model.tensors[op.outputs[0]] for op in readers]
    agreed = len({result.shape for result in results}) == 1
    if agreed and all(op.kind in MOVING_NOTHING for op in readers):
        return results[0].shape if len(results) > 1 else _settled_extents(model, results[0])
    return info.shape


def model_inputs(scope: Scope) -> tuple[str, ...]:
    """The graph's inputs in the model's order."""
    read = {index for op in scope.model.operators for index in op.inputs}
    for index in scope.model.inputs:
        if index not in scope.inputs or index not in read:
            raise GraphError(
                f"input {scope.model.tensors[index].name!r} is not used; remove it from the model"
            )
    return tuple(scope.inputs[index] for index in scope.model.inputs)


def model_outputs(scope: Scope) -> tuple[tuple[str, ...], tuple[HostStep, ...]]:
    """The graph's outputs, and the host's steps behind them."""
    values = []
    for index in scope.model.outputs:
        info = scope.model.tensors[index]
        if index not in scope.values:
            raise GraphError(f"output {info.name!r} is not computed; convert the model again")
        values.append(scope.settled(index))
    names = tuple(value.tensor for value in values)
    written = {op.y for op in scope.ops}
    for position, name in enumerate(names):
        if name in names[:position]:
            raise GraphError(
                f"several outputs are {name!r}, as it is or behind host steps; keep one of them"
            )
        if name not in written:
            raise GraphError(f"output {name!r} is an input as it is; remove it from the model")
    return names, tuple(step for value in values for step in value.steps)


def quantize(scope: Scope, op: Operator) -> None:
    """At an end it only says how values are coded; between int8 codings it is a table."""
    source, target = scope.info(op, 0), scope.output(op)
    if source.index in scope.model.inputs and source.type != "INT8":
        _input_codes(scope, op, source, target)
    elif target.type == "UINT8" or (source.index in scope.values and scope.any_value(op).steps):
        if target.type == "UINT8" and not scope.any_value(op).steps:
            _check_uint8(scope, op, target, source)
        scope.alias(op, scope.any_value(op))
    else:
        pointwise.unary(scope, op)


def _input_codes(scope: Scope, op: Operator, source: TensorInfo, target: TensorInfo) -> None:
    coding = scope.coding(op, target)
    if source.type == "UINT8":
        _check_uint8(scope, op, source, target)
    elif source.type != "FLOAT32":
        raise scope.unsupported(
            op, f"input {source.name!r} is {source.type}; INT8, UINT8 and FLOAT32 are accepted"
        )
    if source.index not in scope.inputs:
        _declare(scope, source.index, target)
        return
    name = scope.inputs[source.index]
    tensor = scope.tensors[name]
    if (tensor.scale, tensor.zero_point) != (coding.scale, coding.zero_point):
        raise scope.unsupported(
            op, f"input {source.name!r} is quantised in two ways; quantise it once"
        )
    scope.values[target.index] = Value(name, target.shape)


def _check_uint8(scope: Scope, op: Operator, unsigned: TensorInfo, signed: TensorInfo) -> None:
    """Both codings must be of the same values."""
    a, b = unsigned.quantization, signed.quantization
    if (
        a is None
        or b is None
        or a.scale.tolist() != b.scale.tolist()
        or (a.zero_point - UINT8_OFFSET).tolist() != b.zero_point.tolist()
    ):
        raise scope.unsupported(
            op,
            f"tensor {unsigned.name!r} is UINT8 of another scale or zero point than its int8 "
            "codes; convert with int8 inputs and outputs",
        )


def dequantize(scope: Scope, op: Operator) -> None:
    """At the end of the network: the program's outputs have scale and zero point."""
    x = scope.any_value(op)
    if x.padding != UNPADDED:
        x = scope.settled(op.inputs[0])
    scope.alias(op, x)


def softmax(scope: Scope, op: Operator) -> None:
    """A step of the host, over channels."""
    x = _last(scope, op)
    step = HostStep("softmax", x.tensor, {"beta": float(op.options["Beta"])})
    scope.alias(op, replace(x, steps=(*x.steps, step)))


def arg_max(scope: Scope, op: Operator) -> None:
    """A step of the host, over channels."""
    x = _last(scope, op)
    rank = len(x.extents)
    if scope.integers(op, 1) not in ([-1], [rank - 1]):
        raise scope.unsupported(
            op, f"it is over axis {scope.integers(op, 1)} of {rank}; the last is accepted"
        )
    scope.alias(op, replace(x, steps=(*x.steps, HostStep("argmax", x.tensor, {}))))


def _last(scope: Scope, op: Operator) -> Value:
    """The operand of a step of the host, which nothing on the accelerator may read
    (``Scope.padded_value`` refuses that)."""
    scope.any_value(op)
    x = scope.settled(op.inputs[0])
    scope.map_shape(op, x)
    return x
