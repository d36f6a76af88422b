"""Layers that are computed an output line at a time: those of strides that no storage suits.

A CALC's grid is laid along one output line: a line of the grid is as long as the stride, of its
pixels only the first is an output. Where a grid line would be shorter than D, a CALC computes every
second, third, ... output. So any stride is exact; lanes idle on the pixels between.
Along the line taps are checked as lines of a grid are, ``dy`` and ``short_y`` standing for columns.
Whether a tap's own line lies in the map is known for each output line: a tap that does not is put
beyond the grid's only column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from codesign.arch import Arch
from codesign.compiler.layout import Storage
from codesign.compiler.network import Block, Layer
from codesign.compiler.records import Words, pack_all
from codesign.isa import TAP_ENTRY

Extents = tuple[int, int]


@dataclass(frozen=True)
class Run:
    """What one CALC computes: of output ``line`` the pixels ``phase`` + ``every``*i for i in
    [first, last), reading every ``grid``-th column of the source."""

    line: int
    phase: int
    every: int
    first: int
    last: int
    grid: int

    @property
    def column(self) -> int:
        """The first pixel."""
        return self.phase + self.every * self.first

    def groups(self, arch: Arch) -> int:
        """Groups of P grid pixels."""
        return -(-((self.last - self.first - 1) * self.grid + 1) // arch.pixels)


def runs(arch: Arch, layer: Layer, block: Block, lines: Extents, width: int) -> Iterator[Run]:
    """All runs of a block's share of output lines [first, last) of ``width`` pixels."""
    stride = layer.strides[1]
    every = -(-arch.drain // stride)
    top, bottom = block.lines or lines
    left, right = block.columns or (0, width)
    for line in range(max(lines[0], top), min(lines[1], bottom)):
        for phase in range(every):
            first, last = (-(-(at - phase) // every) for at in (left, min(width, right)))
            first = max(0, first)
            if last > first:
                yield Run(line, phase, every, first, last, every * stride)


def run_fields(run: Run, arch: Arch, width: int) -> dict[str, int]:
    """Fields of a CALC that tell its grid; ``width``: columns of the source."""
    return {
        "groups": run.groups(arch), "grid_width": run.grid, "in_height": -(-width // run.grid),
        "in_width": 1, "y_start": run.first, "out_height": run.last, "out_width": 1,
    }  # fmt: skip


def source_pixel(layer: Layer, run: Run, storage: Storage, first_line: int) -> int:
    """Pixel that tap offset 0 of the first grid pixel reads, counted from that of ``first_line``;
    it may lie beyond the map."""
    return (layer.strides[0] * run.line - first_line) * storage.pitch + run.grid * run.first


def run_taps(arch: Arch, layer: Layer, block: Block, run: Run, source: Storage) -> Words:
    """The tap entries of a run, [taps]; ``source`` is the storage of the whole height."""
    stride_y, stride_x = layer.strides
    oy, ox, plane = np.array(block.taps, np.int64).T
    column = stride_x * run.phase + ox
    ahead, beside = np.divmod(column, run.grid)
    line = stride_y * run.line + oy
    inside = (line >= 0) & (line < source.height)
    first = (plane - block.source_plane) * source.plane_rows * arch.pixels
    row, bank = np.divmod(first + oy * source.pitch + column, arch.pixels)
    short = -(-(source.width - beside) // run.grid) < -(-source.width // run.grid)
    values = {
        "bank": bank, "row": np.where(inside, row, 0), "dy": ahead,
        "dx": (~inside).astype(np.int64), "short_y": short.astype(np.int64),
        "short_x": np.zeros_like(oy),
    }  # fmt: skip
    return pack_all(TAP_ENTRY, values, f"tap of {layer.name!r}")
