"""Maps of numpy and bytes of a buffer: views made once, so that a transfer is a few assignments."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from host.device import ByteArray
from host.errors import ProgramFileError
from host.manifest import MapLayout

Codes = npt.NDArray[np.int8]
Array = npt.NDArray[Any]
INT8 = np.dtype(np.int8)
_CODES = 256
_HALF, _LOW, _HIGH = (np.array(value) for value in (0.5, -128.0, 127.0))


class MapTable:
    """One map [B, C, H, W] and its place in a buffer.

    Parameters
    ----------
    buffer_bytes:
        Size of the buffer.

    Attributes
    ----------
    first, end:
        The bytes of the buffer that it takes, ``end`` excluded: no other map has a byte between.

    Raises
    ------
    ProgramFileError
        The map reaches beyond its buffer.
    """

    def __init__(self, layout: MapLayout, buffer_bytes: int) -> None:
        self.layout = layout
        self.shape = (layout.batch, *layout.shape)
        self.first, self.end = _reach(layout)
        if self.first < 0 or self.end > buffer_bytes:
            raise ProgramFileError(
                f"map {layout.name!r} takes bytes {self.first}..{self.end - 1} of a buffer of "
                f"{buffer_bytes}: the program is damaged; compile the network again"
            )
        self.pieces = tuple(_pieces(layout))
        self._scale, self._zero_point = np.array(layout.scale), np.array(float(layout.zero_point))
        self._values = self.dequantize(np.arange(_CODES, dtype=np.uint8).view(np.int8))

    def quantize(self, values: npt.NDArray[np.floating]) -> Codes:
        """Nearest codes, ties upwards, saturated.

        Raises
        ------
        ValueError
            A value is NaN.
        """
        codes = np.empty(values.shape, np.int8)
        self.quantize_into(values, np.empty(values.shape), codes)
        return codes

    def quantize_into(self, values: Array, steps: npt.NDArray[np.float64], codes: Codes) -> None:
        """``quantize`` with memory for its work, ``steps``, and for its result."""
        # ufuncs alone, on arrays of one type: numpy's functions around them, and its own
        # temporaries where types differ, cost as much as the work itself
        steps[...] = values
        if self.layout.scale != 1.0:
            np.divide(steps, self._scale, steps)
        np.add(steps, _HALF, steps)
        np.floor(steps, steps)
        np.add(steps, self._zero_point, steps)
        np.maximum(steps, _LOW, out=steps)
        np.minimum(steps, _HIGH, out=steps)
        if math.isnan(np.minimum.reduce(steps, axis=None)):
            raise ValueError(f"input {self.layout.name!r} holds NaN, which no code stands for")
        codes[...] = steps

    def dequantize(self, codes: Codes) -> npt.NDArray[np.float32]:
        """The values that codes stand for."""
        steps = codes.astype(np.int64) - self.layout.zero_point
        return (self.layout.scale * steps).astype(np.float32)

    def look_up(self, codes: Codes) -> npt.NDArray[np.float32]:
        """The same for many codes: there are only 256 values."""
        return self._values.take(codes.view(np.uint8))


class MapView:
    """A map in one buffer: moves it between there and numpy.

    ``buffer`` stays where it is in memory; bytes between the map's own, which ``clear`` makes the
    zero point, are never written again.
    """

    def __init__(self, table: MapTable, buffer: ByteArray) -> None:
        self.table = table
        self._buffer = buffer
        self._steps = np.empty(table.shape)
        self._codes: Codes = np.empty(table.shape, np.int8)
        signed = buffer.view(np.int8)
        self._moves = [(at.there(signed), at.here(self._codes)) for at in table.pieces]

    def clear(self) -> None:
        """The zero point everywhere."""
        table = self.table
        self._buffer[table.first : table.end] = np.int8(table.layout.zero_point).view(np.uint8)

    def pack(self, samples: Array) -> None:
        """Put up to a batch of samples, codes or real values, where the accelerator expects them.

        Samples that are missing to a batch are copies of the last one.

        Raises
        ------
        ValueError
            A value is NaN.
        """
        count, codes = len(samples), self._codes
        if samples.dtype == INT8:
            codes[:count] = samples
        else:
            self.table.quantize_into(samples, self._steps[:count], codes[:count])
        if count < self.table.layout.batch:
            codes[count:] = codes[count - 1]
        for there, here in self._moves:
            there[...] = here

    def read(self) -> Codes:
        """The map's codes [B, C, H, W] in the buffer."""
        for there, here in self._moves:
            here[...] = there
        codes: Codes = self._codes.copy()
        return codes

    def read_values(self) -> npt.NDArray[np.float32]:
        """What the codes in the buffer stand for."""
        for there, here in self._moves:
            here[...] = there
        return self.table.look_up(self._codes)


