"""The quantised graph: integer operations on int8 maps, free of any framework and of any
architecture.

Frontends and quantisers produce it, ``codesign.reference.graph`` defines what it computes, the
compiler lowers it. A tensor is a map of C channels by H lines by W columns for each of
``Graph.batch`` samples; vectors are maps of 1 by 1. Values are q, standing for scale * (q -
zero_point).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt

from codesign.arith import INT8_MAX, INT8_MIN, SHIFT_MAX, SHIFT_MIN, TWICE_SHIFT_MIN
from codesign.errors import GraphError

Shape = tuple[int, int, int]
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Top, bottom, left, right."""


@dataclass(frozen=True)
class Tensor:
    """A quantised map of ``shape`` (C, H, W)."""

    name: str
    shape: Shape
    scale: float
    zero_point: int
    bits: int = 8


@dataclass(frozen=True)
class Window:
    """How a kernel walks a map: all in pixels.

    With ``base_dilation`` (b, c) it walks a map of b*(H-1)+1 by c*(W-1)+1 instead, the map's pixels
    b and c apart and padding between them. That is a transposed convolution of stride (b, c), its
    kernel turned by 180 degrees; the name is XLA's.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    base_dilation: Pair = (1, 1)

    def output_size(self, height: int, width: int) -> Pair:
        """(H, W) of the output of a map of that size."""
        top, bottom, left, right = self.padding
        reach_y = self.dilation[0] * (self.kernel[0] - 1) + 1
        reach_x = self.dilation[1] * (self.kernel[1] - 1) + 1
        height = self.base_dilation[0] * (height - 1) + 1
        width = self.base_dilation[1] * (width - 1) + 1
        return (height + top + bottom - reach_y) // self.stride[0] + 1, (
            width + left + right - reach_x
        ) // self.stride[1] + 1


@dataclass(frozen=True, eq=False)
class Conv2d:
    """y = clamp(zy + requantize(bias + sum w * (x - zx))), padding with zx.

    ``weight`` int8 [O, I/groups, kh, kw] in [-127, 127], ``bias`` int32 [O], ``multiplier`` and
    ``shift`` int32 [O] (``arith.requantize``). ``twice``: channels whose shift is large enough
    round twice. Linear layers are convolutions of 1 by 1 maps; depthwise ones have groups = I,
    transposed ones a window with ``base_dilation``.
    """

    name: str
    x: str
    y: str
    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    multiplier: npt.NDArray[np.int32]
    shift: npt.NDArray[np.int32]
    window: Window
    groups: int = 1
    low: int = INT8_MIN
    high: int = INT8_MAX
    twice: bool = False

    @property
    def twice_channels(self) -> npt.NDArray[np.bool_]:
        """Whether each channel rounds twice, [O]."""
        return self.twice & (self.shift >= TWICE_SHIFT_MIN)


@dataclass(frozen=True)
class MaxPool2d:
    """y = max x over the window, padding with -128; input and output share scale and zero point."""

    name: str
    x: str
    y: str
    window: Window


@dataclass(frozen=True)
class AvgPool2d:
    """y = clamp(zy + requantize(sum (x - zx))), padding with zx.

    The multiplier holds 1/(kh*kw) times the ratio of the scales. ``counted`` is the padding that
    counts in the mean, None for all of it; ``parts`` has a multiplier and shift for each number of
    pixels, below kh*kw, that a window counts (``counts``).
    """

    name: str
    x: str
    y: str
    window: Window
    multiplier: int
    shift: int
    low: int = INT8_MIN
    high: int = INT8_MAX
    counted: Padding | None = None
    parts: tuple[tuple[int, int, int], ...] = ()
    """(count, multiplier, shift)."""

    def part(self, count: int) -> Pair:
        """Multiplier and shift of windows that count so many pixels.

        Raises
        ------
        KeyError
            There are none.
        """
        full = self.window.kernel[0] * self.window.kernel[1]
        known = {at: (multiplier, shift) for at, multiplier, shift in self.parts}
        return (known | {full: (self.multiplier, self.shift)})[count]


@dataclass(frozen=True)
class Add:
    """y = clamp(add_requantized(a, za, ma, b, zb, mb, shift, zy)) (``arith.add_requantized``)."""

    name: str
    a: str
    b: str
    y: str
    a_multiplier: int
    b_multiplier: int
    shift: int
    low: int = INT8_MIN
    high: int = INT8_MAX


@dataclass(frozen=True, eq=False)
class Table:
    """y = table[x + 128]: any unary function; ``table`` int8 [256]."""

    name: str
    x: str
    y: str
    table: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) -> (C*H*W, 1, 1) in C, H, W order, as torch.flatten(1); scale and zero point
    stay."""

    name: str
    x: str
    y: str


@dataclass(frozen=True)
class Upsample:
    """y[c, i, j] = x[c, i div fy, j div fx], (fy, fx) = ``factor``: the nearest neighbour; scale
    and zero point stay."""

    name: str
    x: str
    y: str
    factor: Pair


Op = Conv2d | MaxPool2d | AvgPool2d | Add | Table | Flatten | Upsample


def op_inputs(op: Op) -> tuple[str, ...]:
    """Names of the tensors that an operation reads."""
    return (op.a, op.b) if isinstance(op, Add) else (op.x,)


