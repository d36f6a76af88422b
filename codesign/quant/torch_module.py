"""The whole way from a torch module to a quantised graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from codesign import ir
from codesign.errors import GraphError
from codesign.frontend.torch_export import from_module
from codesign.quant.calibrate import Method
from codesign.quant.quantize import quantize_network


def quantize_module(
    module: torch.nn.Module,
    calibration: npt.NDArray[np.float32],
    batch: int = 1,
    method: Method = "minmax",
    name: str | None = None,
) -> ir.Graph:
    """Export ``module``, calibrate it on ``calibration`` [K, C, H, W] (or [K, F]) and quantise it
    for ``batch``.

    Raises
    ------
    GraphError
        The module ends with a softmax or an argmax, which a graph does not hold.
    """
    example = torch.from_numpy(np.ascontiguousarray(calibration[:1], np.float32))
    network = from_module(module, example, name)
    if network.host_steps:
        raise GraphError(
            f"network {network.name!r} ends with {network.host_steps[0][1]}, which the host does: "
            "leave it out, or compile the module with `codesign compile`"
        )
    return quantize_network(network, calibration, batch, method)
