"""Where two executions of a network first differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.ir import Graph

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Difference:
    """The first value that differs, in the order of execution, samples, pixels, channels."""

    layer: str
    op: str
    origin: str
    tensor: str
    sample: int
    line: int
    column: int
    channel: int
    expected: int
    found: int
    count: int
    total: int

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        return (
            f"layer {self.layer!r} {self.op}{place}, sample {self.sample}, pixel "
            f"(y={self.line}, x={self.column}), channel {self.channel}: expected {self.expected}, "
            f"found {self.found}; {self.count} of {self.total} values of {self.tensor!r} differ"
        )


def first_difference(
    graph: Graph, expected: Mapping[str, Codes], found: Mapping[str, Codes]
) -> Difference | None:
    """Compare the tensors [B, C, H, W] in ``found`` with ``expected``, layer by layer.

    Raises
    ------
    ValueError
        ``found`` holds a tensor that no layer produces, or of another shape.
    """
    produced = [op for op in graph.ops if op.y in found]
    if unknown := sorted(found.keys() - {op.y for op in produced}):
        raise ValueError(f"no layer of {graph.name!r} produces tensor {unknown[0]!r}")
    for op in produced:
        want, have = expected[op.y], found[op.y]
        if want.shape != have.shape:
            raise ValueError(f"tensor {op.y!r} has shape {have.shape}, expected {want.shape}")
        # pixels before channels: the order in which the accelerator writes them
        where = np.argwhere((want != have).transpose(0, 2, 3, 1))
        if len(where):
            sample, line, column, channel = map(int, where[0])
            at = (sample, channel, line, column)
            return Difference(
                op.name, type(op).__name__, graph.origin.get(op.name, ""), op.y,
                sample, line, column, channel,
                int(want[at]), int(have[at]), len(where), want.size,
            )  # fmt: skip
    return None
