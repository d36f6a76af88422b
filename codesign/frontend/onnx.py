"""ONNX models become float networks, or, where they are quantised (QDQ), graphs.

Float models go through our own calibration, as torch's do. QDQ models, as ONNX Runtime's static
quantiser makes them, keep their own scales and zero points; nothing is calibrated.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from codesign import ir
from codesign.artifact import HostStep
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.frontend import onnx_pointwise as pointwise
from codesign.frontend import onnx_qdq as qdq
from codesign.frontend import onnx_windows as windows
from codesign.frontend.ends import host_steps
from codesign.frontend.onnx_evaluate import fold
from codesign.frontend.onnx_file import ModelFile, Node, array_of_shape, read_model
from codesign.frontend.onnx_scope import Scope
from codesign.frontend.passes import remove_dead, simplify
from codesign.quant.operations import quantize_op
from codesign.quant.values import Coding

_DEFAULT_DOMAINS = ("", "ai.onnx")
_QONNX_KINDS = ("Quant", "BipolarQuant", "IntQuant", "FloatQuant", "Trunc")


class ClampedWeightsWarning(UserWarning):
    """Weights of -128, which the machine does not have, have become -127."""


@dataclass(frozen=True, eq=False)
class Imported:
    """A graph, and what the host does behind it."""

    graph: ir.Graph
    host_steps: tuple[HostStep, ...]


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


def load_qdq(path: str | os.PathLike[str], batch: int = 1) -> Imported:
    """The graph of a quantised ``.onnx`` file, for ``batch`` samples of one inference.

    Raises as ``load_onnx``.

    Warns
    -----
    ClampedWeightsWarning
        Weights of -128 were clamped to -127.
    """
    return import_qdq(read_model(path), batch)


def import_float(model: ModelFile) -> net.Network:
    """Convert a float file that has been read."""
    if model.quantized:
        raise GraphError(f"{model.name!r} is quantised already; it needs no calibration")
    network = _network(_convert(model))
    net.verify(network)
    return network


def import_qdq(model: ModelFile, batch: int = 1) -> Imported:
    """Convert a quantised file that has been read."""
    scope = _convert(model)
    for tensor in sorted(scope.coded_here & scope.read_real.keys()):
        raise scope.unsupported(
            scope.read_real[tensor],
            f"it reads {tensor!r} unquantised, others read its codes; quantise every layer",
        )
    plain = _network(scope)
    # a coded tensor is rounded and saturated: as an output, it is not merged with what reads it
    kept = tuple(name for name in scope.codings if name not in plain.outputs)
    network = simplify(dataclasses.replace(plain, outputs=(*plain.outputs, *kept)))
    outputs = network.outputs[: len(plain.outputs)]
    network = remove_dead(dataclasses.replace(network, outputs=outputs))
    codings = _codings(scope, network)
    graph = ir.Graph(
        name=model.name,
        batch=batch,
        tensors={
            name: ir.Tensor(name, shape, codings[name].scale, codings[name].zero_point)
            for name, shape in network.shapes.items()
        },
        ops=tuple(_quantized_op(scope, op, codings) for op in network.ops),
        inputs=network.inputs,
        outputs=outputs,
        origin={op.name: scope.origin[op.name] for op in network.ops},
    )
    ir.verify(graph)
    _warn(scope)
    return Imported(graph, host_steps(plain, graph))


# --- nodes -------------------------------------------------------------------------------------
def _convert(model: ModelFile) -> Scope:
    scope = Scope(model)
    for node in model.nodes:
        _convert_node(scope, node)
    return scope


def _convert_node(scope: Scope, node: Node) -> None:
    if node.domain not in _DEFAULT_DOMAINS:
        raise scope.unsupported(node, _foreign(node))
    computed = [name for name in node.inputs if name in scope.values]
    if node.kind == "Shape" and computed:
        _shape(scope, node)
    elif not computed and node.kind != "DequantizeLinear":
        _fold(scope, node)
    elif node.kind in OPERATORS:
        OPERATORS[node.kind](scope, node)
    else:
        raise scope.unsupported(node, REMEDIES.get(node.kind, ACCEPTED))


def _foreign(node: Node) -> str:
    if node.kind in _QONNX_KINDS:
        return (
            "QONNX (Brevitas) is not read yet; export in the QDQ format "
            "(brevitas.export.export_onnx_qcdq)"
        )
    return f"its domain is {node.domain!r}; operators of ONNX itself are accepted"


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
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        raise scope.broken(node, f"its constants cannot be computed: {error}") from error


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
    if not value.steps:
        scope.value(node)  # somebody reads it, quantised or not
    step = {"Softmax": "softmax", "ArgMax": "argmax"}[node.kind]
    scope.alias(node, dataclasses.replace(value, steps=(*value.steps, step)))


OPERATORS: Mapping[str, Callable[[Scope, Node], None]] = {
    "Conv": windows.conv,
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
    "Clip": pointwise.clamp,
    **dict.fromkeys(sorted(pointwise.FUNCTIONS), pointwise.function),
    **dict.fromkeys(sorted(pointwise.ARITHMETIC), pointwise.arithmetic),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), pointwise.reshape),
    "Transpose": pointwise.transpose,
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
    "ConvTranspose": "the machine cannot write interleaved pixels; use a convolution at the "
    "smaller size",
    "LogSoftmax": "leave it out, or end with Softmax: both keep the order of their inputs",
    "Concat": "the machine cannot join channels of float networks; add, or import an int8 TFLite "
    "model",
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
        tuple(steps),
    )  # fmt: skip


def _codings(scope: Scope, network: net.Network) -> dict[str, Coding]:
    """The coding of every tensor: the model's, which what moves values passes on."""
    codings = {name: code for name, code in scope.codings.items() if name in network.shapes}
    moving = [op for op in network.ops if isinstance(op, net.MaxPool2d | net.Flatten)]
    for op in reversed(moving):
        if op.x not in codings and op.y in codings:
            codings[op.x] = codings[op.y]
    for op in moving:
        if op.x in codings and codings.setdefault(op.y, codings[op.x]) != codings[op.x]:
            raise GraphError(
                f"{scope.origin[op.name]}: its input and output have different scales or zero "
                "points; quantise its input"
            )
    for name in network.shapes:
        if name not in codings:
            maker = network.producer(name)
            place = scope.origin[maker.name] if maker else f"input {name!r}"
            raise GraphError(
                f"{place}: its result {name!r} is not quantised; quantise every layer "
                "(quantize_static without op_types_to_quantize and nodes_to_exclude)"
            )
    return codings


def _quantized_op(scope: Scope, op: net.Op, codings: Mapping[str, Coding]) -> ir.Op:
    given = scope.weights.get(op.name)
    if given and not (
        isinstance(op, net.Conv2d)
        and np.array_equal(op.weight.reshape(-1), given.values.reshape(-1))
    ):
        raise GraphError(
            f"{scope.origin[op.name]}: a scale per channel follows it unquantised; fold batch "
            "normalisation before quantising (quant_pre_process)"
        )
    try:
        return quantize_op(op, codings, given.scales if given else None)
    except ValueError as error:  # of arithmetic: scales out of all proportion
        raise GraphError(f"{scope.origin[op.name]}: {error}") from error


def _warn(scope: Scope) -> None:
    if scope.clamped:
        places = ", ".join(f"{count} in {where}" for where, count in scope.clamped.items())
        warnings.warn(
            f"{scope.model.name}: {sum(scope.clamped.values())} weights of -128 became -127, the "
            f"machine's least: {places}",
            ClampedWeightsWarning,
            stacklevel=4,
        )
