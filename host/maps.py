"""Maps of numpy and bytes of a buffer: tables made once, so that each transfer is one indexing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from host.device import ByteArray
from host.errors import ProgramFileError
from host.manifest import MapLayout

Codes = npt.NDArray[np.int8]
Array = npt.NDArray[Any]
_CODES = 256
_HALF, _LOW, _HIGH = (np.array(value) for value in (0.5, -128.0, 127.0))


class MapTable:
    """Moves one map [B, C, H, W] between numpy and its place in a buffer.

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
        positions = _positions(layout)
        self.first, self.end = int(positions.min()), int(positions.max()) + 1
        if self.first < 0 or self.end > buffer_bytes:
            raise ProgramFileError(
                f"map {layout.name!r} takes bytes {self.first}..{self.end - 1} of a buffer of "
                f"{buffer_bytes}: the program is damaged; compile the network again"
            )
        self._size = int(np.prod(self.shape))
        self._source = self._sources(positions)
        # what is staged is the map's codes, and one more that stands for all outside
        self._staged = np.full(self._size + 1, layout.zero_point, np.int8)
        self._bytes: ByteArray = self._staged.view(np.uint8)
        self._codes: Codes = self._staged[:-1].reshape(self.shape)
        self._steps = np.empty(self.shape)
        self._scale, self._zero_point = np.array(layout.scale), np.array(float(layout.zero_point))
        self._positions = np.ascontiguousarray(positions[:, : layout.shape[0]], np.intp)
        self._values = self.dequantize(np.arange(_CODES, dtype=np.uint8).view(np.int8))

    def pack(self, samples: Array, buffer: ByteArray) -> None:
        """Put up to a batch of samples, codes or real values, where the accelerator expects them.

        Samples that are missing to a batch are copies of the last one. Bytes between the map's own
        become the zero point.

        Raises
        ------
        ValueError
            A value is NaN.
        """
        count = len(samples)
        if samples.dtype == np.int8:
            self._codes[:count] = samples
        else:
            self._quantize(samples, self._steps[:count], self._codes[:count])
        if count < self.layout.batch:
            self._codes[count:] = self._codes[count - 1]
        # "clip" spares numpy a copy of the output; no index is beyond
        self._bytes.take(self._source, out=buffer[self.first : self.end], mode="clip")

    def quantize(self, values: npt.NDArray[np.floating]) -> Codes:
        """Nearest codes, ties upwards, saturated.

        Raises
        ------
        ValueError
            A value is NaN.
        """
        codes = np.empty(values.shape, np.int8)
        self._quantize(values, np.empty(values.shape), codes)
        return codes

    def dequantize(self, codes: Codes) -> npt.NDArray[np.float32]:
        """The values that codes stand for."""
        steps = codes.astype(np.int64) - self.layout.zero_point
        return (self.layout.scale * steps).astype(np.float32)

    def read(self, buffer: ByteArray) -> Codes:
        """The map's codes [B, C, H, W] in the buffer."""
        return buffer.take(self._positions).view(np.int8)

    def read_values(self, buffer: ByteArray) -> npt.NDArray[np.float32]:
        """What the codes in the buffer stand for."""
        return self._values.take(buffer.take(self._positions))

    def _quantize(self, values: Array, steps: npt.NDArray[np.float64], codes: Codes) -> None:
        # ufuncs alone, on arrays of one type: numpy's functions around them, and its own
        # temporaries where types differ, cost as much as the work itself
        steps[...] = values
        np.divide(steps, self._scale, steps)
        np.add(steps, _HALF, steps)
        np.floor(steps, steps)
        np.add(steps, self._zero_point, steps)
        np.maximum(steps, _LOW, out=steps)
        np.minimum(steps, _HIGH, out=steps)
        if math.isnan(np.minimum.reduce(steps, axis=None)):
            raise ValueError(f"input {self.layout.name!r} holds NaN, which no code stands for")
        codes[...] = steps

    def _sources(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
        """For each byte from ``first`` to ``end`` the staged code that it takes."""
        channels, height, width = self.layout.shape
        outside = self._size
        element = np.arange(self._size).reshape(self.shape)
        table = np.full(self.end - self.first, outside, np.intp)
        for fold, (dy, dx) in enumerate(self.layout.fold):
            y, x = (
                np.arange(extent) * step + offset
                for extent, step, offset in zip(
                    positions.shape[2:], self.layout.step, (dy, dx), strict=True
                )
            )
            inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
            moved = element[:, :, y.clip(0, height - 1)][..., x.clip(0, width - 1)]
            at = positions[:, fold * channels : (fold + 1) * channels] - self.first
            table[at] = np.where(inside, moved, outside)
        return table


def _positions(layout: MapLayout) -> npt.NDArray[np.int64]:
    """Byte of the buffer for each element [B, folded channels, H, W]."""
    channels, height, width = layout.shape
    height, width = -(-height // layout.step[0]), -(-width // layout.step[1])
    b = np.arange(layout.batch, dtype=np.int64)[:, None, None, None]
    c = np.arange(channels * len(layout.fold))[:, None, None]
    y = np.arange(height)[:, None]
    x = np.arange(width)
    phase = 0 * y * x
    if layout.split:
        factor = layout.factor
        phase, y, x = _phase(factor, y % factor, x % factor), y // factor, x // factor
    pixel = (y * layout.pitch + x) * layout.block + phase * layout.phase_bytes
    plane = c // layout.block * layout.plane_bytes + c % layout.block
    positions: npt.NDArray[np.int64] = layout.offset + b * layout.sample_bytes + plane + pixel
    return positions


def _phase(
    factor: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
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
