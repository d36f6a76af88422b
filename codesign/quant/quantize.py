"""Float network and calibration -> int8 ``codesign.ir.Graph``, in the arithmetic of
``codesign.arith``.

Weights are symmetric per output channel, activations affine per tensor with an exact zero, biases
int32 at the product of both scales (Jacob et al., CVPR 2018).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.quant.calibrate import Calibration, Method, calibrate
from codesign.quant.operations import quantize_op
from codesign.quant.values import Coding, coding


def quantize(network: net.Network, calibration: Calibration, batch: int = 1) -> ir.Graph:
    """The quantised graph of a simplified network (``codesign.frontend.passes.simplify``),
    verified.

    Raises
    ------
    GraphError
        The network is not simplified, the calibration is another network's, or scales are out of
        all proportion.
    """
    missing = [name for name in network.shapes if name not in calibration.ranges]
    if missing:
        raise GraphError(
            f"the calibration has no range for tensor {missing[0]!r}; calibrate this very network"
        )
    codings = _codings(network, calibration)
    tensors = {
        name: ir.Tensor(name, network.shapes[name], code.scale, code.zero_point)
        for name, code in codings.items()
    }
    ops = []
    for op in network.ops:
        try:
            ops.append(quantize_op(op, codings, network.shapes))
        except ValueError as error:
            raise GraphError(
                f"{op.name!r} ({network.origin.get(op.name, 'no origin')}): {error}"
            ) from error
    origin = {op.name: network.origin[op.name] for op in ops if op.name in network.origin}
    graph = ir.Graph(
        network.name, batch, tensors, tuple(ops), network.inputs, network.outputs, origin
    )
    ir.verify(graph)
    return graph


def quantize_network(
    network: net.Network,
    inputs: npt.NDArray[np.float32],
    batch: int = 1,
    method: Method = "minmax",
    percentile: float = 99.99,
) -> ir.Graph:
    """Simplify, calibrate on ``inputs`` [K, C, H, W] and quantise."""
    network = simplify(network)
    return quantize(network, calibrate(network, inputs, method, percentile), batch)


def _codings(network: net.Network, calibration: Calibration) -> dict[str, Coding]:
    """The coding of every tensor; what only selects or moves values keeps its input's."""
    codings = {name: coding(*calibration.ranges[name]) for name in network.inputs}
    for op in network.ops:
        if isinstance(op, net.Moving):
            codings[op.y] = codings[op.x]
            continue
        shared = network.shared_coding(op.y) or op.y
        codings[op.y] = codings.get(shared) or coding(*calibration.ranges[shared])
    return codings
