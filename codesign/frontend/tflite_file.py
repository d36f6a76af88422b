"""TFLite model files, read and checked: every table, vector and tensor lies inside the file.

The flatbuffer follows TFLite's schema (tensorflow/compiler/mlir/lite/schema/schema.fbs), whose
generated classes read whatever the bytes say; what they say is checked here.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite

from codesign.errors import GraphError

IDENTIFIER = b"TFL3"
VERSION = 3
_SOFFSET, _VOFFSET = 4, 2
"""Bytes of the offsets to and in a table's vtable."""
_DAMAGE = (struct.error, ValueError, TypeError, IndexError, OverflowError, AttributeError)
"""What the generated classes raise where the bytes make no sense."""

_NUMPY: Mapping[str, type[np.generic]] = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "FLOAT64": np.float64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "BOOL": np.bool_,
}  # fmt: skip

_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_DILATION = ("DilationHFactor", "DilationWFactor")
_POOL = ("Pool2DOptions", (*_WINDOW, "FilterHeight", "FilterWidth"))
_FUSED = ("FusedActivationFunction",)
OPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "CONV_2D": ("Conv2DOptions", (*_WINDOW, *_DILATION)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (*_WINDOW, *_DILATION, "DepthMultiplier")),
    "TRANSPOSE_CONV": ("TransposeConvOptions", _WINDOW),
    "RESIZE_NEAREST_NEIGHBOR": (
        "ResizeNearestNeighborOptions",
        ("AlignCorners", "HalfPixelCenters"),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (*_FUSED, "WeightsFormat", "KeepNumDims")),
    "ADD": ("AddOptions", _FUSED),
    "SUB": ("SubOptions", _FUSED),
    "MUL": ("MulOptions", _FUSED),
    "MAX_POOL_2D": _POOL,
    "AVERAGE_POOL_2D": _POOL,
    "CONCATENATION": ("ConcatenationOptions", ("Axis", *_FUSED)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
    ),
}
"""Operator -> its table of options, and the fields of it that matter, by the schema's names."""


@dataclass(frozen=True, eq=False)
class Quantization:
    """Codes q stand for scale * (q - zero_point): one of each, or one per index of ``axis``."""

    scale: npt.NDArray[np.float64]
    zero_point: npt.NDArray[np.int64]
    axis: int


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """A tensor with TFLite's extents (NHWC); ``data`` holds a constant's values."""

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    quantization: Quantization | None
    data: npt.NDArray[Any] | None


@dataclass(frozen=True)
class Operator:
    """``inputs`` and ``outputs`` index tensors, -1 where an optional one is not given."""

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ModelFile:
    """The one subgraph of a model."""

    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def readers(self, tensor: int) -> tuple[Operator, ...]:
        """The operators that read a tensor."""
        return tuple(op for op in self.operators if tensor in op.inputs)

    def where(self, op: Operator) -> str:
        """How messages name an operator."""
        return f"operator {op.index} {op.kind} ({self.tensors[op.outputs[0]].name!r})"


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read a ``.tflite`` file.

    Raises
    ------
    GraphError
        The file is no TFLite model, is damaged, or holds what cannot be imported (several
        subgraphs, dynamic shapes, sparse or external tensors).
    """
    path = Path(path)
    return parse_model(path.read_bytes(), path.name, path.stem)


def parse_model(data: bytes, file: str, name: str) -> ModelFile:
    """Read a model from memory; ``file`` is what messages call it, ``name`` the network's name."""
    if len(data) < 2 * len(IDENTIFIER) or data[4:8] != IDENTIFIER:
        found = data[4:8]
        raise GraphError(
            f"{file!r} is no TFLite model: its identifier is {found!r}, not {IDENTIFIER!r}; "
            "give the file that the TFLite converter wrote"
        )
    try:
        return _Reader(data, file, name).model()
    except _DAMAGE as error:
        raise GraphError(
            f"{file!r} is damaged or cut off ({error}); convert or copy the model again"
        ) from error


