"""Kernels as taps: the blocks of a layer from weights, windows and requantisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.arith import INT8_MIN, SHIFT_MIN, WEIGHT_MAX, WEIGHT_MIN, wrap
from codesign.compiler.fold import Axis, Folding
from codesign.compiler.network import Block, Tap
from codesign.errors import CapacityError, UnsupportedOpError
from codesign.ir import Pair, Window
from codesign.isa import LAYOUTS, TAP_ENTRY, Opcode

IntArray = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]
Offset = tuple[int, int]
_Scalar = TypeVar("_Scalar", bound=np.integer[Any])
IDENTITY_MULTIPLIER, IDENTITY_SHIFT = 1 << 16, 16
"""requantize(v, these, 0) = v for every v."""
_MAX_STRIDE = 2
_MAX_TAPS = next(f.range[1] for f in LAYOUTS[Opcode.CALC] if f.name == "taps")
_OFFSETS = next(f.range for f in TAP_ENTRY if f.name == "dy")


class Requantisation(NamedTuple):
    """What becomes of the sums of every output channel: fields of ``isa.PARAM_RECORD``."""

    bias: IntArray
    multiplier: IntArray
    shift: IntArray
    twice: IntArray


Offsets = Mapping[int, int]
"""Kernel index along an axis -> offset in source pixels."""


@dataclass(frozen=True)
class Geometry:
    """A window on a map: grid pixel i of phase r stands for output pixel out_stride*i + r, and a
    kernel position reads source pixel stride*i + offset for it.

    ``rows`` and ``columns`` have, for each phase, the kernel's offsets that ever meet the map.
    ``stride`` is that of both axes, or 1 where ``step`` holds strides for a layer that is computed
    by line.
    """

    stride: int
    out_stride: int
    step: Pair | None
    rows: tuple[Offsets, ...]
    columns: tuple[Offsets, ...]
    source: Pair
    target: Pair

    @property
    def strides(self) -> Pair:
        """Source pixels from one grid pixel to the next, (y, x)."""
        return self.step or (self.stride, self.stride)

    def axes(self, phase: Pair = (0, 0)) -> tuple[Axis, Axis]:
        """The offsets of one phase."""
        rows, columns = self.rows[phase[0]], self.columns[phase[1]]
        return (
            Axis(tuple(rows.values()), self.source[0], self.target[0], self.strides[0]),
            Axis(tuple(columns.values()), self.source[1], self.target[1], self.strides[1]),
        )

    @property
    def phases(self) -> tuple[Pair, ...]:
        """Those that have an output."""
        height, width = (min(self.out_stride, extent) for extent in self.target)
        return tuple((y, x) for y in range(height) for x in range(width))

    @property
    def padding_alone(self) -> bool:
        """Whether the outputs of a phase meet nothing but padding."""
        return not all(self.rows[y] and self.columns[x] for y, x in self.phases)


def geometry(
    where: str,
    window: Window,
    source: Pair,
    target: Pair,
    factor: Pair = (1, 1),
    by_line: bool = False,
) -> Geometry:
    """Resolve a window on a map of extents ``source``, or on that map upsampled by ``factor``;
    ``where`` names the operation in messages. Strides that differ or exceed 2 are for a layer that
    is computed by line; so is any with ``by_line``.

    A stride along an axis with a single output is any stride. Offsets that lie outside the map for
    every output are dropped: padding adds nothing to a sum, and is below every maximum.

    Raises
    ------
    UnsupportedOpError
        Factors that differ, by line too, or offsets beyond a tap entry's range.
    """
    axes = [_Walk.of(window, axis, source[axis], target[axis], factor[axis]) for axis in (0, 1)]
    steps = {(at.stride, at.out_stride) for at in axes if at.outputs > 1} or {(1, 1)}
    stride, out_stride = max(steps)
    step = None
    if any(at.out_stride > 1 for at in axes):
        if by_line or len(steps) > 1:
            grown = tuple(at.spread for at in axes)
            raise UnsupportedOpError(
                f"{where}: stride {window.stride} on a map upsampled by {grown} is not supported; "
                "equal ones on both axes are (any where the output has one line or column)"
            )
    elif by_line or len(steps) > 1 or stride > _MAX_STRIDE:
        stride, step = 1, window.stride
    rows, columns = ([at.offsets(r, out_stride) for r in range(out_stride)] for at in axes)
    if source == (1, 1) and stride > 1:  # one pixel has no phases: what meets it are multiples
        rows, columns = (
            [{k: o // stride for k, o in offsets.items()} for offsets in at]
            for at in (rows, columns)
        )
        stride = 1
    step_x = step[1] if step else stride
    for offset in (o for offsets in (*([] if step else rows), *columns) for o in offsets.values()):
        if not _OFFSETS[0] <= offset // step_x <= _OFFSETS[1]:
            raise UnsupportedOpError(
                f"{where}: kernel {window.kernel} with dilation {window.dilation} reaches "
                f"{offset} pixels; a tap reaches {_OFFSETS[0] * step_x} to {_OFFSETS[1] * step_x}"
            )
    return Geometry(stride, out_stride, step, tuple(rows), tuple(columns), source, target)


@dataclass(frozen=True)
class _Walk:
    """A kernel along one axis of a map of ``extent`` pixels that is spread first: ``spread`` copies
    of each pixel, or with ``sparse`` one in ``spread`` places."""

    kernel: int
    dilation: int
    before: int
    step: int
    spread: int
    sparse: bool
    extent: int
    outputs: int

    @classmethod
    def of(cls, window: Window, axis: int, extent: int, outputs: int, factor: int) -> _Walk:
        apart = window.base_dilation[axis]
        return cls(
            window.kernel[axis], window.dilation[axis], window.padding[2 * axis],
            window.stride[axis], factor * apart, apart > 1, extent, outputs,
        )  # fmt: skip

    @property
    def stride(self) -> int:
        return self.step // gcd(self.step, self.spread)

    @property
    def out_stride(self) -> int:
        return self.spread // gcd(self.step, self.spread)

    def offsets(self, phase: int, out_stride: int) -> dict[int, int]:
        """Of the outputs out_stride*i + phase; an axis of one output has only phase 0."""
        found = {}
        outputs = range(phase, self.outputs, out_stride)
        for k in range(self.kernel):
            first = self.step * phase + k * self.dilation - self.before
            if self.sparse and first % self.spread:
                continue
            offset = first // self.spread
            if any(0 <= self.stride * i + offset < self.extent for i in range(len(outputs))):
                found[k] = offset
        return found


def dense_positions(
    weight: Int8Array, at: Geometry, phase: Pair, folding: Folding
) -> dict[Offset, IntArray]:
    """Offset, in words, -> [O, channels] of a dense kernel [O, I, kh, kw], folded as told.

    Weights of positions that read the same pixel, one upsampled, are added.
    """
    outputs, channels = weight.shape[:2]
    positions: dict[Offset, IntArray] = {}
    for ky, oy in at.rows[phase[0]].items():
        for kx, ox in at.columns[phase[1]].items():
            base = folding.rows[oy], folding.columns[ox]
            slot = folding.fold.index((oy - base[0], ox - base[1])) * channels
            empty = np.zeros((outputs, channels * len(folding.fold)), np.int64)
            place = base[0] // folding.step[0], base[1] // folding.step[1]
            word = positions.setdefault(place, empty)
            word[:, slot : slot + channels] += weight[:, :, ky, kx]
    return positions


def depthwise_positions(weight: Int8Array, at: Geometry, phase: Pair) -> dict[Offset, IntArray]:
    """Offset -> [C] of a depthwise kernel [C, kh, kw]; see ``dense_positions``."""
    positions: dict[Offset, IntArray] = {}
    for ky, oy in at.rows[phase[0]].items():
        for kx, ox in at.columns[phase[1]].items():
            positions.setdefault((oy, ox), np.zeros(len(weight), np.int64))
            positions[oy, ox] += weight[:, ky, kx]
    return positions


def summands(weight: IntArray) -> Iterator[Int8Array]:
    """The fewest arrays in the range of weights whose sum is ``weight``; none for zeros."""
    while weight.any():
        part = np.clip(weight, WEIGHT_MIN, WEIGHT_MAX)
        yield part.astype(np.int8)
        weight = weight - part


def dense(
    where: str, arch: Arch, positions: Mapping[Offset, IntArray], shape: Pair, post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of N outputs; weight blocks of M by N that are all zero are left out.

    ``shape`` is (outputs, inputs).
    """
    m, n = arch.in_channels, arch.out_channels
    outputs, inputs = shape
    count, planes = -(-outputs // n), -(-inputs // m)
    # [positions, summands, blocks, n, planes, m] in the order of a block's taps
    words = _words(positions, (count * n, planes * m)).reshape(
        len(positions), -1, count, n, planes, m
    )
    words = np.ascontiguousarray(words.transpose(2, 4, 0, 1, 5, 3))
    sums = np.abs(words).sum(axis=(1, 2, 3, 4), dtype=np.int64)
    taps, post = _Taps(positions), _filled(arch, post)
    blocks = []
    for number, (block, block_sums) in enumerate(zip(words, sums, strict=True)):
        used = np.asarray(block.any(axis=(3, 4)))
        weights = block[used] if used.any() else np.zeros((1, m, n), np.int8)
        first = number * n
        block_planes = -(-min(n, outputs - first) // m)
        blocks.append(_block(arch, first // m, block_planes, taps.of(used), weights, post))
        _check_accumulator(where, arch, block_sums)
    return _checked(where, blocks)


def depthwise(
    where: str, arch: Arch, positions: Mapping[Offset, IntArray], post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of M channels, each output of its own channel only."""
    m = arch.in_channels
    planes = -(-len(post.bias) // m)
    words = _words(positions, (planes * m,)).reshape(len(positions), -1, planes, m)
    words = np.ascontiguousarray(words.transpose(2, 0, 1, 3))
    taps, post = _Taps(positions), _filled(arch, post)
    blocks = []
    for plane, word in enumerate(words):
        used = np.asarray(word.any(axis=2))
        weights = word[used] if used.any() else np.zeros((1, m), np.int8)
        at = [tap._replace(plane=plane) for tap in taps.of(used[None])]
        blocks.append(_block(arch, plane, 1, at, weights, post))
        _check_accumulator(where, arch, np.abs(weights.astype(np.int64)).sum(axis=0))
    return _checked(where, blocks)


def _words(positions: Mapping[Offset, IntArray], shape: tuple[int, ...]) -> Int8Array:
    """Weights of all positions as summands, [positions, summands, *shape], zeros behind each."""
    values = np.stack(list(positions.values()))
    parts = np.stack(list(summands(values)) or [values.astype(np.int8)], axis=1)
    return _padded(parts, (*parts.shape[:2], *shape))


class _Taps:
    """The taps of blocks of one layer; most blocks have the same."""

    def __init__(self, positions: Mapping[Offset, IntArray]) -> None:
        self._offsets = list(positions)
        self._known: dict[bytes, tuple[Tap, ...]] = {}

    def of(self, used: npt.NDArray[np.bool_]) -> tuple[Tap, ...]:
        """Where ``used`` [planes, positions, summands]; an instruction has at least one tap."""
        key = used.tobytes()
        if key not in self._known:
            planes, positions, _ = (at.tolist() for at in used.nonzero())
            offsets = [self._offsets[position] for position in positions] or self._offsets[:1]
            self._known[key] = tuple(
                Tap(y, x, plane) for (y, x), plane in zip(offsets, planes or [0], strict=True)
            )
        return self._known[key]


def maximum(
    where: str, arch: Arch, offsets: Sequence[Offset], post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of M channels, each the maximum over the window."""
    planes, post = range(-(-len(post.bias) // arch.in_channels)), _filled(arch, post)
    blocks = [
        _block(arch, plane, 1, [Tap(oy, ox, plane) for oy, ox in offsets], None, post)
        for plane in planes
    ]
    return _checked(where, blocks)


def identity(zero_point: int, channels: int) -> Requantisation:
    """Returns the accumulator as it is, through an instruction with this zero point."""
    full = np.ones(channels, np.int64)
    return Requantisation(
        -zero_point * full, IDENTITY_MULTIPLIER * full, IDENTITY_SHIFT * full, 0 * full
    )


def patches(numbers: IntArray, by_count: Mapping[int, tuple[Block, ...]]) -> tuple[Block, ...]:
    """Blocks of every plane, each for a rectangle of output pixels that count alike."""
    if not np.ptp(numbers):
        return by_count[int(numbers[0, 0])]
    lines, columns = _stretches(numbers), _stretches(numbers.T)
    found = []
    for plane in range(len(next(iter(by_count.values())))):
        for top, bottom in lines:
            for left, right in columns:
                block = by_count[int(numbers[top, left])][plane]
                found.append(replace(block, lines=(top, bottom), columns=(left, right)))
    return tuple(found)


def _stretches(numbers: IntArray) -> list[Pair]:
    """Stretches [first, last) of equal lines."""
    ends = [i + 1 for i in range(len(numbers) - 1) if (numbers[i] != numbers[i + 1]).any()]
    return list(zip([0, *ends], [*ends, len(numbers)], strict=True))


def _filled(arch: Arch, post: Requantisation) -> Requantisation:
    """As many records as whole planes have; those behind the last output make zeros."""
    length = -(-len(post.bias) // arch.in_channels) * arch.in_channels
    bias, multiplier, shift, twice = (
        _padded(values.astype(np.int64), (length,), fill)
        for values, fill in zip(post, (0, 0, SHIFT_MIN, 0), strict=True)
    )
    return Requantisation(wrap(bias, 32), multiplier, shift, twice)


def _block(
    arch: Arch,
    plane: int,
    planes: int,
    taps: Iterable[Tap],
    weights: Int8Array | None,
    post: Requantisation,
) -> Block:
    """``post`` is filled."""
    part = slice(plane * arch.in_channels, (plane + planes) * arch.in_channels)
    bias, multiplier, shift, twice = (values[part] for values in post)
    return Block(plane, planes, tuple(taps), weights, bias, multiplier, shift, twice)


def _padded(
    values: npt.NDArray[_Scalar], shape: tuple[int, ...], fill: int = 0
) -> npt.NDArray[_Scalar]:
    whole = np.full(shape, fill, values.dtype)
    whole[tuple(slice(extent) for extent in values.shape)] = values
    return whole


def _checked(where: str, blocks: list[Block]) -> tuple[Block, ...]:
    for block in blocks:
        if len(block.taps) > _MAX_TAPS:
            raise CapacityError(
                f"{where} needs {len(block.taps)} taps for an output, an instruction has at most "
                f"{_MAX_TAPS}; use a smaller kernel or fewer input channels"
            )
    return tuple(blocks)


def _check_accumulator(where: str, arch: Arch, weight_sums: IntArray) -> None:
    largest = -INT8_MIN * int(weight_sums.max())
    if largest >= 1 << (arch.acc_bits - 1):
        raise CapacityError(
            f"{where}: sums reach {largest}, beyond accumulators of {arch.acc_bits} bits; "
            f"choose acc_bits={largest.bit_length() + 1} or smaller weights"
        )