@dataclass(frozen=True, eq=False)
class Graph:
    """Operations in an order of execution; ``inputs`` and ``outputs`` name tensors."""

    name: str
    batch: int
    tensors: Mapping[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origin: Mapping[str, str] = field(default_factory=dict)
    """Operation name -> its place in the user's network, for messages."""

    def consumers(self, tensor: str) -> tuple[Op, ...]:
        return tuple(op for op in self.ops if tensor in op_inputs(op))

    def producer(self, tensor: str) -> Op | None:
        return next((op for op in self.ops if op.y == tensor), None)


def macs(graph: Graph, op: Op) -> int:
    """Multiply-accumulates of one sample: those of convolutions and linear layers, as MLPerf and
    others count. A transposed convolution multiplies every input by every weight that it meets."""
    if not isinstance(op, Conv2d):
        return 0
    transposed = op.window.base_dilation != (1, 1)
    _, height, width = graph.tensors[op.x if transposed else op.y].shape
    return int(np.prod(op.weight.shape)) * height * width


def counts(window: Window, counted: Padding | None, shape: Shape) -> npt.NDArray[np.int64]:
    """[H, W] of the output: pixels of a window that lie in a map of ``shape`` with the padding that
    counts around it, all of it where ``counted`` is None."""
    sides = window.padding if counted is None else counted
    sizes = window.output_size(*shape[1:])
    along = []
    for axis in (0, 1):
        first = np.arange(sizes[axis]) * window.stride[axis] - window.padding[2 * axis]
        at = first[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]
        inside = (at >= -sides[2 * axis]) & (at < shape[1 + axis] + sides[2 * axis + 1])
        along.append(inside.sum(axis=1))
    return np.asarray(np.multiply.outer(along[0], along[1]), np.int64)


def verify(graph: Graph) -> None:
    """Check every rule of this module; ``GraphError`` names the operation and what breaks."""
    for problem in _problems(graph):
        raise GraphError(f"graph {graph.name!r}: {problem}")


def _problems(graph: Graph) -> Iterator[str]:
    if graph.batch < 1:
        yield f"batch {graph.batch} must be at least 1"
    for tensor in graph.tensors.values():
        if len(tensor.shape) != 3 or min(tensor.shape) < 1:
            yield (
                f"tensor {tensor.name!r} has shape {tensor.shape}; "
                "three positive extents (C, H, W) are needed"
            )
        if (
            not tensor.scale > 0
            or not INT8_MIN <= tensor.zero_point <= INT8_MAX
            or tensor.bits != 8
        ):
            yield (
                f"tensor {tensor.name!r}: scale {tensor.scale}, zero point {tensor.zero_point}, "
                f"{tensor.bits} bits"
            )
    known = set(graph.inputs)
    if len({op.name for op in graph.ops}) != len(graph.ops):
        yield "two operations have the same name"
    for op in graph.ops:
        for name in op_inputs(op):
            if name not in known:
                yield f"{op.name!r} reads {name!r}, which nothing before it produces"
        if op.y in known or op.y not in graph.tensors:
            yield f"{op.name!r} writes {op.y!r}, which is undeclared or already written"
        known.add(op.y)
        yield from _op_problems(graph, op)
    for name in graph.outputs:
        if name not in known:
            yield f"output {name!r} is not produced"


def _op_problems(graph: Graph, op: Op) -> Iterator[str]:
    x, y = graph.tensors[op_inputs(op)[0]], graph.tensors[op.y]
    expected: Shape
    if isinstance(op, Conv2d):
        channels, per_group = op.weight.shape[0], op.weight.shape[1]
        if x.shape[0] != per_group * op.groups or channels % op.groups:
            yield (
                f"{op.name!r}: weight {op.weight.shape} in {op.groups} groups does not match "
                f"{x.shape[0]} input channels"
            )
        if op.weight.dtype != np.int8 or (op.weight == INT8_MIN).any():
            yield f"{op.name!r}: weights must be int8 in -127..127"
        if any(a.shape != (channels,) for a in (op.bias, op.multiplier, op.shift)):
            yield f"{op.name!r}: bias, multiplier and shift must each have {channels} entries"
        if op.shift.size and not SHIFT_MIN <= op.shift.min() <= op.shift.max() <= SHIFT_MAX:
            yield f"{op.name!r}: shifts must lie in {SHIFT_MIN}..{SHIFT_MAX}"
        expected = (channels, *op.window.output_size(*x.shape[1:]))
    elif isinstance(op, MaxPool2d | AvgPool2d):
        expected = (x.shape[0], *op.window.output_size(*x.shape[1:]))
        if isinstance(op, MaxPool2d) and (x.scale, x.zero_point) != (y.scale, y.zero_point):
            yield f"{op.name!r}: input and output of a max pool must share scale and zero point"
        if op.window.base_dilation != (1, 1):
            yield f"{op.name!r}: only convolutions have a base_dilation, no pools"
        if isinstance(op, AvgPool2d) and min(expected) > 0:
            known = {prod(op.window.kernel), *(at[0] for at in op.parts)}
            missing = set(counts(op.window, op.counted, x.shape).ravel().tolist()) - known
            if missing:
                yield f"{op.name!r} has no multiplier for windows of {sorted(missing)} pixels"
    elif isinstance(op, Flatten):
        expected = (x.shape[0] * x.shape[1] * x.shape[2], 1, 1)
    elif isinstance(op, Upsample):
        expected = (x.shape[0], op.factor[0] * x.shape[1], op.factor[1] * x.shape[2])
        if min(op.factor) < 1:
            yield f"{op.name!r}: factor {op.factor} must be positive"
        if (x.scale, x.zero_point) != (y.scale, y.zero_point):
            yield f"{op.name!r}: input and output must share scale and zero point"
    else:
        expected = x.shape
        if isinstance(op, Add) and graph.tensors[op.b].shape != x.shape:
            yield f"{op.name!r} adds shapes {x.shape} and {graph.tensors[op.b].shape}"
        if isinstance(op, Table) and (op.table.shape != (256,) or op.table.dtype != np.int8):
            yield f"{op.name!r}: a table has 256 int8 entries"
    if y.shape != expected:
        yield f"{op.name!r} produces {expected}, but {op.y!r} is declared {y.shape}"
