"""The graph of a quantised ONNX model: its own codings and weights, carried over unchanged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arith import WEIGHT_MAX
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_scope import Scope, Weights
from codesign.frontend.passes import FOR_GIVEN_WEIGHTS, remove_dead, simplify
from codesign.quant.operations import BIAS_LIMIT, quantize_op
from codesign.quant.values import Coding, coding

if TYPE_CHECKING:
    from codesign.quant.calibrate import Method

BIAS_TOLERANCE = 2.0**-10
"""Biases within this part of a step of input times weight are codes already."""


def quantized_graph(
    scope: Scope,
    plain: net.Network,
    batch: int,
    calibration: FloatArray | None,
    method: Method,
) -> tuple[ir.Graph, tuple[str, ...]]:
    """The graph of ``plain``, which ``scope`` converted, and the tensors that were calibrated.

    Raises
    ------
    GraphError
        A tensor has no coding and there is nothing to calibrate with, or scales do not fit.
    """
    # a coded tensor is rounded and saturated: as an output, it is not merged with what reads it
    kept = tuple(name for name in scope.codings if name not in plain.outputs)
    network = simplify(
        dataclasses.replace(plain, outputs=(*plain.outputs, *kept)), FOR_GIVEN_WEIGHTS
    )
    outputs = network.outputs[: len(plain.outputs)]
    network = remove_dead(dataclasses.replace(network, outputs=outputs))
    codings = _given_codings(scope, network)
    missing = tuple(name for name in network.shapes if name not in codings)
    if missing and calibration is None:
        raise _uncoded(scope, network, missing[0])
    if missing and calibration is not None:
        codings |= _calibrated(network, codings, missing, calibration, method)
    graph = ir.Graph(
        name=scope.model.name,
        batch=batch,
        tensors={
            name: ir.Tensor(name, shape, codings[name].scale, codings[name].zero_point)
            for name, shape in network.shapes.items()
        },
        ops=tuple(_quantized_op(scope, network, op, codings) for op in network.ops),
        inputs=network.inputs,
        outputs=outputs,
        origin={op.name: scope.origin[op.name] for op in network.ops},
    )
    ir.verify(graph)
    return graph, missing


# --- codings -----------------------------------------------------------------------------------
def _given_codings(scope: Scope, network: net.Network) -> dict[str, Coding]:
    """The model's codings, which what moves values passes on."""
    codings = {name: code for name, code in scope.codings.items() if name in network.shapes}
    moving = [op for op in network.ops if isinstance(op, net.Moving)]
    for op in reversed(moving):
        if op.x not in codings and op.y in codings:
            codings[op.x] = codings[op.y]
    for one in network.ops:
        if isinstance(one, net.Moving):
            if one.x in codings and codings.setdefault(one.y, codings[one.x]) != codings[one.x]:
                raise GraphError(
                    f"{scope.origin[one.name]}: its input and output have different scales or zero "
                    "points; quantise its input"
                )
            continue
        shared = network.shared_coding(one.y)
        if one.y not in codings and shared in codings:
            codings[one.y] = codings[shared]
    return codings


def _uncoded(scope: Scope, network: net.Network, name: str) -> GraphError:
    maker = network.producer(name)
    place = scope.origin[maker.name] if maker else f"input {name!r}"
    return GraphError(
        f"{place}: its result {name!r} is not quantised; give --calibration, which chooses its "
        "scale, or quantise every layer (quantize_static without op_types_to_quantize and "
        "nodes_to_exclude; in Brevitas output_quant or a QuantIdentity)"
    )


def _calibrated(
    network: net.Network,
    codings: Mapping[str, Coding],
    missing: tuple[str, ...],
    inputs: FloatArray,
    method: Method,
) -> dict[str, Coding]:
    """Codings of tensors that have none, over ``inputs``; what has one is rounded by it."""
    from codesign.quant.calibrate import calibrate  # takes torch, which other models do without

    (source,) = network.inputs
    if source in codings:
        inputs = codings[source].decode(codings[source].encode(inputs))
    ranges = calibrate(_rounded(network, codings), inputs, method).ranges
    found: dict[str, Coding] = {}
    for name in missing:
        op = network.producer(name)
        kept = op.x if isinstance(op, net.Moving) else network.shared_coding(name)
        found[name] = found.get(kept or name) or coding(*ranges[kept or name])
    return found


def _rounded(network: net.Network, codings: Mapping[str, Coding]) -> net.Network:
    """The network with each coded result rounded and saturated."""
    ops: list[net.Op] = []
    shapes = dict(network.shapes)
    for op in network.ops:
        if op.y not in codings:
            ops.append(op)
            continue
        real = f"{op.y}:real"
        shapes[real] = shapes[op.y]
        ops.append(dataclasses.replace(op, y=real))
        rounding = functools.partial(_round, codings[op.y])
        ops.append(net.Unary(f"{op.name}:round", real, op.y, rounding))
    return dataclasses.replace(network, ops=tuple(ops), shapes=shapes)


def _round(code: Coding, x: FloatArray) -> FloatArray:
    return code.decode(code.encode(x))


# --- operations --------------------------------------------------------------------------------
def _quantized_op(
    scope: Scope, network: net.Network, op: net.Op, codings: Mapping[str, Coding]
) -> ir.Op:
    given = scope.weights.get(op.name)
    scales = None
    if given is not None and isinstance(op, net.Conv2d):
        scales = _scales(scope, op, given, codings[op.x])
    try:
        return quantize_op(op, codings, network.shapes, scales)
    except ValueError as error:  # of arithmetic: scales out of all proportion
        raise GraphError(f"{scope.origin[op.name]}: {error}") from error


def _scales(
    scope: Scope, op: net.Conv2d, given: Weights, x: Coding
) -> npt.NDArray[np.float64] | None:
    """Of the weights' codes, which stay, up to whole multiples: a batch normalisation behind them
    is a factor of each output channel, and its scale takes that.
    """
    if given.scales is None:
        return None
    before = given.values.reshape(len(given.values), -1).astype(np.float64)
    after = op.weight.reshape(before.shape).astype(np.float64)
    largest = np.abs(before).argmax(axis=1)[:, None]
    tops = np.take_along_axis(before, largest, axis=1)[:, 0]
    factor = np.ones_like(tops)
    np.divide(np.take_along_axis(after, largest, axis=1)[:, 0], tops, out=factor, where=tops != 0)
    if not np.allclose(after, before * factor[:, None], rtol=1e-5):
        raise GraphError(
            f"{scope.origin[op.name]}: what follows it unquantised changes its weights; quantise "
            "its result"
        )
    scales = given.scales * np.where(factor == 0, 1, np.abs(factor))
    bias = op.bias.astype(np.float64)
    steps = bias / (x.scale * scales)
    between = np.abs(steps - np.round(steps)) > BIAS_TOLERANCE
    # whole multiples of small codes stand for the same weights, and for the bias more precisely
    codes = np.round(np.abs(after) / scales[:, None]).max(axis=1)
    scales /= np.where(between, np.maximum(WEIGHT_MAX // np.maximum(codes, 1), 1), 1)
    # a channel that its factor makes tiny beside its bias: coarser codes change no output
    least = np.abs(bias) / (x.scale * BIAS_LIMIT)
    return np.where(between | (np.abs(factor) != 1), np.maximum(scales, least), scales)
