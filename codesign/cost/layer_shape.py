"""What a layer is to its cost, free of any architecture: maps, positions, blocks of zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.compiler.fold import Axis
from codesign.ir import Pair
from codesign.isa import Mode

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Number = int | IntArray
"""One for all architectures, or [A]."""

GRAIN = 4
"""Channels of the finest blocks of weights whose zeros are told: every M and N is a multiple."""


@dataclass(frozen=True, eq=False)
class MapShape:
    """A map in memory: ``channels`` by ``height`` by ``width``."""

    channels: Number
    height: int
    width: int

    @property
    def is_vector(self) -> bool:
        return (self.height, self.width) == (1, 1)


@dataclass(frozen=True, eq=False)
class Part:
    """The blocks of a layer that make the same pixels: those of one phase of a target that is
    upsampled, or of one patch of a layer that is computed by line.

    Attributes
    ----------
    phase, lines, columns:
        As in ``compiler.network.Block``.
    offsets:
        (y, x) of the kernel's positions in source pixels, in their order.
    nonzero:
        Blocks of GRAIN by GRAIN weights that are not all zero: dense [offsets, inputs, outputs],
        depthwise [offsets, channels], in blocks; None where none is all zero.
    """

    phase: Pair
    lines: Pair | None
    columns: Pair | None
    offsets: tuple[Pair, ...]
    nonzero: BoolArray | None = None


@dataclass(frozen=True, eq=False)
class Foldable:
    """The only reader of a network input: the host may fold kernel positions into channels
    (``compiler.fold.choose``)."""

    axes: tuple[Axis, Axis]
    dilation: Pair
    by_line: Pair | None


@dataclass(frozen=True, eq=False)
class LayerShape:
    """One pass of the pipeline over a map, for one sample.

    Attributes
    ----------
    name, op:
        As the program's layer is called, and the operations fused in it (``Conv2d+Add``).
    mode:
        dense, depthwise or max.
    source, target, residual:
        Maps (``Workload.maps``).
    in_channels, out_channels:
        Those of source and target.
    in_size, out_size:
        Lines and columns of source and target.
    stride, out_stride, step:
        As in ``compiler.network.Layer``.
    macs:
        Multiply-accumulates of one sample, as ``ir.macs`` counts; with sparsity or without.
    table:
        Contents of its table, if it ends with one.
    reach:
        The largest sum that an accumulator may hold: acc_bits must suffice.
    sparsity:
        Share of each output block's M x N tap blocks that are left out (``sparsity.kept_taps``).
    """

    name: str
    op: str
    mode: Mode
    source: str
    target: str
    residual: str | None
    in_channels: Number
    out_channels: Number
    in_size: Pair
    out_size: Pair
    stride: int
    out_stride: int
    step: Pair | None
    parts: tuple[Part, ...]
    macs: Number
    table: bytes | None
    reach: int
    fold: Foldable | None = None
    sparsity: float | FloatArray = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,) if self.residual is None else (self.source, self.residual)

    @property
    def strides(self) -> Pair:
        """Source pixels from one output to the next, (y, x)."""
        return self.step or (self.stride, self.stride)

    @property
    def uniform(self) -> bool:
        """Weights and parameters of all channels are the same: a pool, a copy, a sum of maps."""
        return self.mode is not Mode.DENSE and not self.op.startswith("Conv2d")

    def grid(self, part: Part) -> Pair:
        """Lines and columns of a part's grid."""
        (y, x), step = part.phase, self.out_stride
        return -(-(self.out_size[0] - y) // step), -(-(self.out_size[1] - x) // step)


@dataclass(frozen=True)
class Link:
    """A tensor has ``factor`` times the channels of its group of tensors."""

    group: int
    factor: int = 1
