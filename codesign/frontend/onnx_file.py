"""Reads an ``.onnx`` file: what a converter needs of it, checked.

The schema is the ONNX specification's, read and checked by the ``onnx`` package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from codesign.errors import GraphError

OLDEST_OPSET = 11
"""Clip and Pad take their bounds and amounts as inputs from then on."""
_FLOAT, _CODES = onnx.TensorProto.FLOAT, (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "Trunc")
"""Operators of the QDQ format and of QONNX that bring scales."""
Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Node:
    """An operator of the graph; inputs that are not given have an empty name."""

    kind: str
    name: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: onnx.NodeProto

    @property
    def where(self) -> str:
        """The node, for messages."""
        return f"{self.kind} node {self.name!r}"


@dataclass(frozen=True, eq=False)
class ModelFile:
    """The graph of a file. ``extents`` are the input's without its ``batch``, which is 1 where the
    file leaves it open; ``input_type`` is float32, int8 or uint8."""

    name: str
    opset: int
    input: str
    extents: tuple[int, ...]
    batch: int
    input_type: np.dtype[Any]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]

    @property
    def takes_codes(self) -> bool:
        """Whether the input is of int8 or uint8 codes."""
        return self.input_type.kind in "iu"

    @property
    def quantized(self) -> bool:
        """Whether nodes quantise or dequantise: the file brings its own scales."""
        return any(node.kind in QUANTIZING for node in self.nodes)


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a file.

    Raises
    ------
    GraphError
        The file is damaged or contradicts itself, is of an opset that is not accepted, or has not
        one input of known shape.
    """
    return from_proto(load_checked(path), Path(path).stem)


def load_checked(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The model of a file, with its external data; ``GraphError`` where it is damaged."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        remedy = "export it again"
        if "stored in" in reason or "External data" in reason:
            remedy = "put its whole data file beside the model"
        raise GraphError(f"{os.fspath(path)} is no valid ONNX model: {reason}; {remedy}") from error
    return model


def from_proto(model: onnx.ModelProto, name: str) -> ModelFile:
    """What a model that has been loaded and checked says; raises as ``read_model``."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")),
                default=0)  # fmt: skip
    if opset < OLDEST_OPSET:
        raise GraphError(
            f"{name}: opset {opset} is older than {OLDEST_OPSET}; convert the model with "
            "onnx.version_converter.convert_version(model, 13)"
        )
    graph = model.graph
    if graph.sparse_initializer:
        raise GraphError(f"{name}: it has sparse initializers; export them dense")
    constants = {one.name: _array(one) for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constants]
    if len(inputs) != 1:
        raise GraphError(
            f"{name}: it has {len(inputs)} inputs {[one.name for one in inputs]}; one is accepted"
        )
    batch, *extents = _extents(inputs[0])
    return ModelFile(
        name, opset, inputs[0].name, tuple(extents), batch,
        onnx.helper.tensor_dtype_to_np_dtype(inputs[0].type.tensor_type.elem_type),
        tuple(one.name for one in graph.output), _nodes(graph), constants,
    )  # fmt: skip


def _array(tensor: onnx.TensorProto) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise GraphError(
            f"initializer {tensor.name!r} of shape {list(tensor.dims)} cannot be read ({error}); "
            "export the model again"
        ) from error


def _extents(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The input's shape, an open batch being 1."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type not in (_FLOAT, *_CODES):
        known = {number: kind for kind, number in onnx.TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, f"of the unknown type {tensor.elem_type}")
        raise GraphError(f"input {value.name!r} is {kind}; FLOAT, INT8 and UINT8 are accepted")
    dims = tensor.shape.dim
    shown = [one.dim_value or one.dim_param or "?" for one in dims]
    if len(dims) not in (2, 4):
        raise GraphError(f"input {value.name!r} is {shown}; [B, C, H, W] or [B, F] is accepted")
    if any(one.dim_value < 1 for one in dims[1:]):
        raise GraphError(
            f"input {value.name!r} has dynamic shape {shown}; the batch alone may be: fix the "
            "others with onnx.tools.update_model_dims"
        )
    return (max(dims[0].dim_value, 1), *(one.dim_value for one in dims[1:]))


def _nodes(graph: onnx.GraphProto) -> tuple[Node, ...]:
    """The nodes, with unique names."""
    nodes: list[Node] = []
    taken: set[str] = set()
    for index, proto in enumerate(graph.node):
        name = proto.name or f"{proto.op_type}_{index}"
        while name in taken:
            name = f"{name}:{index}"
        taken.add(name)
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in proto.attribute}
        node = Node(
            proto.op_type, name, proto.domain, tuple(proto.input), tuple(proto.output),
            attributes, proto,
        )  # fmt: skip
        nodes.append(replace(node, attributes={**attributes, **_text(attributes)}))
    return tuple(nodes)


def _text(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes of text, decoded."""
    found = {key: value for key, value in attributes.items() if isinstance(value, bytes)}
    return {key: value.decode(errors="replace") for key, value in found.items()}


def array_of_shape(batch: int, extents: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """A shape as the tensor that Shape makes of it."""
    return np.array([batch, *extents], np.int64)
