"""Transposed convolutions and nearest neighbours, as every frontend has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.ir import Padding, Pair, Window

Array = npt.NDArray[Any]


def turned(weight: Array, groups: int) -> Array:
    """The kernel [O, I/groups, kh, kw] that correlates with a spread map, of a transposed
    convolution's [I, O/groups, kh, kw]."""
    inputs, per_group, height, width = weight.shape
    grouped = weight.reshape(groups, inputs // groups, per_group, height, width).swapaxes(1, 2)
    flat = grouped.reshape(groups * per_group, inputs // groups, height, width)
    return np.ascontiguousarray(flat[:, :, ::-1, ::-1])


def transposed_window(
    kernel: Pair, stride: Pair, dilation: Pair, before: Pair, source: Pair, target: Pair
) -> Window:
    """The window of a transposed convolution on a map of extents ``source``.

    Parameters
    ----------
    before:
        Lines and columns that the output is cut by above and at the left: its "padding".
    target:
        The output's extents, (H, W).

    Raises
    ------
    ValueError
        The output is cut by more than the kernel reaches.
    """
    sides: list[int] = []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1)
        spread = stride[axis] * (source[axis] - 1) + 1
        first = reach - before[axis]
        sides += [first, target[axis] + reach - spread - first]
    if min(sides) < 0:
        raise ValueError(
            f"its padding {before} cuts the output {target} by more than its kernel {kernel} "
            "reaches; pad less, and cut the output by a convolution without padding"
        )
    padding: Padding = (sides[0], sides[1], sides[2], sides[3])
    return Window(kernel, (1, 1), padding, dilation, stride)


def repeats(indices: Sequence[int], extent: int) -> int | None:
    """How often each of ``extent`` pixels is taken where ``indices`` take all equally often, one
    after the other; else None."""
    factor, rest = divmod(len(indices), extent)
    if rest or any(index != place // factor for place, index in enumerate(indices)):
        return None
    return factor
