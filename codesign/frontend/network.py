"""The float network: what frontends produce, passes rewrite and ``codesign.quant`` calibrates and
quantises.

Free of any framework: weights are numpy arrays. As in ``codesign.ir``, tensors are maps (C, H, W)
of one sample, and vectors are maps of 1 by 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from codesign.errors import GraphError
from codesign.ir import Padding, Pair, Shape, Window

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Cross-correlation with zero padding, then a clamp; ``weight`` [O, I/groups, kh, kw], ``bias``
    [O]. A window with ``base_dilation`` makes it a transposed convolution.
    """

    name: str
    x: str
    y: str
    weight: FloatArray
    bias: FloatArray
    window: Window
    groups: int = 1
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class Linear:
    """y = weight x + bias on a vector; ``weight`` [O, I], ``bias`` [O]."""

    name: str
    x: str
    y: str
    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """y = factor * x + offset, both [C]: batch normalisation with frozen statistics."""

    name: str
    x: str
    y: str
    factor: FloatArray
    offset: FloatArray


@dataclass(frozen=True)
class MaxPool2d:
    """Maximum over the window; padding never wins."""

    name: str
    x: str
    y: str
    window: Window


@dataclass(frozen=True)
class AvgPool2d:
    """Mean over the window, then a clamp. ``counted``: the zero padding that counts in the mean,
    None for all of it."""

    name: str
    x: str
    y: str
    window: Window
    low: float = -math.inf
    high: float = math.inf
    counted: Padding | None = None


@dataclass(frozen=True)
class Upsample:
    """Every pixel ``factor`` (fy, fx) times: the nearest neighbour."""

    name: str
    x: str
    y: str
    factor: Pair


@dataclass(frozen=True)
class Pad:
    """Zeros around the map."""

    name: str
    x: str
    y: str
    padding: Padding


@dataclass(frozen=True)
class Add:
    """y = clamp(a_factor * a + b_factor * b), shapes equal."""

    name: str
    a: str
    b: str
    y: str
    a_factor: float = 1.0
    b_factor: float = 1.0
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Clamp:
    """y = min(max(x, low), high): ReLU, ReLU6 and the like."""

    name: str
    x: str
    y: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Unary:
    """Any pointwise function of one tensor; ``function`` maps an array of any shape to one of the
    same shape.
    """

    name: str
    x: str
    y: str
    function: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Flatten:
    """(C, H, W) -> (C*H*W, 1, 1) in C, H, W order."""

    name: str
    x: str
    y: str


@dataclass(frozen=True)
class Identity:
    """y = x."""

    name: str
    x: str
    y: str


Moving = MaxPool2d | Flatten | Upsample
"""Operations that select or move values: what they make is coded as what they read."""
Clamping = Conv2d | AvgPool2d | Add
"""Operations that end with a clamp."""
Op = Clamping | Linear | BatchNorm | MaxPool2d | Pad | Clamp | Unary | Flatten | Upsample | Identity


@dataclass(frozen=True, eq=False)
class Network:
    """Operations in an order of execution; ``shapes`` has every tensor, ``inputs`` and ``outputs``
    name tensors.
    """

    name: str
    shapes: Mapping[str, Shape]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    origin: Mapping[str, str] = field(default_factory=dict)
    """Operation name -> its place in the user's network, for messages."""
    host_steps: tuple[tuple[int, str], ...] = ()
    """(index of an output, ``codesign.artifact.HostStep.op``): what follows it, in order."""
    coded_as: Mapping[str, str] = field(default_factory=dict)
    """Tensor -> the operation, or input, whose result's int8 coding it shares: values only move."""

    def uses(self, tensor: str) -> int:
        """How often operations and outputs read the tensor."""
        return sum(op_inputs(op).count(tensor) for op in self.ops) + self.outputs.count(tensor)

    def shared_coding(self, tensor: str) -> str | None:
        """The tensor of the coding that ``tensor`` shares, where that is still there."""
        source = self.coded_as.get(tensor)
        if source in self.inputs:
            return source
        return next((op.y for op in self.ops if op.name == source), None)

    def producer(self, tensor: str) -> Op | None:
        return next((op for op in self.ops if op.y == tensor), None)


