"""Maps of numpy and bytes of a buffer: tables made once, so that each transfer is one indexing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from host.device import ByteArray
from host.manifest import MapLayout

Codes = npt.NDArray[np.int8]
_LOW, _HIGH = -128, 127


class MapTable:
    """Moves one map [B, C, H, W] between numpy and its place in a buffer.

    Attributes
    ----------
    first, end:
        The bytes of the buffer that it takes, ``end`` excluded.
    """

    def __init__(self, layout: MapLayout) -> None:
        self.layout = layout
        self.shape = (layout.batch, *layout.shape)
        self._bytes = _positions(layout)
        self.first, self.end = int(self._bytes.min()), int(self._bytes.max()) + 1
        dy = [offset[0] for offset in layout.fold]
        dx = [offset[1] for offset in layout.fold]
        self._before = (max(0, -min(dy)), max(0, -min(dx)))
        self._after = (max(0, *dy), max(0, *dx))
        self._plain = layout.fold == ((0, 0),)

    def quantize(self, values: npt.NDArray[np.floating]) -> Codes:
        """Nearest codes, ties upwards, saturated.

        Raises
        ------
        ValueError
            A value is NaN.
        """
        steps = np.floor(np.asarray(values, np.float64) / self.layout.scale + 0.5)
        if np.isnan(steps).any():
            raise ValueError(f"input {self.layout.name!r} holds NaN, which no code stands for")
        codes: Codes = np.clip(steps + self.layout.zero_point, _LOW, _HIGH).astype(np.int8)
        return codes

    def dequantize(self, codes: Codes) -> npt.NDArray[np.float32]:
        """The values that codes stand for."""
        steps = codes.astype(np.int64) - self.layout.zero_point
        return (self.layout.scale * steps).astype(np.float32)

    def write(self, codes: Codes, buffer: ByteArray) -> None:
        """Put a map [B, C, H, W] where the accelerator expects it; other bytes stay."""
        buffer[self._bytes] = self._fold(codes).view(np.uint8)

    def read(self, buffer: ByteArray) -> Codes:
        """The map [B, C, H, W] in the buffer."""
        channels = self.layout.shape[0]
        return buffer[self._bytes[:, :channels]].view(np.int8)

    def _fold(self, codes: Codes) -> Codes:
        if self._plain:
            return np.ascontiguousarray(codes)
        (top, left), (bottom, right) = self._before, self._after
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        padded = np.pad(codes, margins, constant_values=self.layout.zero_point)
        _, height, width = self.layout.shape
        shifted = [
            padded[:, :, top + dy : top + dy + height, left + dx : left + dx + width]
            for dy, dx in self.layout.fold
        ]
        return np.concatenate(shifted, axis=1)


def _positions(layout: MapLayout) -> npt.NDArray[np.int64]:
    """Byte of the buffer for each element [B, folded channels, H, W]."""
    channels, height, width = layout.shape
    b = np.arange(layout.batch)[:, None, None, None]
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
