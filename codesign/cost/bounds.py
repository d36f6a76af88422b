"""What no schedule can go below: cycles of the array, cycles of the bus, bytes over the bus.

A word is a byte, as int8 maps and weights are. The least traffic of a convolution is that of Chen
et al., "Communication Lower Bound in Convolution Accelerators" (HPCA 2020, arXiv 1911.05662).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod, sqrt

from codesign import ir
from codesign.arch import Arch

_WINDOWED = (ir.Conv2d, ir.MaxPool2d, ir.AvgPool2d)


@dataclass(frozen=True)
class Demand:
    """What a layer asks for, all samples of the batch.

    Attributes
    ----------
    macs:
        Multiply-accumulates (``ir.macs``).
    operations:
        Tap operations: ``macs``, or a pool's comparisons and additions, or one for each value.
    dense:
        Operations sum over input channels, so that all P*M*N lanes can work; else P*M can.
    reuse:
        R, the outputs of a channel that one input value takes part in: kernel area / stride^2, no
        less than 1.
    inputs, weights, outputs:
        Bytes, each counted once; of the inputs those that a kernel reaches.
    """

    macs: int
    operations: int
    dense: bool
    reuse: float
    inputs: int
    weights: int
    outputs: int


@dataclass(frozen=True)
class Bounds:
    """Least cycles of the array, least cycles of the bus, least bytes read and written."""

    compute_cycles: float
    dram_cycles: float
    traffic_bytes: float


def on_chip_words(arch: Arch) -> int:
    """S: bytes of activation and weight memory."""
    return arch.act_bytes + arch.wgt_bytes


def compute_cycles(arch: Arch, demand: Demand) -> float:
    """Cycles with every lane busy in each."""
    return demand.operations / lanes(arch, demand.dense)


def lanes(arch: Arch, dense: bool) -> int:
    """Operations per cycle: P*M*N in mode dense, P*M in the others (docs/machine.md, "CALC")."""
    return arch.macs_per_cycle if dense else arch.pixels * arch.in_channels


def dram_cycles(arch: Arch, read: float, written: float) -> float:
    """Cycles for so many bytes: the bus moves a beat per cycle in each direction at once."""
    return max(read, written) / arch.beat_bytes


def least_traffic(demand: Demand, words: int) -> float:
    """Bytes that any schedule of the layer alone moves with ``words`` bytes on chip.

    2*MACs/sqrt(R*S) read and the outputs written (Chen et al., equation 14), and never less than
    inputs, weights and outputs once.

    Raises
    ------
    ValueError
        ``words`` is not positive.
    """
    if words < 1:
        raise ValueError(f"{words} words on chip: at least 1 is needed")
    read = 2 * demand.macs / sqrt(demand.reuse * words)
    return max(read, demand.inputs + demand.weights) + demand.outputs


def layer_bounds(arch: Arch, demand: Demand) -> Bounds:
    """Bounds of a layer taken alone: its maps and weights come from DRAM, its result goes there."""
    traffic = least_traffic(demand, on_chip_words(arch))
    cycles = dram_cycles(arch, traffic - demand.outputs, demand.outputs)
    return Bounds(compute_cycles(arch, demand), cycles, traffic)


def network_bounds(layers: Iterable[Bounds]) -> Bounds:
    """Bounds of a network that runs layer by layer: the sums.

    A program that keeps maps or weights on chip from layer to layer may well move less.
    """
    found = list(layers)
    return Bounds(
        sum(at.compute_cycles for at in found),
        sum(at.dram_cycles for at in found),
        sum(at.traffic_bytes for at in found),
    )


def demand_of(graph: ir.Graph, ops: Sequence[ir.Op]) -> Demand:
    """The demand of operations that run as one layer, the first one its kernel.

    Raises
    ------
    ValueError
        There is no operation.
    """
    if not ops:
        raise ValueError("no operation is given")
    first, last = ops[0], ops[-1]
    made = {op.y for op in ops}
    read = dict.fromkeys(name for op in ops for name in ir.op_inputs(op))
    source = ir.op_inputs(first)[0]
    root, factor = _before_upsampling(graph, source)
    outputs = graph.batch * prod(graph.tensors[last.y].shape)
    others = sum(prod(graph.tensors[at].shape) for at in read if at not in made and at != source)
    macs = graph.batch * sum(ir.macs(graph, op) for op in ops)
    return Demand(
        macs=macs,
        operations=_distinct(first, factor, macs or outputs * _area(first)),
        dense=isinstance(first, ir.Conv2d) and not _depthwise(first),
        reuse=_reuse(first, factor),
        inputs=graph.batch
        * (_reached(graph, first, source) // (prod(factor) if root != source else 1) + others),
        weights=sum(op.weight.size for op in ops if isinstance(op, ir.Conv2d)),
        outputs=outputs,
    )


def copy_demand(graph: ir.Graph, tensor: str) -> Demand:
    """The demand of a layer that copies a map."""
    size = graph.batch * prod(graph.tensors[tensor].shape)
    return Demand(0, size, False, 1.0, size, 0, size)


def _depthwise(op: ir.Conv2d) -> bool:
    outputs, inputs = op.weight.shape[:2]
    return bool(1 < op.groups == outputs and inputs == 1)


def _area(op: ir.Op) -> int:
    return prod(op.window.kernel) if isinstance(op, _WINDOWED) else 1


def _reuse(op: ir.Op, factor: ir.Pair) -> float:
    if not isinstance(op, _WINDOWED):
        return 1.0
    spread = prod(factor) / prod(op.window.base_dilation)
    return max(1.0, _area(op) * spread / prod(op.window.stride))


def _before_upsampling(graph: ir.Graph, tensor: str) -> tuple[str, ir.Pair]:
    """The map that a tensor is, upsampled by a factor."""
    factor = 1, 1
    while isinstance(op := graph.producer(tensor), ir.Upsample):
        tensor, factor = op.x, (factor[0] * op.factor[0], factor[1] * op.factor[1])
    return tensor, factor


def _distinct(op: ir.Op, factor: ir.Pair, operations: int) -> int:
    """Operations that are left where weights of positions that meet copies of one pixel are added
    first."""
    if factor == (1, 1) or not isinstance(op, ir.Conv2d | ir.AvgPool2d | ir.MaxPool2d):
        return operations
    for axis, copies in enumerate(factor):
        kernel, window = op.window.kernel[axis], op.window
        met = sum(
            len(
                {
                    (
                        phase * window.stride[axis]
                        + tap * window.dilation[axis]
                        - window.padding[2 * axis]
                    )
                    // copies
                    for tap in range(kernel)
                }
            )
            for phase in range(copies)
        )
        operations = -(-operations * met // (kernel * copies))
    return operations


def _reached(graph: ir.Graph, op: ir.Op, source: str) -> int:
    """Bytes of the first input that its kernel reaches, of one sample."""
    channels, *extents = graph.tensors[source].shape
    if not isinstance(op, _WINDOWED):
        return channels * prod(extents)
    sizes = graph.tensors[op.y].shape[1:]
    return channels * prod(
        _reached_lines(op.window, axis, extents[axis], sizes[axis]) for axis in (0, 1)
    )


def _reached_lines(window: ir.Window, axis: int, extent: int, outputs: int) -> int:
    """Lines (axis 0) or columns (axis 1) of a map that a kernel reaches."""
    before, apart = window.padding[2 * axis], window.base_dilation[axis]
    last = apart * (extent - 1)
    return len({
        at
        for output in range(outputs)
        for tap in range(window.kernel[axis])
        if 0 <= (at := output * window.stride[axis] + tap * window.dilation[axis] - before) <= last
        and at % apart == 0
    })  # fmt: skip