def op_inputs(op: Op) -> tuple[str, ...]:
    """Names of the tensors that an operation reads."""
    return (op.a, op.b) if isinstance(op, Add) else (op.x,)


def rename_inputs(op: Op, names: Mapping[str, str]) -> Op:
    """The operation reading the tensors that ``names`` has for those that it reads."""
    if isinstance(op, Add):
        return dataclasses.replace(op, a=names.get(op.a, op.a), b=names.get(op.b, op.b))
    return dataclasses.replace(op, x=names.get(op.x, op.x))


def output_shape(op: Op, shapes: Mapping[str, Shape]) -> Shape:
    """Shape of what the operation produces, from the shapes of what it reads."""
    channels, height, width = shapes[op_inputs(op)[0]]
    if isinstance(op, Conv2d):
        return (op.weight.shape[0], *op.window.output_size(height, width))
    if isinstance(op, MaxPool2d | AvgPool2d):
        return (channels, *op.window.output_size(height, width))
    if isinstance(op, Linear):
        return (op.weight.shape[0], 1, 1)
    if isinstance(op, Flatten):
        return (channels * height * width, 1, 1)
    if isinstance(op, Upsample):
        return (channels, op.factor[0] * height, op.factor[1] * width)
    if isinstance(op, Pad):
        top, bottom, left, right = op.padding
        return (channels, height + top + bottom, width + left + right)
    return (channels, height, width)


def verify(network: Network) -> None:
    """Check what passes must keep; ``GraphError`` names the operation and what breaks."""
    for problem in _problems(network):
        raise GraphError(f"network {network.name!r}: {problem}")


def _problems(network: Network) -> Iterator[str]:
    known = set(network.inputs)
    names: set[str] = set()
    for op in network.ops:
        if op.name in names:
            yield f"two operations are called {op.name!r}"
        names.add(op.name)
        unknown = [name for name in op_inputs(op) if name not in known]
        if unknown:
            yield f"{op.name!r} reads {unknown[0]!r}, which nothing before it produces"
        elif op.y in known:
            yield f"{op.name!r} writes {op.y!r}, which is already written"
        else:
            yield from _op_problems(op, network.shapes)
        known.add(op.y)
    yield from (f"output {name!r} is not produced" for name in network.outputs if name not in known)


def _op_problems(op: Op, shapes: Mapping[str, Shape]) -> Iterator[str]:
    x = shapes[op_inputs(op)[0]]
    expected = output_shape(op, shapes)
    if shapes.get(op.y) != expected:
        yield f"{op.name!r} produces {expected}, but {op.y!r} is declared {shapes.get(op.y)}"
    if min(expected) < 1:
        yield f"{op.name!r} produces the empty map {expected}"
    if isinstance(op, Add) and shapes[op.b] != x:
        yield f"{op.name!r} adds shapes {x} and {shapes[op.b]}"
    if isinstance(op, Clamp | Conv2d | AvgPool2d | Add) and not op.low <= op.high:
        yield f"{op.name!r} clamps to {op.low}..{op.high}, which is empty"
    if isinstance(op, Linear) and (op.weight.shape[1], 1, 1) != x:
        yield f"{op.name!r}: weight {op.weight.shape} does not match the input {x}"
    if isinstance(op, BatchNorm) and not op.factor.shape == op.offset.shape == (x[0],):
        yield f"{op.name!r}: {op.factor.shape} factors, {op.offset.shape} offsets, {x[0]} channels"
    if isinstance(op, Conv2d):
        channels, per_group = op.weight.shape[:2]
        if per_group * op.groups != x[0] or channels % op.groups:
            yield f"{op.name!r}: weight {op.weight.shape} in {op.groups} groups for {x[0]} channels"
    for array in _arrays(op):
        if not np.isfinite(array).all():
            yield f"{op.name!r} has parameters that are not finite; train or load the weights first"


def _arrays(op: Op) -> tuple[FloatArray, ...]:
    if isinstance(op, Conv2d | Linear):
        return (op.weight, op.bias)
    return (op.factor, op.offset) if isinstance(op, BatchNorm) else ()
