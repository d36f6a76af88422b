"""A small network of integers that exercises every unit."""

from __future__ import annotations

import numpy as np

from codesign import ir
from codesign.arith import MAGNITUDE_BITS
from codesign.reference import graph as reference

SHAPE = (5, 6, 7)
MULTIPLIERS = 1 << MAGNITUDE_BITS - 1, 1 << MAGNITUDE_BITS


def graph(batch: int = 2, seed: int = 0) -> ir.Graph:
    """Convolution, residual around a depthwise one, a strided one, pooling, a table."""
    rng = np.random.default_rng(seed)

    def conv(name, x, y, outputs, inputs, kernel, window, groups=1, twice=False):
        shape = (outputs, inputs // groups, *kernel)
        return ir.Conv2d(
            name, x, y, rng.integers(-127, 128, shape).astype(np.int8),
            rng.integers(-3000, 3000, outputs).astype(np.int32),
            rng.integers(*MULTIPLIERS, outputs).astype(np.int32),
            np.full(outputs, 31, np.int32), window, groups, twice=twice,
        )  # fmt: skip

    same = ir.Window((3, 3), padding=(1, 1, 1, 1))
    shapes = {
        "x": SHAPE, "a": (8, 6, 7), "b": (8, 6, 7), "c": (8, 6, 7), "d": (6, 3, 4),
        "e": (6, 1, 2), "y": (6, 1, 2),
    }  # fmt: skip
    zero_points = {"x": 3, "a": -20, "b": 5, "c": -7, "d": 9, "e": 9, "y": 0}
    tensors = {
        name: ir.Tensor(name, shape, 0.1, zero_points[name]) for name, shape in shapes.items()
    }
    ops = (
        conv("first", "x", "a", 8, 5, (3, 3), same),
        conv("depthwise", "a", "b", 8, 8, (3, 3), same, groups=8, twice=True),
        ir.Add("add", "b", "a", "c", 9_000_000, 11_500_000, 24),
        conv("strided", "c", "d", 6, 8, (3, 3), ir.Window((3, 3), (2, 2), (1, 1, 1, 1))),
        ir.MaxPool2d("pool", "d", "e", ir.Window((2, 2), (2, 2))),
        ir.Table("table", "e", "y", rng.permutation(np.arange(-128, 128)).astype(np.int8)),
    )
    return ir.Graph("small", batch, tensors, ops, ("x",), ("y",))


def inputs(samples: int, seed: int = 0) -> np.ndarray:
    """Random codes."""
    return np.random.default_rng(seed).integers(-128, 128, (samples, *SHAPE), np.int8)


def expected(x: np.ndarray) -> np.ndarray:
    """What the graph computes."""
    return reference.run(graph(len(x)), {"x": x})["y"]
