"""Every tensor of an ONNX model as ONNX Runtime computes it.

QONNX's nodes, which ONNX Runtime does not have, are written out in ONNX's own operators first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from codesign.errors import GraphError
from codesign.frontend.onnx_file import QUANTIZING, Array, load_checked

INSTALL = "pip install onnxruntime"
_MAIN_DOMAINS = ("", "ai.onnx")


def tensors(path: str | os.PathLike[str], inputs: npt.NDArray[Any]) -> dict[str, Array]:
    """Arrays [K, ...] of what each node of a file makes of K inputs, and the input, by name.

    Optimisations of graphs are off: nodes are computed as they are written.

    Raises
    ------
    ValueError
        ONNX Runtime is not installed.
    GraphError
        The file is damaged, or ONNX Runtime refuses it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"ONNX Runtime is not installed ({error}); run `{INSTALL}`, or give a file of arrays: "
            "--golden FILE.npz"
        ) from error
    model = exposed(load_checked(path))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        (source,) = [one.name for one in session.get_inputs()]
        parts = [session.run(None, {source: part}) for part in _parts(model, source, inputs)]
    except (RuntimeError, ValueError) as error:  # its own errors are RuntimeErrors
        reason = str(error).strip().partition("\n")[0]
        raise GraphError(f"ONNX Runtime cannot run {os.fspath(path)}: {reason}") from error
    names = [one.name for one in model.graph.output]
    whole = {
        name: np.concatenate(column)
        for name, column in zip(names, zip(*parts, strict=True), strict=True)
        if all(np.ndim(one) for one in column)
    }
    return {**whole, source: inputs}


def _parts(
    model: onnx.ModelProto, source: str, inputs: npt.NDArray[Any]
) -> Iterator[npt.NDArray[Any]]:
    """The inputs in stretches of the model's batch, all at once where that is open."""
    (given,) = [one for one in model.graph.input if one.name == source]
    batch = given.type.tensor_type.shape.dim[0].dim_value or len(inputs)
    if len(inputs) % batch:
        raise GraphError(f"the model takes {batch} samples at once; give a multiple of that")
    for first in range(0, len(inputs), batch):
        yield inputs[first : first + batch]


def exposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in ONNX's own operators, all that depends on its input being outputs."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    nodes: list[onnx.NodeProto] = []
    initializers = list(model.graph.initializer)
    for index, node in enumerate(model.graph.node):
        if node.domain in _MAIN_DOMAINS or node.op_type not in QUANTIZING:
            nodes.append(node)
            continue
        made, added = _written_out(node, f"{node.output[0]}:{index}", constants)
        nodes += made
        initializers += [numpy_helper.from_array(value, name) for name, value in added.items()]
    computed = {one.name for one in model.graph.input} - {one.name for one in initializers}
    for node in nodes:
        if computed.intersection(node.input):
            computed.update(name for name in node.output if name)
    outputs = [
        helper.make_empty_tensor_value_info(name)
        for node in nodes
        for name in node.output
        if name in computed
    ]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for field, values in (("node", nodes), ("initializer", initializers), ("output", outputs)):
        changed.graph.ClearField(field)
        getattr(changed.graph, field).extend(values)
    changed.graph.ClearField("value_info")
    return changed


def _written_out(
    node: onnx.NodeProto, name: str, constants: Mapping[str, Array]
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """A Quant or Trunc node in ONNX's own operators, and the constants they take."""
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    truncating = node.op_type == "Trunc"
    operands = list(node.input)
    width_name = operands[5] if truncating else operands[3]
    try:
        bits = int(constants[width_name])
        ratio = float(constants[operands[4]]) / float(constants[operands[1]]) if truncating else 1.0
    except (KeyError, TypeError, ValueError) as error:
        raise GraphError(
            f"{node.op_type} node {node.name!r}: its width and scales must be constants of the "
            "model"
        ) from error
    signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 1))
    half = 1 << (bits - 1)
    low, high = (narrow - half, half - 1) if signed else (0, 2 * half - 1 - narrow)
    added: dict[str, Array] = {f"{name}:low": np.float32(low), f"{name}:high": np.float32(high)}
    x, scale, zero = operands[:3]
    steps = [("Div", scale), ("Add", zero)]
    back, back_zero = scale, zero
    if truncating:
        added[f"{name}:ratio"] = np.float32(2.0 ** round(np.log2(ratio)))
        added[f"{name}:zero"] = np.asarray(constants[zero] / added[f"{name}:ratio"], np.float32)
        steps += [("Round", ""), ("Div", f"{name}:ratio")]
        back, back_zero = operands[4], f"{name}:zero"
    steps += [("Clip", ""), ("Round", ""), ("Sub", back_zero), ("Mul", back)]
    made: list[onnx.NodeProto] = []
    for number, (kind, operand) in enumerate(steps):
        y = node.output[0] if number == len(steps) - 1 else f"{name}:{number}"
        bounds = [f"{name}:low", f"{name}:high"] if kind == "Clip" else []
        given = [x, *([operand] if operand else []), *bounds]
        made.append(helper.make_node(kind, given, [y], f"{name}:{kind}{number}"))
        x = y
    return made, {key: np.asarray(value, np.float32) for key, value in added.items()}
