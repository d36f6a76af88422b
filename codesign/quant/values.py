"""Real values and their int8 codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arith import INT8_MAX, INT8_MIN

CODES = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)


@dataclass(frozen=True)
class Coding:
    """Code q stands for scale * (q - zero_point)."""

    scale: float
    zero_point: int

    def encode(self, values: npt.ArrayLike) -> npt.NDArray[np.int8]:
        """Nearest codes (ties upwards, as ``arith``), saturated; NaN becomes the code of zero."""
        steps = np.nan_to_num(
            np.asarray(values, np.float64) / self.scale, nan=0.0, posinf=1e9, neginf=-1e9
        )
        codes: npt.NDArray[np.float64] = np.clip(
            np.floor(steps + 0.5) + self.zero_point, INT8_MIN, INT8_MAX
        )
        return codes.astype(np.int8)

    def decode(self, codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The real values of codes."""
        return (self.scale * (np.asarray(codes, np.int64) - self.zero_point)).astype(np.float32)

    def bound(self, value: float) -> int:
        """Code of a clamp bound; an infinite one is the end of the range."""
        if math.isinf(value):
            return INT8_MAX if value > 0 else INT8_MIN
        return int(self.encode(value))


def coding(low: float, high: float) -> Coding:
    """The affine coding that covers [low, high] and zero, and represents zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    span = high - low
    if not math.isfinite(span):
        raise ValueError(f"the range {low}..{high} is not finite")
    scale = span / (INT8_MAX - INT8_MIN)
    if scale < MIN_SCALE:  # a constant zero: every scale represents it
        return Coding(1.0, 0)
    return Coding(scale, int(np.clip(math.floor(INT8_MIN - low / scale + 0.5), INT8_MIN, INT8_MAX)))


MIN_SCALE = 2.0**-100
"""Below, quotients of scales would leave the range of float32."""
