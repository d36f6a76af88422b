"""The lowered network: layers of CALC work on named maps, before memory and time are decided.

A layer is what the pipeline does in one pass: taps, requantisation, and where they could be fused
the residual add and the table behind it. A block is one CALC instruction's share of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codesign.arith import INT8_MAX, INT8_MIN
from codesign.ir import Pair, Shape
from codesign.isa import Mode

Fold = tuple[tuple[int, int], ...]
PLAIN: Fold = ((0, 0),)


class Tap(NamedTuple):
    """Reads, for grid pixel (y, x), source pixel (stride*y + oy, stride*x + ox) of the M channels
    from ``plane``*M on."""

    oy: int
    ox: int
    plane: int


@dataclass(frozen=True, eq=False)
class Block:
    """One instruction's outputs: channels from ``plane``*M on, ``planes``*M of them; grid pixel
    (y, x) is output pixel (out_stride*y + py, out_stride*x + px), (py, px) = ``phase``.

    ``weights`` int8: dense [taps, M, N], depthwise [taps, M], max None. ``bias`` (of the raw
    accumulator, the source's zero point folded in), ``multiplier``, ``shift``, ``twice``:
    [planes*M]. ``lines``, ``columns``: the output pixels [first, last) that are the block's, None
    for all; only layers that are computed by line have blocks of less.
    """

    plane: int
    planes: int
    taps: tuple[Tap, ...]
    weights: npt.NDArray[np.int8] | None
    bias: npt.NDArray[np.int64]
    multiplier: npt.NDArray[np.int64]
    shift: npt.NDArray[np.int64]
    twice: npt.NDArray[np.int64]
    phase: Pair = (0, 0)
    lines: Pair | None = None
    columns: Pair | None = None

    @cached_property
    def source_plane(self) -> int:
        """First plane that the taps read: counted from it, blocks of one shape have equal taps."""
        return min(tap.plane for tap in self.taps)


@dataclass(frozen=True)
class Residual:
    """The map added to a layer's result, with the fields of CALC that say how."""

    tensor: str
    res_zero_point: int
    out_zero_point: int
    acc_multiplier: int
    res_multiplier: int
    add_shift: int


@dataclass(frozen=True, eq=False)
class Layer:
    """One pass over a map. ``op`` names the kinds of operations fused in it, ``where`` the first of
    them in messages; ``macs`` counts one sample.

    A block's grid steps ``stride`` pixels of the source and ``out_stride`` of the target; blocks of
    all phases together make the target. ``step``: strides (y, x) of a layer that is computed an
    output line at a time (``by_line``); ``stride`` is then 1, for its source is not split.
    """

    name: str
    where: str
    op: str
    source: str
    target: str
    mode: Mode
    stride: int
    pad: int
    blocks: tuple[Block, ...]
    zero_point: int
    low: int = INT8_MIN
    high: int = INT8_MAX
    residual: Residual | None = None
    table: bytes | None = None
    macs: int = 0
    out_stride: int = 1
    step: Pair | None = None

    @property
    def strides(self) -> Pair:
        """Source pixels from one output to the next, (y, x)."""
        return self.step or (self.stride, self.stride)

    @property
    def full_range(self) -> bool:
        return (self.low, self.high) == (INT8_MIN, INT8_MAX)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,) if self.residual is None else (self.source, self.residual.tensor)


@dataclass(frozen=True)
class Output:
    """A network output: its tensor and the map that holds it."""

    name: str
    tensor: str


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in an order of execution.

    ``shapes`` has every map in memory with its channels as the accelerator sees them (a folded
    input has more than the network's); ``folds`` those of the inputs that the host folds, of which
    it takes every ``fold_steps``-th line and column.
    ``split_copies`` names maps that a copy layer makes for readers of stride 2.
    """

    batch: int
    shapes: Mapping[str, Shape]
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    folds: Mapping[str, Fold] = field(default_factory=dict)
    fold_steps: Mapping[str, Pair] = field(default_factory=dict)
    split_copies: frozenset[str] = frozenset()

    def is_vector(self, tensor: str) -> bool:
        """A map of 1 by 1: the samples of a batch lie side by side as its pixels."""
        return self.shapes[tensor][1:] == (1, 1)

    def together(self, layer: Layer) -> bool:
        """All samples of the batch in one pass."""
        return self.is_vector(layer.source) and self.is_vector(layer.target)

    def grid(self, layer: Layer, block: Block | None = None) -> Pair:
        """Lines and columns of a block's grid, or of the largest one, for one sample."""
        _, height, width = self.shapes[layer.target]
        (y, x), step = block.phase if block else (0, 0), layer.out_stride
        return -(-(height - y) // step), -(-(width - x) // step)
