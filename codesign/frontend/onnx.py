"""ONNX models become float networks, or, where they are quantised (QDQ, QONNX), graphs.

Float models go through our own calibration, as torch's do. QDQ models, as ONNX Runtime's static
quantiser makes them, and QONNX ones, which Brevitas exports, keep their own scales and zero points.
"""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codesign import ir
from codesign.artifact import HostStep
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.frontend import onnx_channels as channels
from codesign.frontend import onnx_pointwise as pointwise
from codesign.frontend import onnx_qdq as qdq
from codesign.frontend import onnx_qonnx as qonnx
from codesign.frontend import onnx_upsampling as upsampling
from codesign.frontend import onnx_windows as windows
from codesign.frontend.ends import host_steps
from codesign.frontend.onnx_evaluate import FAILURES, fold
from codesign.frontend.onnx_file import ModelFile, Node, array_of_shape, read_model
from codesign.frontend.onnx_graph import quantized_graph
from codesign.frontend.onnx_scope import Quantized, Scope

if TYPE_CHECKING:
    from codesign.quant.calibrate import Method

_DEFAULT_DOMAINS = ("", "ai.onnx")
_MOVING = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")


class ClampedWeightsWarning(UserWarning):
    """Weights of -128, which the machine does not have, have become -127."""


class CalibratedWarning(UserWarning):
    """A quantised model left tensors unquantised, whose scales came from calibration."""


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph, and what the host does behind it.

    ``names``: of the graph's tensors, which of the file's tensors they are: of those that are
    quantised the rounded values or codes first, then the values before that. ``calibrated`` are
    those that the file leaves unquantised.
    """

    graph: ir.Graph
    host_steps: tuple[HostStep, ...]
    names: Mapping[str, tuple[str, ...]]
    calibrated: tuple[str, ...] = ()


def load_onnx(path: str | os.PathLike[str]) -> net.Network:
    """The float network of an ``.onnx`` file that is not quantised.

    Raises
    ------
    GraphError
        The file is damaged, contradicts itself, is too old, or is quantised.
    UnsupportedOpError
        A node, or a use of one, that the machine cannot execute.
    """
    return import_float(read_model(path))


def load_qdq(
    path: str | os.PathLike[str],
    batch: int = 1,
    calibration: net.FloatArray | None = None,
    method: Method = "minmax",
) -> Imported:
    """The graph of a quantised ``.onnx`` file, for ``batch`` samples of one inference.

    Tensors that the file does not quantise, such as the logits of most QONNX models, get their
    scale from ``calibration``, inputs [K, C, H, W], by a method of ``quant.calibrate``; without it
    they are refused. Raises as ``load_onnx``.

    Warns
    -----
    ClampedWeightsWarning
        Weights of -128 were clamped to -127.
    CalibratedWarning
        Scales came from ``calibration``.
    """
    return import_qdq(read_model(path), batch, calibration, method)


def import_float(model: ModelFile) -> net.Network:
    """Convert a float file that has been read."""
    if model.quantized:
        raise GraphError(f"{model.name!r} is quantised already; it needs no calibration")
    network = _network(_convert(model))
    net.verify(network)
    return network


def import_qdq(
    model: ModelFile,
    batch: int = 1,
    calibration: net.FloatArray | None = None,
    method: Method = "minmax",
) -> Imported:
    """Convert a quantised file that has been read."""
    scope = _convert(model)
    for tensor in sorted(scope.coded_here & scope.read_real.keys()):
        raise scope.unsupported(
            scope.read_real[tensor],
            f"it reads {tensor!r} unquantised, others read its codes; quantise every layer",
        )
    plain = _network(scope)
    graph, calibrated = quantized_graph(scope, plain, batch, calibration, method)
    _warn(scope, calibrated)
    return Imported(graph, host_steps(plain, graph), _names(scope, graph.tensors), calibrated)


def float_names(model: ModelFile, tensors: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Of a float network's tensors, which of the file's they are, as ``Imported.names``."""
    known = {model.input, *(name for node in model.nodes for name in node.outputs)}
    return {name: (name,) for name in tensors if name in known}


