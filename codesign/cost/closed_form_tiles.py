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
    some, inverse = alike(columns)
    rest = [column[some] for column in columns]
    plans = {int(at): _cuts(height, int(at)) for at in np.unique(rest[0])}
    longest = max(len(ends) for found in plans.values() for ends in found)
    chosen = Tiles(*np.zeros((2, longest, len(some)), np.int64))
    for at, found in plans.items():
        rows = np.flatnonzero(rest[0] == at)
        cutter = _Cutter(place, layer, height, archs.beat_bytes[some][rows], *(
            column[rows] for column in rest[1:]
        ))  # fmt: skip
        weighed = [cutter.weigh(ends) for ends in found]
        best = np.argmin(np.stack([cost for cost, _ in weighed]), axis=0)
        for number, (_, cut) in enumerate(weighed):
            mine = best == number
            chosen.groups[: len(cut.groups), rows[mine]] = cut.groups[:, mine]
            chosen.lines[: len(cut.lines), rows[mine]] = cut.lines[:, mine]
    return Tiles(chosen.groups[:, inverse], chosen.lines[:, inverse])


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
        self, place: Place, layer: LayerShape, height: int, beat: IntArray, lanes: IntArray,
        width: IntArray, pitch: IntArray, rows: IntArray, word: IntArray, instructions: IntArray,
        per_group: IntArray,
    ) -> None:  # fmt: skip
        self.lanes, self.height, self.lines = lanes, height, place.lines
        self.below = max(y // layer.stride for part in layer.parts for y, _ in part.offsets)
        self.columns = max(layer.grid(part)[1] for part in layer.parts)
        self.pitch, self.width, self.per_group = pitch, width, per_group
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
