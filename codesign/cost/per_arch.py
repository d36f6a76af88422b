"""Functions of one architecture, applied to columns of architectures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from codesign.arch import Arch
from codesign.cost.archs import COLUMNS, Archs, IntArray


def per_arch(archs: Archs, keys: IntArray, function: Callable[[Arch], int]) -> IntArray:
    """``function`` of every architecture [A], called once for each value of ``keys`` [A]: what it
    returns follows from these."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    values = [function(row(archs, int(number))) for number in first]
    return np.asarray(values, np.int64)[inverse]


def row(archs: Archs, number: int) -> Arch:
    """One architecture of the columns; its name is its number."""
    fields: dict[str, Any] = {name: int(getattr(archs, name)[number]) for name in COLUMNS}
    return Arch(f"row {number}", **fields, clock_mhz=float(archs.clock_mhz[number]))