def _names(scope: Scope, tensors: Iterable[str]) -> dict[str, tuple[str, ...]]:
    coded = scope.coded_names
    return {
        name: (coded[name], *known) if name in coded else known
        for name, known in float_names(scope.model, tensors).items()
    }


# --- nodes -------------------------------------------------------------------------------------
def _convert(model: ModelFile) -> Scope:
    scope = Scope(model)
    for node in model.nodes:
        _convert_node(scope, node)
    return scope


def _convert_node(scope: Scope, node: Node) -> None:
    if node.domain in qonnx.DOMAINS:
        qonnx.convert(scope, node)
        return
    if node.domain not in _DEFAULT_DOMAINS:
        raise scope.unsupported(
            node, f"its domain is {node.domain!r}; operators of ONNX itself are accepted"
        )
    computed = [name for name in node.inputs if name in scope.values]
    if node.kind == "Shape" and computed:
        _shape(scope, node)
    elif not computed and node.kind != "DequantizeLinear":
        _fold(scope, node)
    elif node.kind in OPERATORS:
        OPERATORS[node.kind](scope, node)
    else:
        raise scope.unsupported(node, REMEDIES.get(node.kind, ACCEPTED))


def _fold(scope: Scope, node: Node) -> None:
    """Evaluate what depends on constants alone."""
    missing = [name for name in node.inputs if name and name not in scope.constants]
    if missing:
        raise scope.unsupported(node, f"its operand {missing[0]!r} is not computed")
    if node.kind.startswith("Random") or node.kind in ("Bernoulli", "Multinomial"):
        raise scope.unsupported(node, "it is random; a network must be a function")
    if node.kind in ("If", "Loop", "Scan"):
        raise scope.unsupported(node, "control flow is not accepted; export a traced model")
    try:
        scope.constants.update(fold(node, scope.constants, scope.model.opset))
        if node.kind in _MOVING and node.inputs[0] in scope.quantized:
            _move_codes(scope, node)
    except FAILURES as error:
        raise scope.broken(node, f"its constants cannot be computed: {error}") from error


def _move_codes(scope: Scope, node: Node) -> None:
    """What moves a constant's values moves their codes."""
    x, y = node.inputs[0], node.outputs[0]
    known, moved = scope.quantized[x], []
    for values in (known.codes, known.scales):
        made = fold(node, {**scope.constants, x: values}, scope.model.opset)
        moved.append(made[y])
    scope.quantized[y] = Quantized(moved[0], moved[1])
    if x in scope.asymmetric:
        scope.asymmetric[y] = scope.asymmetric[x]


def _shape(scope: Scope, node: Node) -> None:
    whole = array_of_shape(scope.model.batch, scope.any_value(node).extents)
    start, end = scope.attribute(node, "start", 0), scope.attribute(node, "end", None)
    scope.constants[node.outputs[0]] = whole[start:end]


def _on_host(scope: Scope, node: Node) -> None:
    """Softmax and ArgMax, over channels and at the very end, are steps of the host."""
    value = scope.any_value(node)
    if value.is_codes:
        raise scope.unsupported(node, "it reads codes; put a DequantizeLinear before it")
    rank = 1 + len(value.extents)
    default = 0 if node.kind == "ArgMax" else -1 if scope.model.opset >= 13 else 1
    axis = int(scope.attribute(node, "axis", default))
    if axis % rank != 1 or scope.attribute(node, "select_last_index", 0):
        raise scope.unsupported(node, f"it is over axis {axis} of {rank}; channels are accepted")
    if node.kind == "Softmax" and scope.model.opset < 13 and math.prod(value.extents[1:]) > 1:
        raise scope.unsupported(
            node, f"it is over all of {list(value.extents)}, as Softmax was before opset 13; "
            "channels are accepted: convert the model to opset 13"
        )  # fmt: skip
    if not value.steps:
        scope.value(node)  # somebody reads it, quantised or not
    step = {"Softmax": "softmax", "ArgMax": "argmax"}[node.kind]
    scope.alias(node, dataclasses.replace(value, steps=(*value.steps, step)))


