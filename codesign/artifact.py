"""A compiled program: the accelerator's memory image, what the host must know to feed it, and the graph it computes.

One file (zip): ``manifest.json``, ``image.bin`` (instructions, weights, parameters, taps and tables as they lie in the
PROGRAM buffer) and ``graph.npz`` (the quantised graph, for the graph reference). The host reads the first two only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.arch import Arch
from codesign.ir import Graph

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Part:
    """A run of instructions in the image: ``offset`` in bytes, ``count`` in instructions, BEGIN and END included."""

    offset: int
    count: int


@dataclass(frozen=True)
class MapLayout:
    """Where a network's input or output lies in its DRAM buffer.

    Channel c, line y, column x of sample b is the byte at
    offset + b*sample_bytes + (c div block)*plane_bytes + phase*phase_bytes + (line*pitch + column)*block + c mod block,
    with phase, line, column = 0, y, x, or with ``split`` 2*(y&1) + (x&1), y>>1, x>>1.

    ``fold`` lists (dy, dx) offsets: the accelerator's channels are the network's channels at (y+dy, x+dx), offset after
    offset, zero point outside the map; ((0, 0),) is the plain map. ``shape`` is the network's own (C, H, W).
    """

    name: str
    shape: tuple[int, int, int]
    batch: int
    scale: float
    zero_point: int
    offset: int
    block: int
    pitch: int
    split: bool
    phase_bytes: int
    plane_bytes: int
    sample_bytes: int
    fold: tuple[tuple[int, int], ...] = ((0, 0),)


@dataclass(frozen=True)
class LayerSpan:
    """The instructions [first, last) of part ``infer`` that compute one layer, with its work for the whole batch."""

    name: str
    op: str
    first: int
    last: int
    macs: int


@dataclass(frozen=True, eq=False)
class Program:
    """Everything that ``compile`` makes. ``*_bytes`` are buffer sizes."""

    name: str
    arch: Arch
    graph: Graph
    image: bytes
    setup: Part
    infer: Part
    inputs: tuple[MapLayout, ...]
    outputs: tuple[MapLayout, ...]
    input_bytes: int
    output_bytes: int
    scratch_bytes: int
    layers: tuple[LayerSpan, ...]
    tensors: Mapping[str, MapLayout]
    """Tensors that stay in ACT until the end, or that a debug build saves to SCRATCH: where ``check`` finds them."""
    predicted_cycles: int
    seed: int
    versions: Mapping[str, str]
