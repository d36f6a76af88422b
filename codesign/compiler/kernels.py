"""Kernels as taps: the blocks of a layer from weights, windows and requantisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.arith import INT8_MIN, SHIFT_MIN, wrap
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


@dataclass(frozen=True)
class Geometry:
    """A window on a map, and the kernel's offsets that ever meet it.

    ``rows`` and ``columns`` map a kernel index to its offset in source pixels. ``stride`` is that
    of both axes, or 1 where ``step`` holds strides for a layer that is computed by line.
    """

    stride: int
    step: Pair | None
    rows: Mapping[int, int]
    columns: Mapping[int, int]
    source: Pair
    target: Pair

    @property
    def strides(self) -> Pair:
        """Source pixels from one output to the next, (y, x)."""
        return self.step or (self.stride, self.stride)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        return (
            Axis(tuple(self.rows.values()), self.source[0], self.target[0], self.strides[0]),
            Axis(tuple(self.columns.values()), self.source[1], self.target[1], self.strides[1]),
        )


def geometry(
    where: str, window: Window, source: Pair, target: Pair, by_line: bool = False
) -> Geometry:
    """Resolve a window; ``where`` names the operation in messages. Strides that differ or exceed 2
    are for a layer that is computed by line; so is any with ``by_line``.

    A stride along an axis with a single output is any stride. Offsets that lie outside the map for
    every output are dropped: padding adds nothing to a sum, and is below every maximum.

    Raises
    ------
    UnsupportedOpError
        Offsets beyond a tap entry's range.
    """
    strides = {s for s, outputs in zip(window.stride, target, strict=True) if outputs > 1} or {1}
    stride, step = max(strides), None
    if by_line or len(strides) > 1 or stride > _MAX_STRIDE:
        stride, step = 1, window.stride
    step_y, step_x = step or (stride, stride)
    top, _, left, _ = window.padding
    rows = _alive(window.kernel[0], window.dilation[0], top, step_y, source[0], target[0])
    columns = _alive(window.kernel[1], window.dilation[1], left, step_x, source[1], target[1])
    if source == (1, 1) and stride > 1:  # one pixel has no phases: only even offsets meet it
        stride = 1
        rows = {k: o // 2 for k, o in rows.items()}
        columns = {k: o // 2 for k, o in columns.items()}
    checked = columns.values() if step else (*rows.values(), *columns.values())
    for offset in checked:
        if not _OFFSETS[0] <= offset // step_x <= _OFFSETS[1]:
            raise UnsupportedOpError(
                f"{where}: kernel {window.kernel} with dilation {window.dilation} reaches "
                f"{offset} pixels; a tap reaches {_OFFSETS[0] * step_x} to {_OFFSETS[1] * step_x}"
            )
    return Geometry(stride, step, rows, columns, source, target)


def _alive(
    kernel: int, dilation: int, padding: int, stride: int, extent: int, outputs: int
) -> dict[int, int]:
    offsets = {k: k * dilation - padding for k in range(kernel)}
    return {
        k: o
        for k, o in offsets.items()
        if any(0 <= stride * i + o < extent for i in range(outputs))
    }


def dense_positions(weight: Int8Array, at: Geometry, folding: Folding) -> dict[Offset, Int8Array]:
    """Offset, in words, -> [O, channels] of a dense kernel [O, I, kh, kw], folded as told."""
    outputs, channels = weight.shape[:2]
    positions: dict[Offset, Int8Array] = {}
    for ky, oy in at.rows.items():
        for kx, ox in at.columns.items():
            base = folding.rows[oy], folding.columns[ox]
            slot = folding.fold.index((oy - base[0], ox - base[1])) * channels
            empty = np.zeros((outputs, channels * len(folding.fold)), np.int8)
            place = base[0] // folding.step[0], base[1] // folding.step[1]
            word = positions.setdefault(place, empty)
            word[:, slot : slot + channels] = weight[:, :, ky, kx]
    return positions


def depthwise_positions(weight: Int8Array, at: Geometry) -> dict[Offset, Int8Array]:
    """Offset -> [C] of a depthwise kernel [C, kh, kw]."""
    return {
        (oy, ox): weight[:, ky, kx] for ky, oy in at.rows.items() for kx, ox in at.columns.items()
    }


def dense(
    where: str, arch: Arch, positions: Mapping[Offset, Int8Array], shape: Pair, post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of N outputs; weight blocks of M by N that are all zero are left out.

    ``shape`` is (outputs, inputs).
    """
    m, n = arch.in_channels, arch.out_channels
    outputs, inputs = shape
    blocks = []
    for first in range(0, outputs, n):
        taps, words = [], []
        for plane in range(-(-inputs // m)):
            for (oy, ox), weight in positions.items():
                part = weight[first : first + n, plane * m : (plane + 1) * m]
                if part.any():
                    taps.append(Tap(oy, ox, plane))
                    words.append(_padded(part.T, (m, n)))
        if not taps:  # an instruction has at least one
            taps.append(Tap(*next(iter(positions)), 0))
            words.append(np.zeros((m, n), np.int8))
        planes = -(-min(n, outputs - first) // m)
        blocks.append(_block(arch, first // m, planes, taps, np.stack(words), post))
        _check_accumulator(where, arch, np.abs(np.stack(words).astype(np.int64)).sum(axis=(0, 1)))
    return _checked(where, blocks)


def depthwise(
    where: str, arch: Arch, positions: Mapping[Offset, Int8Array], post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of M channels, each output of its own channel only."""
    m = arch.in_channels
    channels = len(post.bias)
    blocks = []
    for plane in range(-(-channels // m)):
        used = {
            offset: part
            for offset, weight in positions.items()
            if (part := weight[plane * m : (plane + 1) * m]).any()
        } or {next(iter(positions)): np.zeros(m, np.int8)}
        taps = [Tap(oy, ox, plane) for oy, ox in used]
        words = np.stack([_padded(part, (m,)) for part in used.values()])
        blocks.append(_block(arch, plane, 1, taps, words, post))
        _check_accumulator(where, arch, np.abs(words.astype(np.int64)).sum(axis=0))
    return _checked(where, blocks)


def maximum(
    where: str, arch: Arch, offsets: Sequence[Offset], post: Requantisation
) -> tuple[Block, ...]:
    """Blocks of M channels, each the maximum over the window."""
    planes = range(-(-len(post.bias) // arch.in_channels))
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


def _block(
    arch: Arch,
    plane: int,
    planes: int,
    taps: Iterable[Tap],
    weights: Int8Array | None,
    post: Requantisation,
) -> Block:
    m = arch.in_channels
    part = slice(plane * m, (plane + planes) * m)
    bias, multiplier, shift, twice = (
        _padded(values[part].astype(np.int64), (planes * m,), fill)
        for values, fill in zip(post, (0, 0, SHIFT_MIN, 0), strict=True)
    )
    return Block(plane, planes, tuple(taps), weights, wrap(bias, 32), multiplier, shift, twice)


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