class _Reader:
    def __init__(self, data: bytes, file: str, name: str) -> None:
        self.data, self.file, self.name = data, file, name

    def refuse(self, problem: str) -> GraphError:
        return GraphError(f"{self.file!r}: {problem}")

    def table(self, found: Any) -> Any:
        """A table, once its vtable and its fields are known to lie inside the file."""
        position = found._tab.Pos
        self._within(position, _SOFFSET)
        vtable = position - struct.unpack_from("<i", self.data, position)[0]
        self._within(vtable, 2 * _VOFFSET)
        size, extent = struct.unpack_from("<HH", self.data, vtable)
        if size < 2 * _VOFFSET or size % _VOFFSET:
            raise ValueError(f"the vtable at byte {vtable} has {size} bytes")
        self._within(vtable, size)
        self._within(position, extent)
        fields = struct.unpack_from(f"<{size // _VOFFSET - 2}H", self.data, vtable + 2 * _VOFFSET)
        if fields and max(fields) >= extent:
            raise ValueError(f"the table at byte {position} has a field outside itself")
        return found

    def _within(self, position: int, size: int) -> None:
        if position < 0 or size < 0 or position + size > len(self.data):
            raise ValueError(f"byte {position} to {position + size} of {len(self.data)}")

    def tables(self, count: int, get: Callable[[int], Any]) -> Iterator[Any]:
        if count > len(self.data):
            raise ValueError(f"a vector of {count} tables in {len(self.data)} bytes")
        for index in range(count):
            yield self.table(get(index))

    def model(self) -> ModelFile:
        model = self.table(tflite.Model.GetRootAs(self.data, 0))
        if model.Version() != VERSION:
            raise self.refuse(
                f"schema version {model.Version()}, this importer reads {VERSION}; "
                "convert the model again"
            )
        if model.SubgraphsLength() != 1:
            raise self.refuse(
                f"the model has {model.SubgraphsLength()} subgraphs, one is accepted; convert it "
                "without control flow or export one signature"
            )
        buffers = [self._buffer(at) for at in self.tables(model.BuffersLength(), model.Buffers)]
        codes = list(self.tables(model.OperatorCodesLength(), model.OperatorCodes))
        (graph,) = self.tables(1, model.Subgraphs)
        tensors = tuple(
            self._tensor(index, at, buffers)
            for index, at in enumerate(self.tables(graph.TensorsLength(), graph.Tensors))
        )
        kinds = [_kind(code) for code in codes]
        operators = tuple(
            self._operator(index, at, kinds, len(tensors))
            for index, at in enumerate(self.tables(graph.OperatorsLength(), graph.Operators))
        )
        inputs = _indices(graph.InputsAsNumpy(), len(tensors), 0, "inputs")
        outputs = _indices(graph.OutputsAsNumpy(), len(tensors), 0, "outputs")
        if not operators or not inputs or not outputs:
            raise self.refuse("the model has no operators, inputs or outputs; convert it again")
        return ModelFile(self.name, tensors, operators, inputs, outputs)

    def _buffer(self, buffer: Any) -> npt.NDArray[np.uint8]:
        if buffer.Offset() > 1:
            raise self.refuse("weights lie outside the flatbuffer; convert to a file below 2 GB")
        return _vector(buffer.DataAsNumpy(), np.uint8)

    def _tensor(self, index: int, tensor: Any, buffers: list[npt.NDArray[np.uint8]]) -> TensorInfo:
        name = (tensor.Name() or b"").decode("utf-8", "replace") or f"tensor {index}"
        place = f"tensor {index} {name!r}"
        shape = tuple(_vector(tensor.ShapeAsNumpy(), np.int32).tolist())
        signature = tuple(_vector(tensor.ShapeSignatureAsNumpy(), np.int32).tolist())
        if any(extent < 1 for extent in shape) or any(extent < 1 for extent in signature[1:]):
            raise self.refuse(
                f"{place} has the dynamic shape {list(signature or shape)}; convert with fixed "
                "extents (only the batch may be open)"
            )
        if tensor.Sparsity() is not None or tensor.IsVariable():
            raise self.refuse(f"{place} is sparse or a variable; convert without either")
        kind = _name_of(tflite.TensorType, tensor.Type())
        data = buffers[_index(tensor.Buffer(), len(buffers), f"{place}: buffer")]
        values = self._values(place, kind, shape, data) if data.size else None
        quantization = tensor.Quantization()
        coding = None
        if quantization is not None:
            coding = self._quantization(place, shape, self.table(quantization))
        return TensorInfo(index, name, shape, kind, coding, values)

    def _values(
        self, place: str, kind: str, shape: tuple[int, ...], data: npt.NDArray[np.uint8]
    ) -> npt.NDArray[Any]:
        if kind not in _NUMPY:
            raise self.refuse(f"{place} holds {kind} values; int8 weights are accepted")
        dtype = np.dtype(_NUMPY[kind]).newbyteorder("<")
        if data.size != math.prod(shape) * dtype.itemsize:
            raise self.refuse(
                f"{place} of shape {list(shape)} has {data.size} bytes of {kind}; "
                "convert or copy the model again"
            )
        values: npt.NDArray[Any] = data.view(dtype).reshape(shape)
        return values

    def _quantization(self, place: str, shape: tuple[int, ...], found: Any) -> Quantization | None:
        scale = _vector(found.ScaleAsNumpy(), np.float32).astype(np.float64)
        zero_point = _vector(found.ZeroPointAsNumpy(), np.int64)
        axis = int(found.QuantizedDimension())
        if not scale.size:
            return None
        if zero_point.size == 0:
            zero_point = np.zeros(scale.size, np.int64)
        many = scale.size > 1
        if zero_point.size == 1 and many:
            zero_point = np.repeat(zero_point, scale.size)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise self.refuse(f"{place} has a scale that is not positive; quantise it again")
        if zero_point.size != scale.size or (
            many and not (0 <= axis < len(shape) and shape[axis] == scale.size)
        ):
            raise self.refuse(
                f"{place} of shape {list(shape)} has {scale.size} scales and {zero_point.size} "
                f"zero points along axis {axis}; quantise it again"
            )
        return Quantization(scale, zero_point, axis)

    def _operator(self, index: int, op: Any, kinds: list[str], tensors: int) -> Operator:
        kind = kinds[_index(op.OpcodeIndex(), len(kinds), f"operator {index}: code")]
        place = f"operator {index} {kind}"
        inputs = _indices(op.InputsAsNumpy(), tensors, -1, f"{place}: inputs")
        outputs = _indices(op.OutputsAsNumpy(), tensors, 0, f"{place}: outputs")
        if not outputs:
            raise self.refuse(f"{place} has no output; convert the model again")
        return Operator(index, kind, inputs, outputs, self._options(place, kind, op))

    def _options(self, place: str, kind: str, op: Any) -> Mapping[str, Any]:
        if kind not in OPTIONS:
            return {}
        name, fields = OPTIONS[kind]
        found = op.BuiltinOptions()
        if found is None or op.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise self.refuse(f"{place} has no {name}; convert the model again")
        options = getattr(tflite, name)()
        options.Init(found.Bytes, found.Pos)
        self.table(options)
        values = {field: getattr(options, field)() for field in fields}
        for field, names in (
            ("Padding", tflite.Padding),
            ("FusedActivationFunction", tflite.ActivationFunctionType),
        ):
            if field in values:
                values[field] = _name_of(names, values[field])
        return values


def _kind(code: Any) -> str:
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    if number == tflite.BuiltinOperator.CUSTOM:
        return f"CUSTOM {(code.CustomCode() or b'').decode('utf-8', 'replace')}"
    return _name_of(tflite.BuiltinOperator, number)


def _name_of(names: Any, number: int) -> str:
    """The name of an enumeration's value."""
    for name, value in vars(names).items():
        if not name.startswith("_") and value == number:
            return str(name)
    raise ValueError(f"{number} is no {names.__name__}")


def _vector(found: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """A vector of numbers; the generated classes give 0 for one that is absent."""
    return found if isinstance(found, np.ndarray) else np.zeros(0, dtype)


def _index(value: int, count: int, what: str) -> int:
    if not 0 <= value < count:
        raise ValueError(f"{what} {value} of {count}")
    return int(value)


def _indices(found: Any, count: int, least: int, what: str) -> tuple[int, ...]:
    values = _vector(found, np.int32).tolist()
    for value in values:
        if not least <= value < count:
            raise ValueError(f"{what}: tensor {value} of {count}")
    return tuple(values)
