"""What is known while an ONNX model is converted, and how nodes read their operands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.arith import INT8_MAX, INT8_MIN, WEIGHT_MIN
from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_file import Array, ModelFile, Node
from codesign.ir import Shape
from codesign.quant.values import Coding


@dataclass(frozen=True)
class Value:
    """An ONNX tensor: the network's tensor that holds it, and its extents without the batch.

    ``is_codes``: it is what a QuantizeLinear made, or an input of codes. ``is_rounded``: it is real
    values that codes stand for. ``steps`` are the host's, by name, yet to be done.
    """

    tensor: str
    extents: tuple[int, ...]
    is_codes: bool = False
    is_rounded: bool = False
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Quantized:
    """int8 codes with zero point 0, and their scales, of the same shape."""

    codes: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Weights:
    """Real weights [O, ...], and the scale [O] of each output channel where they are codes."""

    values: FloatArray
    scales: npt.NDArray[np.float64] | None


class Scope:
    """``values``, ``constants`` and ``quantized`` (constants that are codes) are by ONNX's names.

    ``codings`` are those that the model gives, by the network's tensors; ``coded_as`` is the
    network's; ``coded_names`` are ONNX's of rounded values; ``weights`` are by operation.
    ``read_real`` are tensors that something reads unquantised, ``coded_here`` those that a
    QuantizeLinear gave their coding. ``clamped`` counts weights of -128. By ONNX's names,
    ``asymmetric`` has constants' names and zero points, ``functions`` what a tensor is a function
    of, and the nodes between.
    """

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.values: dict[str, Value] = {}
        self.constants: dict[str, Array] = dict(model.constants)
        self.quantized: dict[str, Quantized] = {}
        self.ops: list[net.Op] = []
        self.shapes: dict[str, Shape] = {}
        self.origin: dict[str, str] = {}
        self.codings: dict[str, Coding] = {}
        self.coded_as: dict[str, str] = {}
        self.coded_names: dict[str, str] = {}
        self.weights: dict[str, Weights] = {}
        self.read_real: dict[str, Node] = {}
        self.coded_here: set[str] = set()
        self.clamped: dict[str, int] = {}
        self.asymmetric: dict[str, tuple[str, int]] = {}
        self.functions: dict[str, tuple[str, tuple[Node, ...]]] = {}
        self.shapes[model.input] = map_shape(model.extents)
        self.values[model.input] = Value(model.input, model.extents, model.takes_codes)

    # --- messages --------------------------------------------------------------------------------
    def unsupported(self, node: Node, why: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"{node.where} is not supported: {why}")

    def broken(self, node: Node, why: str) -> GraphError:
        return GraphError(f"{node.where}: {why}")

    # --- operands --------------------------------------------------------------------------------
    def operand(self, node: Node, position: int) -> str:
        """The ONNX name of an input that must be given."""
        if not given(node, position):
            raise self.broken(node, f"input {position} is missing; export the model again")
        return node.inputs[position]

    def is_computed(self, node: Node, position: int) -> bool:
        return self.operand(node, position) in self.values

    def any_value(self, node: Node, position: int = 0) -> Value:
        """A computed operand, codes or behind steps of the host too."""
        name = self.operand(node, position)
        if name in self.constants:
            raise self.unsupported(node, f"its operand {name!r} is constant; it must be computed")
        if name not in self.values:
            raise self.unsupported(node, f"its operand {name!r} is an output that is not computed")
        return self.values[name]

    def value(self, node: Node, position: int = 0) -> Value:
        """A computed operand of real values."""
        found = self.any_value(node, position)
        if found.is_codes:
            raise self.unsupported(
                node, "it reads codes; put a DequantizeLinear before it, as the QDQ format does"
            )
        if found.steps:
            raise self.unsupported(
                node,
                f"it reads the result of {found.steps[-1]}, which runs on the host behind the "
                "accelerator; leave that out, or make it the network's last operation",
            )
        if node.inputs[position] == found.tensor:
            self.read_real.setdefault(found.tensor, node)
        return found

    def map(self, node: Node, position: int = 0) -> tuple[str, Shape]:
        """The tensor of an operand [B, C, H, W] and its (C, H, W)."""
        found = self.value(node, position)
        if len(found.extents) != 3:
            raise self.unsupported(
                node, f"its operand is [B, {_listed(found)}]; maps [B, C, H, W] are accepted"
            )
        return found.tensor, self.shapes[found.tensor]

    def vector(self, node: Node, position: int = 0) -> str:
        """The tensor of an operand [B, F]."""
        found = self.value(node, position)
        if len(found.extents) != 1:
            raise self.unsupported(
                node, f"its operand is [B, {_listed(found)}]; [B, F] is accepted: flatten first"
            )
        return found.tensor

    def constant(self, node: Node, position: int) -> Array | None:
        """The value of a constant operand, or None where it is not given."""
        if not given(node, position):
            return None
        name = node.inputs[position]
        if name not in self.constants:
            raise self.unsupported(node, f"its operand {name!r} must be a constant of the model")
        return self.constants[name]

    def required(self, node: Node, position: int) -> Array:
        """The value of a constant operand that must be given."""
        self.operand(node, position)
        value = self.constant(node, position)
        assert value is not None
        return value

    def floats(self, node: Node, position: int) -> FloatArray:
        """A required constant of real values."""
        value = self.required(node, position)
        if value.dtype.kind != "f":
            raise self.unsupported(node, f"its operand {position} is {value.dtype}; use float32")
        return value.astype(np.float32)

    def axes(self, node: Node, position: int) -> list[int] | None:
        """Axes given by an attribute (older opsets) or an input."""
        if "axes" in node.attributes:
            return [int(axis) for axis in node.attributes["axes"]]
        value = self.constant(node, position)
        return None if value is None else [int(axis) for axis in value.reshape(-1)]

    # --- weights ---------------------------------------------------------------------------------
    def weights_of(
        self, node: Node, rank: int, arrange: Callable[[Array], Array] = np.asarray
    ) -> Weights:
        """Input 1 as weights of ``rank`` dimensions; ``arrange`` brings output channels first."""
        values = self.floats(node, 1)
        if values.ndim != rank:
            raise self.unsupported(
                node, f"its weights have shape {list(values.shape)}; {rank} dimensions are accepted"
            )
        codes = self.quantized.get(node.inputs[1])
        if codes is None:
            if self.model.quantized:
                raise self.unsupported(
                    node, f"its weights {node.inputs[1]!r} are not quantised; quantise every layer"
                )
            return Weights(arrange(values), None)
        if node.inputs[1] in self.asymmetric:
            name, zero = self.asymmetric[node.inputs[1]]
            raise self.unsupported(
                node, f"its weights {name!r} are asymmetric (zero point {zero}); quantise them "
                "symmetrically, to int8 (weight_type=QuantType.QInt8 of quantize_static)"
            )  # fmt: skip
        least, most = int(codes.codes.min()), int(codes.codes.max())
        if least < INT8_MIN or most > INT8_MAX:
            raise self.unsupported(
                node, f"its weights {node.inputs[1]!r} have codes {least}..{most}; quantise them "
                "to signed ones of up to 8 bits"
            )  # fmt: skip
        arranged, scales = arrange(values), arrange(codes.scales)
        scales = scales.reshape(len(arranged), -1)
        if (scales != scales[:, :1]).any():
            raise self.unsupported(
                node, f"its weights {node.inputs[1]!r} have several scales in one output channel; "
                "one for each output channel, or one for all, is accepted"
            )  # fmt: skip
        low = int((codes.codes < WEIGHT_MIN).sum())
        if low:
            self.clamped[node.where] = low
        return Weights(arranged, scales[:, 0])

    # --- results ---------------------------------------------------------------------------------
    def emit(self, node: Node, op: net.Op, extents: tuple[int, ...] | None = None) -> None:
        """The node becomes ``op``; ``extents`` of its output where they are not the map's."""
        shape = net.output_shape(op, self.shapes)
        if min(shape) < 1:
            raise self.broken(node, f"its output would be {shape}; its window exceeds its map")
        self.ops.append(op)
        self.shapes[op.y] = shape
        self.origin[op.name] = node.where
        source = op.x if isinstance(op, net.Moving | net.Pad) else ""
        moved = source in self.codings
        if moved:
            self.codings[op.y] = self.codings[source]  # they move values, and make none but zero
        made = Value(op.y, shape if extents is None else extents, is_rounded=moved)
        self.values[op.y if op.y in node.outputs else node.outputs[0]] = made

    def emit_again(self, node: Node, tensor: str, y: str) -> None:
        """``y`` is what makes ``tensor``, once more, from the nearest codes on."""
        again: net.Op = next(op for op in self.ops if op.y == tensor)
        coded = self.codings.keys() | {self.model.input}
        renamed = {name: f"{y}:{name}" for name in net.op_inputs(again) if name not in coded}
        for name, copy in renamed.items():
            self.emit_again(node, name, copy)
        name = f"{again.name}:{y}"
        if again.name in self.weights:
            self.weights[name] = self.weights[again.name]
        again = dataclasses.replace(net.rename_inputs(again, renamed), name=name, y=y)
        self.emit(node, again)

    def alias(self, node: Node, value: Value) -> None:
        """The node's output is ``value``."""
        self.values[node.outputs[0]] = value

    def attribute(self, node: Node, name: str, default: Any) -> Any:
        return node.attributes.get(name, default)


def given(node: Node, position: int) -> bool:
    """Whether an optional input is there."""
    return position < len(node.inputs) and node.inputs[position] != ""


def map_shape(extents: tuple[int, ...]) -> Shape:
    """(C, H, W) of extents without batch, which may end early."""
    channels, height, width = (*extents, 1, 1)[:3]
    return channels, height, width


def _listed(value: Value) -> str:
    return ", ".join(map(str, value.extents))
