"""Row tiles of a layer whose source is being loaded, for many architectures at once: those that
``compiler.tile.tiles`` chooses, by the same closed forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from codesign.compiler.tile import DRAM_ALIGNMENT, cuts
from codesign.cost.archs import Archs
from codesign.cost.closed_form_calc import Calcs
from codesign.cost.closed_form_maps import Place, ceil_div
from codesign.cost.cycles import LOAD_ROW, load_latency
from codesign.cost.layer_shape import IntArray, LayerShape
from codesign.isa import INSTRUCTION_BYTES


@dataclass(frozen=True, eq=False)
class Tiles:
    """Tiles of each architecture: ``groups`` [T, A] of each tile's instructions, ``lines`` [T, A]
    of the source that it adds; both are 0 for tiles that an architecture does not have."""

    groups: IntArray
    lines: IntArray

    @property
    def count(self) -> IntArray:
        return np.asarray((self.groups > 0).sum(axis=0))

    @property
    def last(self) -> IntArray:
        """Groups of the last tile."""
        return np.asarray(self.groups[self.count - 1, np.arange(self.groups.shape[1])])


def whole(place: Place, groups: IntArray) -> Tiles:
    """One tile."""
    return Tiles(groups[None], np.full((1, len(groups)), place.lines))


def tiles(archs: Archs, place: Place, layer: LayerShape, calcs: Calcs, groups: IntArray) -> Tiles:
    """The tiles of a layer whose source, ``place``, is loaded line by line; ``groups`` [A] of the
    layer as a whole."""
    if layer.step:
        return whole(place, groups)
    height = max(layer.grid(part)[0] for part in layer.parts)
    lanes, width = archs.pixels, calcs.width
    step = lanes // np.gcd(lanes, width)
    columns = (
        np.where(2 * step > height, 1, step), lanes, width,
        np.broadcast_to(place.pitch, len(lanes)),
        np.broadcast_to(place.planes * place.phases, len(lanes)), archs.act_word_bytes,
        calcs.instructions, calcs.per_group,
    )  # fmt: skip
    some, inverse = alike((*columns, archs.beat_bytes))
    rest = np.stack([*(column[some] for column in columns), archs.beat_bytes[some]])
    below = max(y // layer.stride for part in layer.parts for y, _ in part.offsets)
    wide = max(layer.grid(part)[1] for part in layer.parts)
    plans = _plans((height, place.lines, wide, below), rest)
    longest = max(len(groups) for groups, _ in plans)
    chosen = Tiles(*np.zeros((2, longest, len(some)), np.int64))
    for number, (counts, lines) in enumerate(plans):
        chosen.groups[: len(counts), number] = counts
        chosen.lines[: len(lines), number] = lines
    return Tiles(chosen.groups[:, inverse], chosen.lines[:, inverse])


_Shape = tuple[int, int, int, int]
"""Of a layer: lines of its grid and of its source's planes, columns of its grid, lines that its
kernel reaches down."""
_Plan = tuple[tuple[int, ...], tuple[int, ...]]
"""Groups and lines of each tile."""
_KNOWN: dict[tuple[_Shape, bytes], _Plan] = {}
_MOST_KNOWN = 1 << 16


def _plans(shape: _Shape, columns: IntArray) -> list[_Plan]:
    """The tiles of different layers; those weighed before are remembered, for a search asks for the
    same ones again and again."""
    keys = [(shape, column.tobytes()) for column in np.ascontiguousarray(columns.T)]
    if len(_KNOWN) + len(keys) > _MOST_KNOWN:
        _KNOWN.clear()
    missing = np.array([number for number, key in enumerate(keys) if key not in _KNOWN], np.intp)
    for step in np.unique(columns[0, missing]):
        rows = missing[columns[0, missing] == step]
        cutter = _Cutter(shape, *columns[1:, rows])
        weighed = [cutter.weigh(ends) for ends in _cuts(shape[0], int(step))]
        best = np.argmin(np.stack([cost for cost, _ in weighed]), axis=0)
        for at, (row, number) in enumerate(zip(rows, best, strict=True)):
            cut = weighed[number][1]
            _KNOWN[keys[row]] = tuple(cut.groups[:, at].tolist()), tuple(cut.lines[:, at].tolist())
    return [_KNOWN[key] for key in keys]


def alike(columns: Sequence[IntArray]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows, one of each kind, and for every row the number of its kind among them; ``columns`` of
    numbers that are not negative."""
    sizes = [int(column.max(initial=0)) + 1 for column in columns]
    if prod(sizes) >= 1 << 62:
        _, some, inverse = np.unique(
            np.stack(columns), axis=1, return_index=True, return_inverse=True
        )
        return some, inverse.ravel()
    keys = np.ravel_multi_index(tuple(columns), sizes)
    _, some, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return some, inverse


@lru_cache(maxsize=1 << 10)
def _cuts(height: int, step: int) -> tuple[tuple[int, ...], ...]:
    """Plans to try."""
    return tuple(dict.fromkeys(cuts(height, step)))


class _Cutter:
    """``compiler.tile``'s weights of plans, for architectures with the same ones to choose from."""

    def __init__(
        self, shape: _Shape, lanes: IntArray, width: IntArray, pitch: IntArray, rows: IntArray,
        word: IntArray, instructions: IntArray, per_group: IntArray, beat: IntArray,
    ) -> None:  # fmt: skip
        self.height, self.lines, self.columns, self.below = shape
        self.lanes, self.pitch, self.width, self.per_group = lanes, pitch, width, per_group
        self.rows, self.word, self.beat = rows, word, beat
        self.fetch = (instructions + 1) * INSTRUCTION_BYTES // beat
        self.unit = DRAM_ALIGNMENT // np.gcd(DRAM_ALIGNMENT, pitch * word)

    def weigh(self, ends: Sequence[int]) -> tuple[IntArray, Tiles]:
        """A plan's weight, the number of its tiles behind it, and its tiles."""
        loaded = np.full(len(self.lanes), load_latency())
        done = waits = lines = np.zeros(len(self.lanes), np.int64)
        groups, added = [], []
        for first, last in zip((0, *ends[:-1]), ends, strict=True):
            needed = self._needed(last)
            more = np.maximum(0, needed - lines)
            lines = np.maximum(lines, needed)
            words = ceil_div(more * self.pitch * self.word, self.beat)
            loading = self.rows * (LOAD_ROW + words) + self.fetch
            loaded = loaded + np.where(more > 0, loading, 0)
            if first:
                waits = waits + np.maximum(0, loaded - done)
            count = ceil_div((last - first - 1) * self.width + self.columns, self.lanes)
            done = np.maximum(done, loaded) + count * self.per_group
            groups.append(count)
            added.append(more)
        return (done + waits) * (1 << 8) + len(ends), Tiles(np.stack(groups), np.stack(added))

    def _needed(self, last: int) -> IntArray:
        if last == self.height:
            return np.full(len(self.lanes), self.lines)
        wanted = ceil_div(max(1, last + self.below), self.unit) * self.unit
        return np.asarray(np.minimum(self.lines, wanted))
