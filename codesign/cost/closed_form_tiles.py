"""Row tiles of a layer whose source is being loaded, for many architectures at once: those that
``compiler.tile.tiles`` chooses, by the same closed forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def whole(place: Place, groups: IntArray) -> Tiles:
    """One tile."""
    return Tiles(groups[None], np.full((1, len(groups)), place.lines))


def tiles(archs: Archs, place: Place, layer: LayerShape, calcs: Calcs, groups: IntArray) -> Tiles:
    """The tiles of a layer whose source, ``place``, is loaded line by line; ``groups`` [A] of the
    layer as a whole."""
    if layer.step:
        return whole(place, groups)
    height = max(layer.grid(part)[0] for part in layer.parts)
    below = max(y // layer.stride for part in layer.parts for y, _ in part.offsets)
    lanes, width = archs.pixels, calcs.width
    step = lanes // np.gcd(lanes, width)
    step = np.where(2 * step > height, 1, step)
    plans = {int(at): cuts(height, int(at)) for at in np.unique(step)}
    longest = max(len(ends) for found in plans.values() for ends in found)
    chosen = Tiles(*np.zeros((2, longest, len(archs)), np.int64))
    for at, found in plans.items():
        rows = step == at
        cutter = _Cutter(archs.take(rows), place, layer, calcs, height, below, rows)
        weighed = [cutter.weigh(ends) for ends in dict.fromkeys(found)]
        best = np.argmin(np.stack([cost for cost, _ in weighed]), axis=0)
        for number, (_, cut) in enumerate(weighed):
            mine = best == number
            if mine.any():
                where = np.flatnonzero(rows)[mine]
                chosen.groups[: len(cut.groups), where] = cut.groups[:, mine]
                chosen.lines[: len(cut.lines), where] = cut.lines[:, mine]
    return chosen


class _Cutter:
    """``compiler.tile``'s weights of plans, for architectures with the same ones to choose from."""

    def __init__(
        self,
        archs: Archs,
        place: Place,
        layer: LayerShape,
        calcs: Calcs,
        height: int,
        below: int,
        rows: np.ndarray,
    ) -> None:
        self.lanes, self.height, self.below = archs.pixels, height, below
        self.lines = place.lines
        self.pitch = place.pitch[rows]
        self.width, self.per_group = calcs.width[rows], calcs.per_group[rows]
        self.columns = max(layer.grid(part)[1] for part in layer.parts)
        self.rows = place.planes[rows] * place.phases
        self.word, self.beat = archs.act_word_bytes, archs.beat_bytes
        instructions = calcs.instructions[rows] + 1
        self.fetch = instructions * INSTRUCTION_BYTES // self.beat
        line_bytes = self.pitch * self.word
        self.unit = DRAM_ALIGNMENT // np.gcd(DRAM_ALIGNMENT, line_bytes)

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
