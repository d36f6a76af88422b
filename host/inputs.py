"""What a user gives to a run: checked once, before anything is on its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from host.maps import INT8, MapTable

Array = npt.NDArray[Any]


class Given(NamedTuple):
    """Inputs of one call: ``arrays`` [samples, C, H, W], all codes or all real values."""

    arrays: list[Array]
    samples: int
    real: bool


def check_inputs(tables: Sequence[MapTable], inputs: Sequence[Array]) -> Given:
    """The inputs as the program takes them.

    Raises
    ------
    TypeError, ValueError
        An input has another type or shape than the program's.
    """
    if len(inputs) != len(tables):
        names = [table.layout.name for table in tables]
        raise TypeError(f"{len(inputs)} inputs are given, the program takes {names}")
    arrays = [_checked(table, x) for table, x in zip(tables, inputs, strict=True)]
    samples, codes = len(arrays[0]), arrays[0].dtype == INT8
    for x in arrays[1:]:
        if (len(x), x.dtype == INT8) != (samples, codes):
            raise ValueError("all inputs must have as many samples, and all be codes or none")
    return Given(arrays, samples, not codes)


def _checked(table: MapTable, x: Array) -> Array:
    layout = table.layout
    if not isinstance(x, np.ndarray):
        raise TypeError(f"input {layout.name!r} is a {type(x).__name__}; give a numpy array")
    if x.ndim == 2 and layout.shape[1:] == (1, 1):
        x = x[:, :, None, None]
    if x.ndim != 4 or x.shape[1:] != layout.shape or not len(x):
        raise ValueError(
            f"input {layout.name!r} has shape {x.shape}; the program takes "
            f"(samples, {', '.join(map(str, layout.shape))})"
        )
    if x.dtype.kind != "f" and x.dtype != INT8:
        raise TypeError(
            f"input {layout.name!r} has type {x.dtype}; give int8 codes or floating-point values"
        )
    return x
