"""Energy events and DRAM bytes in closed form, for many architectures at once.

The truth is ``cost.energy_events``, which counts a compiled program's instructions; here the counts
follow from the sums of the schedule that ``cost.closed_form`` finds. docs/explore.md says how far
they may be off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arch import PARAM_RECORD_BITS, TAP_ENTRY_BITS
from codesign.cost.archs import Archs
from codesign.cost.closed_form import Cycles
from codesign.cost.energy import (
    EVENTS,
    GROUPS,
    HZ_PER_MHZ,
    MAC_OF,
    PJ_PER_UJ,
    UJ_PER_J,
    Coefficients,
)
from codesign.cost.layer_shape import LayerShape
from codesign.cost.workload import Workload
from codesign.isa import INSTRUCTION_BYTES, Mode, Opcode

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EnergyColumns:
    """Modelled energy of one inference (one batch), of the whole board: parts in microjoules, each
    [A], and of each layer [L, A] with the static power of its time.

    What belongs to no layer (the first instructions, the pipeline's end) is in the totals alone.
    """

    total_uj: FloatArray
    compute_uj: FloatArray
    on_chip_uj: FloatArray
    dram_uj: FloatArray
    static_uj: FloatArray
    layers_uj: FloatArray


def events(workload: Workload, archs: Archs, found: Cycles) -> dict[str, IntArray]:
    """Event of ``cost.energy.EVENTS`` -> how many each layer takes, [L, A].

    Parameters
    ----------
    found:
        ``closed_form.cycles`` of the same workload and architectures.
    """
    shape = found.active.shape
    counts = {name: np.zeros(shape, np.int64) for name in EVENTS}
    for row, layer in enumerate(workload.layers):
        of_layer = _layer(layer, workload.batch, archs, found, row)
        for name, count in of_layer.items():
            counts[name][row] = count
    return counts


def energy(
    counts: Mapping[str, npt.NDArray[np.int64]],
    archs: Archs,
    found: Cycles,
    coefficients: Coefficients,
) -> EnergyColumns:
    """What these events and cycles cost with a board's coefficients, at each architecture's clock.

    Parameters
    ----------
    counts:
        As ``events`` returns them.
    """
    each = {name: coefficients.energy_pj[name] / PJ_PER_UJ for name in EVENTS}
    layers = {
        group: np.sum([counts[name] * each[name] for name in names], axis=0, dtype=np.float64)
        for group, names in GROUPS.items()
    }
    watts = coefficients.static_w * UJ_PER_J / (archs.clock_mhz * HZ_PER_MHZ)
    parts = {group: values.sum(axis=0) for group, values in layers.items()}
    read, written = bus_bytes(found)
    parts["dram"] = (read + written) * each["dram_byte"]
    static = found.total * watts
    total = static + np.sum(list(parts.values()), axis=0, dtype=np.float64)
    of_layers = np.sum(list(layers.values()), axis=0, dtype=np.float64) + found.layers * watts
    return EnergyColumns(
        total, parts["compute"], parts["on_chip"], parts["dram"], static, of_layers
    )


def bus_bytes(found: Cycles) -> tuple[IntArray, IntArray]:
    """Bytes of an inference that the bus reads and writes, [A] each, with all instructions."""
    instructions = found.instructions.sum(axis=0) + len((Opcode.BEGIN, Opcode.END))
    read = found.read.sum(axis=0) + instructions * INSTRUCTION_BYTES
    return read, found.written.sum(axis=0)


def layer_bytes(found: Cycles) -> IntArray:
    """Bytes on the bus for each layer, its instructions among them, [L, A]."""
    return found.read + found.written + found.instructions * INSTRUCTION_BYTES


def _layer(
    layer: LayerShape, batch: int, archs: Archs, found: Cycles, row: int
) -> dict[str, npt.NDArray[np.int64]]:
    """The counts of one layer, [A]."""
    active, drained = found.active[row], found.drained[row]
    lanes = archs.pixels * archs.in_channels
    words = active * archs.in_channels * archs.out_channels
    planes = -(-np.asarray(layer.out_channels) // archs.in_channels)
    pixels = batch * layer.out_size[0] * layer.out_size[1]
    results = pixels * planes * archs.in_channels
    steps = drained * (archs.pixels // archs.drain)
    transferred = found.read[row] + found.written[row]
    return {
        MAC_OF[layer.mode]: words * archs.pixels if layer.mode is Mode.DENSE else active * lanes,
        "requantize": results,
        "act_byte": active * lanes + results * (2 if layer.residual else 1) + transferred,
        "wgt_byte": np.zeros_like(words) if layer.mode is Mode.MAX else words,
        "param_byte": steps * archs.in_channels * (PARAM_RECORD_BITS // 8),
        "tap_byte": active * (TAP_ENTRY_BITS // 8),
        "table_byte": results if layer.table is not None else np.zeros_like(results),
        "dram_byte": layer_bytes(found)[row],
    }
