"""Small TFLite files, written with the schema's own builder functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

TYPES = {
    np.dtype(np.int8): tflite.TensorType.INT8,
    np.dtype(np.uint8): tflite.TensorType.UINT8,
    np.dtype(np.int16): tflite.TensorType.INT16,
    np.dtype(np.int32): tflite.TensorType.INT32,
    np.dtype(np.float32): tflite.TensorType.FLOAT32,
}


@dataclass
class Tensor:
    name: str
    shape: Sequence[int]
    dtype: npt.DTypeLike = np.int8
    scale: float | Sequence[float] | None = 0.5
    zero: int | Sequence[int] = 0
    axis: int = 0
    data: npt.NDArray[Any] | None = None
    signature: Sequence[int] | None = None


@dataclass
class Op:
    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Mapping[str, Any] = field(default_factory=dict)
    table: str | None = None


class Model:
    """Tensors and operators in order; ``bytes`` is the file."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def tensor(self, name: str, shape: Sequence[int], **more: Any) -> int:
        self.tensors.append(Tensor(name, shape, **more))
        return len(self.tensors) - 1

    def input(self, shape: Sequence[int], **more: Any) -> int:
        self.inputs.append(self.tensor(f"input{len(self.inputs)}", shape, **more))
        return self.inputs[-1]

    def constant(self, name: str, data: npt.ArrayLike, dtype: Any = np.int8, **more: Any) -> int:
        values = np.asarray(data, dtype)
        scale = more.pop("scale", None if values.dtype.kind == "i" and dtype != np.int8 else 0.25)
        return self.tensor(name, values.shape, dtype=dtype, scale=scale, data=values, **more)

    def op(
        self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: Any = None,
        **more: Any,
    ) -> int:  # fmt: skip
        """An operator with one output."""
        output = self.tensor(f"{kind.lower()}{len(self.ops)}", shape, **more)
        self.add(kind, inputs, [output], options)
        return output

    def add(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None
    ) -> None:
        table, values = options if options else (None, {})
        self.ops.append(Op(kind, inputs, outputs, values, table))

    def bytes(self, *, version: int = 3, subgraphs: int = 1) -> bytes:
        b = flatbuffers.Builder(1024)
        blobs = [np.zeros(0, np.uint8)]
        places = []
        for tensor in self.tensors:
            places.append(0 if tensor.data is None else len(blobs))
            if tensor.data is not None:
                blobs.append(np.frombuffer(np.ascontiguousarray(tensor.data).tobytes(), np.uint8))
        buffers = _vector(b, tflite.ModelStartBuffersVector, [_buffer(b, blob) for blob in blobs])
        tensors = [_tensor(b, t, place) for t, place in zip(self.tensors, places, strict=True)]
        kinds = list(dict.fromkeys(op.kind for op in self.ops))
        codes = _vector(b, tflite.ModelStartOperatorCodesVector, [_code(b, k) for k in kinds])
        operators = _vector(
            b,
            tflite.SubGraphStartOperatorsVector,
            [_operator(b, op, kinds.index(op.kind)) for op in self.ops],
        )
        tables = _vector(b, tflite.SubGraphStartTensorsVector, tensors)
        inputs = b.CreateNumpyVector(np.array(self.inputs, np.int32))
        outputs = b.CreateNumpyVector(np.array(self.outputs, np.int32))
        graphs = []
        for _ in range(subgraphs):
            tflite.SubGraphStart(b)
            tflite.SubGraphAddTensors(b, tables)
            tflite.SubGraphAddInputs(b, inputs)
            tflite.SubGraphAddOutputs(b, outputs)
            tflite.SubGraphAddOperators(b, operators)
            graphs.append(tflite.SubGraphEnd(b))
        subgraph = _vector(b, tflite.ModelStartSubgraphsVector, graphs)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, version)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, subgraph)
        tflite.ModelAddBuffers(b, buffers)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())


