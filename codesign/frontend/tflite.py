"""Quantised TFLite models become graphs, their weights and quantisation parameters unchanged.

The scheme is TFLite's int8 specification (Jacob et al., CVPR 2018; "TensorFlow Lite 8-bit
quantization specification"). Only the multipliers are narrower than TFLite's (``codesign.arith``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.artifact import HostStep
from codesign.frontend import tflite_channels as channels
from codesign.frontend import tflite_ends as ends
from codesign.frontend import tflite_pointwise as pointwise
from codesign.frontend import tflite_upsampling as upsampling
from codesign.frontend import tflite_windows as windows
from codesign.frontend.tflite_file import ModelFile, Operator, read_model
from codesign.frontend.tflite_scope import UNPADDED, Scope

Codes = npt.NDArray[np.int8]


class ClampedWeightsWarning(UserWarning):
    """Weights of -128, which the machine does not have, have become -127."""


@dataclass(frozen=True)
class ImportedOperator:
    """An operator of the file, the operations that it became, and the tensors that hold its results
    (none where it joined another operation, or runs on the host)."""

    index: int
    kind: str
    ops: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph, what the host does behind it, and where the file's operators are in it."""

    graph: ir.Graph
    host_steps: tuple[HostStep, ...]
    operators: tuple[ImportedOperator, ...]

    def codes(self, tensor: str, values: npt.NDArray[np.generic]) -> Codes:
        """[K, C, H, W] of int8 values [K, ...] in TFLite's order of a tensor (NHWC, or flat).

        Raises
        ------
        ValueError
            The values are not int8, or not as many as the tensor has.
        """
        found_channels, height, width = self.graph.tensors[tensor].shape
        size = found_channels * height * width
        if values.dtype != np.int8 or values.ndim < 1 or values.size != len(values) * size:
            raise ValueError(
                f"{tensor!r}: {values.dtype} values of shape {values.shape} are given; int8 of "
                f"shape {(len(values) if values.ndim else 1, height, width, found_channels)} are "
                "needed"
            )
        maps = values.reshape(len(values), height, width, found_channels).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(maps).astype(np.int8)


def load_tflite(path: str | os.PathLike[str], batch: int = 1) -> Imported:
    """Import a ``.tflite`` file of a network quantised to int8.

    Parameters
    ----------
    batch:
        Samples of one inference of the graph; the file's own batch is 1.

    Raises
    ------
    GraphError
        The file is damaged, contradicts itself, or is no full-integer model.
    UnsupportedOpError
        An operator, or a use of one, that the machine cannot execute.

    Warns
    -----
    ClampedWeightsWarning
        Weights of -128 were clamped to -127.
    """
    return import_model(read_model(path), batch)


def import_model(model: ModelFile, batch: int = 1) -> Imported:
    """Convert a file that has been read."""
    scope = Scope(model)
    for index in model.inputs:
        ends.model_input(scope, index)
    for op in model.operators:
        convert = OPERATORS.get(op.kind)
        if convert is None:
            raise scope.unsupported(op, REMEDIES.get(op.kind, ACCEPTED))
        try:
            convert(scope, op)
        except ValueError as error:  # of arithmetic: scales out of all proportion
            raise scope.broken(op, str(error)) from error
    outputs, steps = ends.model_outputs(scope)
    inputs = ends.model_inputs(scope)
    ops = _needed(scope.ops, outputs)
    used = {*inputs, *outputs} | {name for op in ops for name in (*ir.op_inputs(op), op.y)}
    graph = ir.Graph(
        name=model.name,
        batch=batch,
        tensors={name: tensor for name, tensor in scope.tensors.items() if name in used},
        ops=ops,
        inputs=inputs,
        outputs=outputs,
        origin={op.name: scope.origin[op.name] for op in ops},
    )
    ir.verify(graph)
    _warn(scope)
    return Imported(graph, steps, tuple(_imported(scope, graph, op) for op in model.operators))


def _needed(ops: list[ir.Op], outputs: tuple[str, ...]) -> tuple[ir.Op, ...]:
    """The operations that an output depends on."""
    live, kept = set(outputs), []
    for op in reversed(ops):
        if op.y in live:
            kept.append(op)
            live.update(ir.op_inputs(op))
    return tuple(reversed(kept))


def _imported(scope: Scope, graph: ir.Graph, op: Operator) -> ImportedOperator:
    made = tuple(made.name for made in graph.ops if scope.owners[made.name] == op.index)
    values = [scope.values.get(index) for index in op.outputs]
    results = tuple(
        value.tensor
        for value in values
        if value and not value.steps and value.padding == UNPADDED and value.tensor in graph.tensors
    )
    return ImportedOperator(op.index, op.kind, made, results)


def _warn(scope: Scope) -> None:
    if scope.clamped:
        places = ", ".join(f"{count} in {where}" for where, count in scope.clamped.items())
        warnings.warn(
            f"{scope.model.name}: {sum(scope.clamped.values())} weights of -128 became -127, the "
            f"machine's least: {places}",
            ClampedWeightsWarning,
            stacklevel=4,
        )


OPERATORS: Mapping[str, Callable[[Scope, Operator], None]] = {
    "CONV_2D": windows.conv_2d,
    "DEPTHWISE_CONV_2D": windows.depthwise_conv_2d,
    "TRANSPOSE_CONV": upsampling.transpose_conv,
    "RESIZE_NEAREST_NEIGHBOR": upsampling.resize_nearest_neighbor,
    "FULLY_CONNECTED": windows.fully_connected,
    "MAX_POOL_2D": windows.max_pool_2d,
    "AVERAGE_POOL_2D": windows.average_pool_2d,
    "MEAN": windows.mean,
    "PAD": windows.pad,
    "PADV2": windows.pad,
    "ADD": pointwise.add,
    "SUB": pointwise.add,
    "MUL": pointwise.multiply_constant,
    "RELU": pointwise.unary,
    "RELU6": pointwise.unary,
    "RELU_N1_TO_1": pointwise.unary,
    "RELU_0_TO_1": pointwise.unary,
    "LEAKY_RELU": pointwise.unary,
    "LOGISTIC": pointwise.unary,
    "TANH": pointwise.unary,
    "HARD_SWISH": pointwise.unary,
    **dict.fromkeys(channels.MOVING_NOTHING, channels.reshape),
    "TRANSPOSE": channels.reshape,
    "CONCATENATION": channels.concatenation,
    "SPLIT": channels.split,
    "SPLIT_V": channels.split,
    "SLICE": channels.plain_slice,
    "STRIDED_SLICE": channels.strided_slice,
    "QUANTIZE": ends.quantize,
    "DEQUANTIZE": ends.dequantize,
    "SOFTMAX": ends.softmax,
    "ARG_MAX": ends.arg_max,
}
"""Operator -> what converts it."""

ACCEPTED = f"the machine executes {', '.join(sorted(OPERATORS))}"
REMEDIES: Mapping[str, str] = {
    "RESIZE_BILINEAR": "use RESIZE_NEAREST_NEIGHBOR, or a TRANSPOSE_CONV, which interpolates with "
    "the right weights",
}
"""What to do about some operators that are refused."""
