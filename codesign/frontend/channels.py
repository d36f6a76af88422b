"""Channels that move between maps: 1 by 1 convolutions of zeros and ones, and sums.

A part is put into its channels of the whole by a convolution; the sum of the parts is the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codesign.frontend import network as net
from codesign.ir import Shape, Window


@dataclass(frozen=True, eq=False)
class Joined:
    """Operations that make a whole of parts, and its ``Network.coded_as``: with all of its codings
    shared, each value is rounded to the whole's scale once.
    """

    ops: tuple[net.Op, ...]
    coded_as: dict[str, str]


def join(name: str, y: str, parts: Sequence[tuple[str, Shape]]) -> Joined:
    """The tensors ``parts``, at least two, behind each other: channels of ``y``."""
    channels = sum(shape[0] for _, shape in parts)
    last = f"{name}:sum{len(parts) - 1}"
    ops: list[net.Op] = []
    coded_as: dict[str, str] = {}
    before, total = 0, ""
    for number, (x, shape) in enumerate(parts):
        placed = f"{y}:part{number}"
        rows = [(before + channel, channel) for channel in range(shape[0])]
        ops.append(select(f"{name}:part{number}", x, placed, rows, shape[0], channels))
        coded_as[placed] = last
        before += shape[0]
        if number == 0:
            total = placed
            continue
        summed = y if number == len(parts) - 1 else f"{y}:sum{number}"
        ops.append(net.Add(f"{name}:sum{number}", total, placed, summed))
        if summed != y:
            coded_as[summed] = last
        total = summed
    return Joined(tuple(ops), coded_as)


def select(
    name: str, x: str, y: str, rows: Sequence[tuple[int, int]], inputs: int, outputs: int
) -> net.Conv2d:
    """Channel a of ``y`` is channel b of ``x``, for (a, b) in ``rows``; others are zero."""
    weight = np.zeros((outputs, inputs, 1, 1), np.float32)
    for into, source in rows:
        weight[into, source] = 1
    return net.Conv2d(name, x, y, weight, np.zeros(outputs, np.float32), Window((1, 1)))