OPERATORS: Mapping[str, Callable[[Scope, Node], None]] = {
    "Conv": windows.conv,
    "ConvTranspose": upsampling.conv_transpose,
    "Resize": upsampling.resize,
    "Gemm": windows.gemm,
    "MatMul": windows.matmul,
    "BatchNormalization": windows.batch_norm,
    "MaxPool": windows.max_pool,
    "AveragePool": windows.average_pool,
    "GlobalAveragePool": windows.whole_map,
    "GlobalMaxPool": windows.whole_map,
    "ReduceMean": windows.reduce_map,
    "ReduceMax": windows.reduce_map,
    "Pad": windows.pad,
    "Relu": pointwise.clamp,
    **dict.fromkeys(("Clip", "Max", "Min"), pointwise.clamp),
    **dict.fromkeys(sorted(pointwise.FUNCTIONS), pointwise.function),
    **dict.fromkeys(sorted(pointwise.ARITHMETIC), pointwise.arithmetic),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), pointwise.reshape),
    "Transpose": pointwise.transpose,
    "Concat": channels.concat,
    "Split": channels.split,
    "Slice": channels.take_slice,
    "PRelu": pointwise.parametric,
    "Cast": pointwise.cast,
    "Identity": pointwise.identity,
    "Dropout": pointwise.identity,
    "QuantizeLinear": qdq.quantize_linear,
    "DequantizeLinear": qdq.dequantize_linear,
    "Softmax": _on_host,
    "ArgMax": _on_host,
}
"""Operator -> what converts it."""

ACCEPTED = f"the machine executes {', '.join(sorted(OPERATORS))}"
_QDQ = "quantise in the QDQ format (quantize_static with quant_format=QuantFormat.QDQ)"
_STATIC = "it quantises while it runs; quantise statically (quantize_static)"
REMEDIES: Mapping[str, str] = {
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), _QDQ),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"), _STATIC),
    "LogSoftmax": "leave it out, or end with Softmax: both keep the order of their inputs",
}
"""What to do about some operators that are refused."""


# --- networks ----------------------------------------------------------------------------------
def _network(scope: Scope) -> net.Network:
    """What was converted."""
    model = scope.model
    outputs: list[str] = []
    steps: list[tuple[int, str]] = []
    for name in model.outputs:
        if name not in scope.values:
            raise GraphError(
                f"output {name!r} does not depend on the input; return computed tensors alone"
            )
        value = scope.values[name]
        if value.tensor == model.input or value.tensor in outputs:
            raise GraphError(
                f"output {name!r} is the input or another output as it is; remove it from the model"
            )
        steps += [(len(outputs), step) for step in value.steps]
        outputs.append(value.tensor)
    return net.Network(
        model.name, scope.shapes, tuple(scope.ops), (model.input,), tuple(outputs), scope.origin,
        tuple(steps), scope.coded_as,
    )  # fmt: skip


def _warn(scope: Scope, calibrated: Sequence[str]) -> None:
    if calibrated:
        warnings.warn(
            f"{scope.model.name}: the model does not quantise {', '.join(calibrated)}; calibration "
            "chose the scales",
            CalibratedWarning,
            stacklevel=4,
        )
    if scope.clamped:
        places = ", ".join(f"{count} in {where}" for where, count in scope.clamped.items())
        warnings.warn(
            f"{scope.model.name}: {sum(scope.clamped.values())} weights of -128 became -127, the "
            f"machine's least: {places}",
            ClampedWeightsWarning,
            stacklevel=4,
        )
