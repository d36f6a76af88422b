"""Folding kernel positions of the first layer into channels: partial im2col by the host.

With C input channels and M >= 2C, a pixel's word has room for the channels of neighbouring pixels:
``artifact.MapLayout.fold``. One tap then does the work of several kernel positions.
A word at (y, x) holds the pixel (y+dy, x+dx), but the machine pads a whole word when (y, x) itself
lies outside the map: a kernel offset o may be taken from the word at offset b only if the word is
inside wherever the pixel is.

Where the machine has no storage for the layer's stride, all pixels of a stride by stride square
become the channels of one, in as many planes as it takes: the layer then has stride 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codesign.compiler.network import PLAIN, Fold
from codesign.ir import Pair, Shape

Cover = Mapping[int, int]
"""Kernel offset -> offset of the word that it is taken from."""


@dataclass(frozen=True)
class Axis:
    """A kernel along one axis: its offsets (in source pixels, of output 0) over ``extent`` pixels
    for ``outputs`` outputs at ``stride``."""

    offsets: tuple[int, ...]
    extent: int
    outputs: int
    stride: int

    def holds(self, offset: int, base: int) -> bool:
        """Word ``base`` is inside the map wherever pixel ``offset`` is."""
        first = range(0, self.stride * self.outputs, self.stride)
        inside = range(self.extent)
        return all(at + base in inside for at in first if at + offset in inside)


def cover(axis: Axis, shifts: Sequence[int]) -> Cover | None:
    """The fewest words that hold every offset of the axis, or None where some cannot be held."""
    best: dict[int, int] | None = None

    def search(taken: dict[int, int], bases: int) -> None:
        nonlocal best
        if best is not None and bases >= len(set(best.values())):
            return
        missing = [offset for offset in axis.offsets if offset not in taken]
        if not missing:
            best = taken
            return
        for base in (missing[0] - shift for shift in shifts):
            held = {
                o: base for o in missing if o - base in shifts and axis.holds(o, base)
            }  # fmt: skip
            if missing[0] in held:
                search({**taken, **held}, bases + 1)

    search({}, 0)
    return best


@dataclass(frozen=True)
class Folding:
    """A fold with the words that rows and columns of the kernel are taken from; ``step``: lines and
    columns of the map from one word to the next."""

    fold: Fold
    rows: Cover
    columns: Cover
    step: Pair = (1, 1)

    def size(self, shape: Shape) -> Pair:
        """Lines and columns of a folded map."""
        return -(-shape[1] // self.step[0]), -(-shape[2] // self.step[1])

    @property
    def taps(self) -> int:
        return len(set(self.rows.values())) * len(set(self.columns.values()))


def plain(rows: Axis, columns: Axis) -> Folding:
    """No folding: every offset from its own word."""
    return Folding(PLAIN, {o: o for o in rows.offsets}, {o: o for o in columns.offsets})


def squares(rows: Axis, columns: Axis) -> Folding:
    """All pixels from one output to the next in one word."""
    step_y, step_x = rows.stride, columns.stride
    fold = tuple((dy, dx) for dy in range(step_y) for dx in range(step_x))
    return Folding(
        fold,
        {o: o - o % step_y for o in rows.offsets},
        {o: o - o % step_x for o in columns.offsets},
        (step_y, step_x),
    )


def best(rows: Axis, columns: Axis, step: tuple[int, int], room: int, enough: int) -> Folding:
    """The folding with the fewest taps, and among those the fewest channels.

    Parameters
    ----------
    step:
        Dilation of the kernel, (y, x).
    room:
        Pixels whose channels a word can hold.
    enough:
        Taps below which nothing is gained: a group takes no less to drain.
    """
    choices = [plain(rows, columns)]
    for ny in range(1, min(room, len(rows.offsets)) + 1):
        for nx in range(1, min(room // ny, len(columns.offsets)) + 1):
            for by_row, dys in _covers(rows, ny, step[0]):
                for by_column, dxs in _covers(columns, nx, step[1]):
                    fold = tuple((dy, dx) for dy in dys for dx in dxs)
                    choices.append(Folding(fold, by_row, by_column))
    return min(choices, key=lambda f: (max(f.taps, enough), len(f.fold)))


def choose(
    axes: tuple[Axis, Axis], dilation: Pair, by_line: Pair | None, source: Shape, grain: Pair
) -> Folding:
    """How the host folds an input of shape ``source`` for its only reader, a dense convolution.

    Parameters
    ----------
    by_line:
        Strides of a layer that is computed by line.
    grain:
        M, and the cycles that a group takes to drain.
    """
    channels, enough = grain
    room = channels // source[0]
    chosen = plain(*axes)
    if room > 1:
        chosen = best(*axes, dilation, room, enough)
    square = squares(*axes)
    if not by_line or square.size(source) == (1, 1):
        return chosen
    # computed by line, a layer's lanes work in one of as many cycles as its stride is long
    longest = _words(source, chosen, channels) * by_line[1]
    return square if _words(source, square, channels) <= longest else chosen


def _words(source: Shape, folding: Folding, channels: int) -> int:
    """Taps of an output."""
    planes = -(-source[0] * len(folding.fold) // channels)
    return planes * max(folding.taps, 1)


def _covers(axis: Axis, count: int, step: int) -> list[tuple[Cover, list[int]]]:
    """The covers with ``count`` pixels in a word, each with their offsets from it."""
    found = []
    for first in range(1 - count, 1):
        shifts = [step * (first + i) for i in range(count)]
        by_offset = cover(axis, shifts)
        if by_offset is not None:
            found.append((by_offset, shifts))
    return found
