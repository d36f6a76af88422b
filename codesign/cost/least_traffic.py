"""The DRAM bytes that no schedule of a network can do without, whatever stays on chip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codesign.cost.archs import Archs
from codesign.cost.layer_shape import GRAIN, LayerShape
from codesign.cost.workload import Workload
from codesign.isa import Mode

IntArray = npt.NDArray[np.int64]


def least_traffic_bytes(workload: Workload, archs: Archs) -> IntArray:
    """Bytes of one inference (one batch), weights resident from the one before, [A].

    The reached pixels of every input are read once, the outputs written once, and of the weights
    what exceeds both memories read once: nothing on chip keeps it from inference to inference. The
    bounds of single layers (``cost.bounds``) are for those whose maps come from DRAM and go there.
    """
    maps = workload.maps
    read = sum(_reached(workload, name) * maps[name].channels for name in workload.inputs)
    written = sum(
        maps[name].channels * maps[name].height * maps[name].width for name in set(workload.outputs)
    )
    weights = sum((_weights(layer) for layer in workload.layers), start=np.int64(0))
    streamed = np.maximum(weights - archs.act_bytes - archs.wgt_bytes, 0)
    least: IntArray = np.asarray(workload.batch * (read + written) + streamed, np.int64)
    return np.broadcast_to(least, (len(archs),))


def _reached(workload: Workload, name: str) -> int:
    """Pixels of an input that some layer reads."""
    pixels: set[tuple[int, int]] = set()
    shape = workload.maps[name]
    whole = shape.height * shape.width
    for layer in workload.layers:
        if layer.residual == name:
            return whole
        if layer.source == name:
            lines, columns = (_reached_along(layer, axis) for axis in (0, 1))
            if len(lines) * len(columns) == whole:
                return whole
            pixels |= {(y, x) for y in lines for x in columns}
    return len(pixels)


def _reached_along(layer: LayerShape, axis: int) -> set[int]:
    """Lines (axis 0) or columns (axis 1) of its source that a layer's taps meet."""
    offsets = {offset[axis] for part in layer.parts for offset in part.offsets}
    outputs = range(max(layer.grid(part)[axis] for part in layer.parts))
    step, extent = layer.strides[axis], layer.in_size[axis]
    return {at for i in outputs for offset in offsets if 0 <= (at := step * i + offset) < extent}


def _weights(layer: LayerShape) -> IntArray:
    """Bytes of a layer's weights that are not in a block of zeros; those of one phase where an
    upsampled map is read, for the others' are sums of the same weights."""
    channels = np.asarray(layer.out_channels, np.int64)
    if not layer.op.startswith("Conv2d"):  # a mean's weights are no data
        return np.zeros_like(channels)
    dense = layer.mode is Mode.DENSE
    each = channels * layer.in_channels if dense else channels
    found = np.zeros_like(channels)
    for part in layer.parts:
        # blocks at the edges hold fewer channels than GRAIN: those of zeros count in full
        zeros = 0 if part.nonzero is None else int((~part.nonzero).sum()) * GRAIN ** (1 + dense)
        found = np.maximum(found, each * len(part.offsets) - zeros)
    kept: IntArray = np.floor(found * (1 - np.asarray(layer.sparsity))).astype(np.int64)
    return kept
