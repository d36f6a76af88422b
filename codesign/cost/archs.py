"""Many architectures as columns, for cost models that weigh thousands at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch

IntArray = npt.NDArray[np.int64]

COLUMNS = (
    "pixels", "in_channels", "out_channels", "drain", "regions", "act_depth", "wgt_depth",
    "param_depth", "tap_depth", "tables", "dma_bits", "acc_bits",
)  # fmt: skip
"""The fields of ``Arch`` that change the logic or what fits on it, and may differ."""


@dataclass(frozen=True, eq=False)
class Archs:
    """A architectures: fields of ``Arch``, each [A] of int64; ``clock_mhz`` [A] of float64.

    Rows are valid architectures: ``Archs.of`` takes them from ``Arch``, which refuses others.
    Derived sizes are the properties of ``Arch`` of the same names.
    """

    pixels: IntArray
    in_channels: IntArray
    out_channels: IntArray
    drain: IntArray
    regions: IntArray
    act_depth: IntArray
    wgt_depth: IntArray
    param_depth: IntArray
    tap_depth: IntArray
    tables: IntArray
    dma_bits: IntArray
    acc_bits: IntArray
    clock_mhz: npt.NDArray[np.float64]

    @classmethod
    def of(cls, archs: Sequence[Arch]) -> Archs:
        """Columns of these architectures, in their order."""
        columns = {
            name: np.fromiter((getattr(at, name) for at in archs), np.int64, len(archs))
            for name in COLUMNS
        }
        clocks = np.fromiter((at.clock_mhz for at in archs), np.float64, len(archs))
        return cls(**columns, clock_mhz=clocks)

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> Archs:
        """The architectures of these row numbers, or of this mask."""
        names = (field.name for field in dataclasses.fields(self))
        return Archs(**{name: getattr(self, name)[rows] for name in names})

    @property
    def macs_per_cycle(self) -> IntArray:
        return self.pixels * self.in_channels * self.out_channels

    @property
    def planes(self) -> IntArray:
        return self.out_channels // self.in_channels

    @property
    def drain_steps(self) -> IntArray:
        return self.pixels // self.drain * self.planes

    @property
    def phase_skew(self) -> IntArray:
        return np.where(self.drain > 1, (self.drain + 1) // 2, 0)

    @property
    def beat_bytes(self) -> IntArray:
        return self.dma_bits // 8

    @property
    def act_word_bytes(self) -> IntArray:
        return self.in_channels

    @property
    def wgt_word_bytes(self) -> IntArray:
        return self.in_channels * self.out_channels

    @property
    def act_region_words(self) -> IntArray:
        return self.pixels * self.act_depth

    @property
    def act_bytes(self) -> IntArray:
        return self.regions * self.act_region_words * self.in_channels

    @property
    def wgt_bytes(self) -> IntArray:
        return self.wgt_depth * self.in_channels * self.out_channels