class _Piece(NamedTuple):
    """Elements of a map that lie evenly in a buffer: [samples, blocks, channels, lines, columns].

    ``first`` and ``strides`` are bytes of the buffer; ``channels``, ``lines`` and ``columns`` say
    which elements of the map they are.
    """

    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    channels: slice
    lines: slice
    columns: slice

    def there(self, buffer: Codes) -> Codes:
        """A view of their bytes."""
        return as_strided(buffer[self.first :], self.shape, self.strides)

    def here(self, codes: Codes) -> Codes:
        """A view of them in the map's codes [B, C, H, W]."""
        return codes[:, self.channels, self.lines, self.columns].reshape(self.shape)


class _Axis(NamedTuple):
    """Grid lines (or columns) of one phase that have a source on the map: the number of the
    ``first`` within the phase, how many they are, and which of the map's lines they take."""

    first: int
    size: int
    source: slice

    @classmethod
    def of(cls, extent: int, step: int, offset: int, phase: int, factor: int) -> _Axis:
        grid = range(phase, -(-extent // step), factor)
        inside = [at for at in grid if 0 <= step * at + offset < extent]
        if not inside:
            return cls(0, 0, slice(0))
        begin, every = step * inside[0] + offset, step * factor
        source = slice(begin, begin + every * len(inside), every)
        return cls((inside[0] - phase) // factor, len(inside), source)


def _pieces(layout: MapLayout) -> Iterator[_Piece]:
    """The map cut where its bytes do not lie evenly: at phase planes, and where the channels of a
    fold begin or end within a block."""
    factor = layout.factor if layout.split else 1
    for fold, (dy, dx) in enumerate(layout.fold):
        for py in range(factor):
            lines = _Axis.of(layout.shape[1], layout.step[0], dy, py, factor)
            for px in range(factor):
                columns = _Axis.of(layout.shape[2], layout.step[1], dx, px, factor)
                plane = layout.offset + _phase(factor, py, px) * layout.phase_bytes
                yield from _blocks(layout, fold, plane, lines, columns)


def _blocks(
    layout: MapLayout, fold: int, plane: int, lines: _Axis, columns: _Axis
) -> Iterator[_Piece]:
    """Of one fold and one phase plane: whole blocks of channels together, others alone."""
    if not lines.size or not columns.size:
        return
    block, channels = layout.block, layout.shape[0]
    plane += (lines.first * layout.pitch + columns.first) * block
    strides = layout.sample_bytes, layout.plane_bytes, 1, layout.pitch * block, block
    done = 0
    while done < channels:
        number, within = divmod(fold * channels + done, block)
        whole = (channels - done) // block if within == 0 else 0
        size = whole * block or min(block - within, channels - done)
        shape = layout.batch, whole or 1, size // (whole or 1), lines.size, columns.size
        first = plane + number * layout.plane_bytes + within
        yield _Piece(first, shape, strides, slice(done, done + size), lines.source, columns.source)
        done += size


def _reach(layout: MapLayout) -> tuple[int, int]:
    """The first byte of a map, and the one behind its last."""
    factor = layout.factor if layout.split else 1
    height, width = (
        -(-extent // step) for extent, step in zip(layout.shape[1:], layout.step, strict=True)
    )
    pixels = [
        _phase(factor, py, px) * layout.phase_bytes + (line * layout.pitch + column) * layout.block
        for py in range(min(factor, height))
        for px in range(min(factor, width))
        for line in (0, (height - 1 - py) // factor)
        for column in (0, (width - 1 - px) // factor)
    ]
    channels = [
        c // layout.block * layout.plane_bytes + c % layout.block
        for c in range(layout.shape[0] * len(layout.fold))
    ]
    samples = 0, (layout.batch - 1) * layout.sample_bytes
    first, last = (layout.offset + end(samples) + end(channels) + end(pixels) for end in (min, max))
    return first, last + 1


def _phase(factor: int, y: int, x: int) -> int:
    """The phase plane of pixels (y, x) modulo ``factor`` (``MapLayout``)."""
    half, odd = divmod(factor, 2)
    if odd:
        return factor * y + x
    return 4 * (half * (y % half) + x % half) + 2 * (y // half) + x // half


def check_apart(tables: Sequence[MapTable]) -> None:
    """Refuse maps of one buffer that share bytes.

    Raises
    ------
    ProgramFileError
        The program is damaged.
    """
    ordered = sorted(tables, key=lambda table: table.first)
    for one, other in pairwise(ordered):
        if other.first < one.end:
            raise ProgramFileError(
                f"maps {one.layout.name!r} and {other.layout.name!r} share bytes of their buffer: "
                "the program is damaged; compile the network again"
            )