def _vector(b: Any, start: Any, offsets: Sequence[int]) -> int:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _buffer(b: Any, blob: npt.NDArray[np.uint8]) -> int:
    data = b.CreateNumpyVector(blob) if blob.size else None
    tflite.BufferStart(b)
    if data is not None:
        tflite.BufferAddData(b, data)
    return int(tflite.BufferEnd(b))


def _tensor(b: Any, tensor: Tensor, place: int) -> int:
    name = b.CreateString(tensor.name)
    shape = b.CreateNumpyVector(np.array(tensor.shape, np.int32))
    signature = None
    if tensor.signature is not None:
        signature = b.CreateNumpyVector(np.array(tensor.signature, np.int32))
    coding = None
    if tensor.scale is not None:
        scale = b.CreateNumpyVector(np.atleast_1d(np.array(tensor.scale, np.float32)))
        zero = b.CreateNumpyVector(np.atleast_1d(np.array(tensor.zero, np.int64)))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale)
        tflite.QuantizationParametersAddZeroPoint(b, zero)
        tflite.QuantizationParametersAddQuantizedDimension(b, tensor.axis)
        coding = tflite.QuantizationParametersEnd(b)
    tflite.TensorStart(b)
    tflite.TensorAddShape(b, shape)
    tflite.TensorAddType(b, TYPES[np.dtype(tensor.dtype)])
    tflite.TensorAddBuffer(b, place)
    tflite.TensorAddName(b, name)
    if coding is not None:
        tflite.TensorAddQuantization(b, coding)
    if signature is not None:
        tflite.TensorAddShapeSignature(b, signature)
    return int(tflite.TensorEnd(b))


def _code(b: Any, kind: str) -> int:
    number = getattr(tflite.BuiltinOperator, kind)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(b, number)
    tflite.OperatorCodeAddVersion(b, 1)
    return int(tflite.OperatorCodeEnd(b))


def _operator(b: Any, op: Op, code: int) -> int:
    inputs = b.CreateNumpyVector(np.array(op.inputs, np.int32))
    outputs = b.CreateNumpyVector(np.array(op.outputs, np.int32))
    options = None
    if op.table:
        getattr(tflite, f"{op.table}Start")(b)
        for name, value in op.options.items():
            getattr(tflite, f"{op.table}Add{name}")(b, value)
        options = getattr(tflite, f"{op.table}End")(b)
    tflite.OperatorStart(b)
    tflite.OperatorAddOpcodeIndex(b, code)
    tflite.OperatorAddInputs(b, inputs)
    tflite.OperatorAddOutputs(b, outputs)
    if op.table and options is not None:
        tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, op.table))
        tflite.OperatorAddBuiltinOptions(b, options)
    return int(tflite.OperatorEnd(b))


ACTIVATION = tflite.ActivationFunctionType
PADDING = tflite.Padding
Options = tuple[str, dict[str, Any]]


def conv(
    padding: int = PADDING.VALID, stride: tuple[int, int] = (1, 1),
    activation: int = ACTIVATION.NONE, dilation: tuple[int, int] = (1, 1),
) -> Options:  # fmt: skip
    return "Conv2DOptions", {
        "Padding": padding, "StrideH": stride[0], "StrideW": stride[1],
        "FusedActivationFunction": activation,
        "DilationHFactor": dilation[0], "DilationWFactor": dilation[1],
    }  # fmt: skip


def depthwise(multiplier: int, **more: Any) -> Options:
    return "DepthwiseConv2DOptions", {**conv(**more)[1], "DepthMultiplier": multiplier}


def pool(
    kernel: tuple[int, int], stride: tuple[int, int] = (1, 1), padding: int = PADDING.VALID,
    activation: int = ACTIVATION.NONE,
) -> Options:  # fmt: skip
    return "Pool2DOptions", {
        "Padding": padding, "StrideH": stride[0], "StrideW": stride[1],
        "FilterHeight": kernel[0], "FilterWidth": kernel[1],
        "FusedActivationFunction": activation,
    }  # fmt: skip


def fused(table: str, activation: int = ACTIVATION.NONE, **more: Any) -> Options:
    return table, {"FusedActivationFunction": activation, **more}
