"""The pixels that a CALC reads, word by word: its grid under its taps.

Instructions for other output channels of the same pixels have the same grid, so that grids are kept
while there is room.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.isa import Instruction
from codesign.reference.memory import IntArray, Taps

BoolArray = npt.NDArray[np.bool_]
_KEPT_BYTES = 32 << 20
"""Of grids that are kept for the next instruction that has the same."""
_told = itemgetter(
    "groups", "grid_width", "y_start", "src_bank", "src_row", "in_height", "in_width",
    "out_height", "out_width",
)  # fmt: skip
"""The fields that tell a CALC's grid, but for its taps."""


@dataclass(frozen=True, eq=False)
class Reads:
    """The words that are read, each once, in the order of their first reads.

    ``first`` and ``last`` are the first and the last read of each, as group * taps + tap.
    """

    words: IntArray
    first: IntArray
    last: IntArray


@dataclass(frozen=True, eq=False)
class Grid:
    """Word numbers within the source's region of ``words`` words. Arrays are read only.

    Attributes
    ----------
    source:
        [groups, taps, P], wrapped modulo the region; meaningful where ``inside`` and not ``stray``.
    inside:
        [groups, taps, P]: the tap lies within the source map.
    stray:
        [groups, taps, P]: no pixel of the region is the tap's source.
    written:
        [groups, P]: the grid pixel is an output pixel.
    """

    words: int
    source: IntArray
    inside: BoolArray
    stray: BoolArray
    written: BoolArray

    @cached_property
    def pixels(self) -> IntArray:
        """The numbers of the grid pixels that are written."""
        return np.asarray(np.flatnonzero(self.written), np.int64)

    def of_written(self, values: IntArray) -> IntArray:
        """Of values [planes, groups, P] those of written pixels, [planes, written pixels]."""
        return values.reshape(len(values), -1).take(self.pixels, axis=1)

    @cached_property
    def used(self) -> BoolArray:
        """[groups, taps, P]: what the tap reads is part of a result."""
        return np.asarray(self.inside & self.written[:, None])

    @cached_property
    def lost(self) -> BoolArray:
        """[groups, taps, P]: likewise, but it lies outside the region."""
        return np.asarray(self.used & self.stray)

    @cached_property
    def reads(self) -> Reads:
        """All of ``used``."""
        return self._reads(self.used)

    def reads_of(self, taps: BoolArray) -> Reads:
        """Those of some taps, a mask [taps]."""
        return self.reads if taps.all() else self._reads(self.used & taps[:, None])

    def _reads(self, used: BoolArray) -> Reads:
        flat = np.flatnonzero(used)
        words, at = self.source.ravel()[flat], flat // self.source.shape[2]
        first, last = np.full(self.words, -1, np.int64), np.empty(self.words, np.int64)
        first[words[::-1]] = at[::-1]  # of several values for a word the last one stays
        last[words] = at
        found = np.flatnonzero(first >= 0)
        found = found[np.argsort(first[found], kind="stable")]
        return Reads(found, first[found], last[found])


class _Kept:
    """The grids of the latest instructions."""

    def __init__(self) -> None:
        self._grids: OrderedDict[tuple[object, ...], Grid] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, arch: Arch, i: Instruction, taps: Taps) -> Grid:
        """The grid of an instruction, made where it is not kept."""
        key = arch.pixels, arch.act_region_words, taps.data, *_told(i.values)
        with self._lock:
            grid = self._grids.pop(key, None)
            if grid is None:
                grid = _make(arch, i, taps)
                self._bytes += _size(grid)
            self._grids[key] = grid
            while self._bytes > _KEPT_BYTES and len(self._grids) > 1:
                self._bytes -= _size(self._grids.popitem(last=False)[1])
        return grid


def _size(grid: Grid) -> int:
    """Bytes of its arrays, with what is derived from them at most."""
    return 6 * grid.source.nbytes


_KEPT = _Kept()
grid_of = _KEPT.find
"""(arch, instruction, taps) -> Grid."""


def _make(arch: Arch, i: Instruction, taps: Taps) -> Grid:
    lanes = arch.pixels
    pixel = np.arange(i["groups"] * lanes, dtype=np.int64).reshape(i["groups"], 1, lanes)
    y, x = np.divmod(pixel, i["grid_width"])
    y += i["y_start"]
    tap = {name: value[None, :, None] for name, value in taps.fields.items()}
    first = i["src_bank"] + i["src_row"] * lanes + tap["bank"] + tap["row"] * lanes
    source = first + pixel
    stray = (source < 0) | (source >= arch.act_region_words)
    at_y, at_x = y + tap["dy"], x + tap["dx"]
    inside = (at_y >= 0) & (at_y < i["in_height"] - tap["short_y"])
    inside &= (at_x >= 0) & (at_x < i["in_width"] - tap["short_x"])
    if stray.any():
        source %= arch.act_region_words
    y, x = y[:, 0], x[:, 0]
    written = (y < i["out_height"]) & (x < i["out_width"])
    for array in (source, inside, stray, written):
        array.setflags(write=False)
    return Grid(arch.act_region_words, source, inside, stray, written)
