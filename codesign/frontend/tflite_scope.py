"""What is known while a TFLite model is converted, and how operators read their operands."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arith import INT8_MAX, INT8_MIN, quantize_multiplier
from codesign.artifact import HostStep
from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend.tflite_file import ModelFile, Operator, TensorInfo
from codesign.ir import Padding, Shape
from codesign.quant.values import Coding

UNPADDED: Padding = (0, 0, 0, 0)
QUANTISE = (
    "convert with full-integer quantisation (a representative dataset and TFLITE_BUILTINS_INT8)"
)
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Value:
    """A TFLite tensor as a map: values in the order H, W, C of the map that holds them.

    ``extents`` is TFLite's shape, which reshapes change without moving a value. ``padding`` of zero
    points is yet to be put around the map, ``steps`` are yet to be done by the host.
    """

    tensor: str
    extents: tuple[int, ...]
    padding: Padding = UNPADDED
    steps: tuple[HostStep, ...] = ()


class Scope:
    """``tensors``, ``ops`` and ``origin`` are the graph's; ``values`` and ``inputs`` (the graph's)
    are by TFLite's tensor index, ``owners`` has the operator that each operation comes from,
    ``clamped`` counts weights of -128.
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.values: dict[int, Value] = {}
        self.tensors: dict[str, ir.Tensor] = {}
        self.ops: list[ir.Op] = []
        self.origin: dict[str, str] = {}
        self.inputs: dict[int, str] = {}
        self.owners: dict[str, int] = {}
        self.clamped: dict[str, int] = {}

    # --- messages ----------------------------------------------------------------------------
    def unsupported(self, op: Operator, why: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"{self.model.where(op)} is not supported: {why}")

    def broken(self, op: Operator, why: str) -> GraphError:
        return GraphError(f"{self.model.where(op)}: {why}")

    # --- operands ----------------------------------------------------------------------------
    def info(self, op: Operator, position: int) -> TensorInfo:
        """The tensor of an operand that must be given."""
        if position >= len(op.inputs) or op.inputs[position] < 0:
            raise self.broken(op, f"operand {position} is missing; convert the model again")
        return self.model.tensors[op.inputs[position]]

    def given(self, op: Operator, position: int) -> bool:
        return position < len(op.inputs) and op.inputs[position] >= 0

    def is_constant(self, op: Operator, position: int) -> bool:
        return self.info(op, position).data is not None

    def value(self, op: Operator, position: int = 0) -> Value:
        """A computed operand, its padding put around it."""
        self.padded_value(op, position)
        return self.settled(op.inputs[position])

    def padded_value(self, op: Operator, position: int = 0) -> Value:
        """A computed operand, whose padding the caller takes over."""
        found = self.any_value(op, position)
        if found.steps:
            raise self.unsupported(
                op,
                f"it reads the result of {found.steps[-1].op}, which runs on the host behind the "
                "accelerator; leave it out, or make it the network's last operation",
            )
        self.coding(op, self.info(op, position))
        return found

    def any_value(self, op: Operator, position: int = 0) -> Value:
        """A computed operand, of any type and whoever computes it."""
        info = self.info(op, position)
        if info.data is not None:
            raise self.unsupported(
                op, f"its operand {info.name!r} is constant; fold constants before converting"
            )
        if info.index in self.model.inputs and info.index not in self.values:
            raise self.unsupported(
                op, f"it reads the input {info.name!r}, which is {info.type}; {QUANTISE}"
            )
        if info.index not in self.values:
            raise self.broken(
                op, f"it reads {info.name!r}, which nothing before it computes; convert again"
            )
        return self.values[info.index]

    def constant(self, op: Operator, position: int) -> npt.NDArray[Any]:
        """The values of a constant operand."""
        info = self.info(op, position)
        if info.data is None:
            raise self.unsupported(
                op, f"its operand {info.name!r} is computed; a constant is accepted"
            )
        return info.data

    def integers(self, op: Operator, position: int) -> list[int]:
        """A constant operand that lists integers: axes, sizes, paddings."""
        data = self.constant(op, position)
        if data.dtype.kind not in "iu":
            raise self.broken(op, f"operand {position} is {data.dtype}; integers are needed")
        return [int(value) for value in data.reshape(-1)]

    def coding(self, op: Operator, info: TensorInfo) -> Coding:
        """Scale and zero point of an int8 tensor that has one of each."""
        if info.type != "INT8":
            raise self.unsupported(
                op, f"tensor {info.name!r} is {info.type}, INT8 is accepted; {QUANTISE}"
            )
        found = info.quantization
        if found is None or found.scale.size != 1:
            raise self.unsupported(op, f"tensor {info.name!r} has no single scale; {QUANTISE}")
        zero = int(found.zero_point[0])
        if not INT8_MIN <= zero <= INT8_MAX:
            raise self.broken(
                op, f"tensor {info.name!r} has zero point {zero}, outside int8; quantise it again"
            )
        return Coding(float(found.scale[0]), zero)

    def input_coding(self, op: Operator, position: int = 0) -> Coding:
        return self.coding(op, self.info(op, position))

    def output(self, op: Operator, position: int = 0) -> TensorInfo:
        return self.model.tensors[op.outputs[position]]

    def output_coding(self, op: Operator, position: int = 0) -> Coding:
        return self.coding(op, self.output(op, position))

    def shape(self, value: Value) -> Shape:
        """(C, H, W) of the map that holds a value, without its padding."""
        return self.tensors[value.tensor].shape

    def map_shape(self, op: Operator, value: Value) -> Shape:
        """(C, H, W), the value being read as a map: TFLite's extents must say the same.

        Raises
        ------
        UnsupportedOpError
            A reshape has made another map of it.
        """
        shape = self.shape(value)
        top, bottom, left, right = value.padding
        padded = shape[0], shape[1] + top + bottom, shape[2] + left + right
        if map_shape(value.extents) != padded:
            raise self.unsupported(
                op,
                f"it reads {list(value.extents)}, reshaped from a map of "
                f"{[1, *padded[1:], padded[0]]}; reshapes that flatten, or add or drop extents of "
                "1, are accepted",
            )
        return shape

    # --- results -----------------------------------------------------------------------------
    def result(
        self, op: Operator, shape: Shape, extents: tuple[int, ...] | None = None, position: int = 0
    ) -> str:
        """Declare the tensor that an operator writes, a map of ``shape``; its name.

        ``extents`` are TFLite's where they are not those of the map.
        """
        info = self.output(op, position)
        coding = self.coding(op, info)
        right = map_shape(info.shape) == shape if extents is None else info.shape == extents
        if not right or math.prod(info.shape) != math.prod(shape):
            computed = [1, *shape[1:], shape[0]] if extents is None else list(extents)
            raise self.broken(
                op, f"it computes {computed}, but declares {list(info.shape)}; convert again"
            )
        if info.index in self.values:
            raise self.broken(op, f"{info.name!r} is written twice; convert the model again")
        name = self.declare(info.name, shape, coding)
        self.values[info.index] = Value(name, info.shape)
        return name

    def declare(self, name: str, shape: Shape, coding: Coding) -> str:
        """A tensor of the graph; a number makes its name unique."""
        unique, number = name, 1
        while unique in self.tensors:
            number += 1
            unique = f"{name}:{number}"
        self.tensors[unique] = ir.Tensor(unique, shape, coding.scale, coding.zero_point)
        return unique

    def alias(self, op: Operator, value: Value) -> None:
        """The operator's output is ``value`` by another shape."""
        self.values[op.outputs[0]] = replace(value, extents=self.output(op).shape)

    def name(self, op: Operator, part: str = "") -> str:
        """A new operation's name; operators that become several tell their parts apart."""
        name = f"{op.index:02d}_{op.kind}{part}"
        self.origin[name] = self.model.where(op)
        self.owners[name] = op.index
        return name

    def emit(self, op: ir.Op) -> None:
        self.ops.append(op)

    def multipliers(self, ratios: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """(multiplier, shift) of each real ratio [O]."""
        pairs = [quantize_multiplier(float(ratio)) for ratio in np.atleast_1d(ratios)]
        multiplier, shift = zip(*pairs, strict=True)
        return np.array(multiplier, np.int32), np.array(shift, np.int32)

    def bounds(self, op: Operator, coding: Coding) -> tuple[int, int]:
        """Codes that the fused activation clamps to."""
        kind = op.options["FusedActivationFunction"]
        found = activation_bounds(kind, coding)
        if found is None:
            raise self.unsupported(
                op, f"its fused activation is {kind}; NONE, RELU, RELU6, RELU_N1_TO_1 are accepted"
            )
        return found

    def pointwise(
        self, op: Operator, name: str, x: str, y: str, ratios: npt.ArrayLike, **changes: Any
    ) -> None:
        """y = zy + ratio * (x - zx), a ratio for each channel: a depthwise convolution of 1 by 1.

        ``changes`` replace its weights, bias, window or bounds.
        """
        channels = self.tensors[x].shape[0]
        full = np.broadcast_to(np.asarray(ratios, np.float64), (channels,))
        multiplier, shift = self.multipliers(full)
        made = ir.Conv2d(
            name, x, y, np.ones((channels, 1, 1, 1), np.int8), np.zeros(channels, np.int32),
            multiplier, shift, ir.Window((1, 1)), channels,
        )  # fmt: skip
        self.emit(replace(made, **changes))

    def settled(self, index: int) -> Value:
        """A tensor's value, the padding that waits being put around its map."""
        value = self.values[index]
        if value.padding == UNPADDED:
            return value
        info = self.model.tensors[index]
        maker = next(op for op in self.model.operators if index in op.outputs)
        channels, height, width = self.shape(value)
        top, bottom, left, right = value.padding
        shape = channels, height + top + bottom, width + left + right
        y = self.declare(info.name, shape, self.coding(maker, info))
        window = ir.Window((1, 1), padding=value.padding)
        self.pointwise(maker, self.name(maker), value.tensor, y, 1.0, window=window)
        self.values[index] = Value(y, value.extents)
        return self.values[index]


def map_shape(extents: tuple[int, ...]) -> Shape | None:
    """(C, H, W) of TFLite's [1, H, W, C], [1, W, C] or [1, C]; None of any other shape."""
    if not 2 <= len(extents) <= 4 or extents[0] != 1:
        return None
    height, width = (1, 1, *extents[1:-1])[-2:]
    return extents[-1], height, width


def activation_bounds(kind: str, coding: Coding) -> tuple[int, int] | None:
    """Codes that an activation clamps to (TFLite's CalculateActivationRangeQuantized)."""
    limits = {
        "NONE": (-math.inf, math.inf),
        "RELU": (0.0, math.inf),
        "RELU6": (0.0, 6.0),
        "RELU_N1_TO_1": (-1.0, 1.0),
        "RELU_0_TO_1": (0.0, 1.0),
    }.get(kind)
    if limits is None:
        return None
    low, high = limits
    least = INT8_MIN if math.isinf(low) else max(INT8_MIN, _code(low, coding))
    most = INT8_MAX if math.isinf(high) else min(INT8_MAX, _code(high, coding))
    return min(least, INT8_MAX), max(most, least)


def _code(value: float, coding: Coding) -> int:
    return coding.zero_point + int(round_away(np.float32(value) / np.float32(coding.scale)))


def round_away(x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """To the nearest integer, halves away from zero: TfLiteRound."""
    x = np.asarray(x, np.float64)
    rounded: npt.NDArray[np.float64] = np.sign(x) * np.floor(np.abs(x) + 0.5)
    return rounded.astype(np.int64)
