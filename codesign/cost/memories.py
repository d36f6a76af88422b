"""Block memories, UltraRAMs and LUT memories that Yosys makes of the accelerator's memories.

Yosys weighs, for every memory, each shape that a primitive of the family can take (a depth of
2**``address_bits`` words of one bit, or half as many of the next width ...), and takes the least
costly: its costs are those of its libraries of primitives for these families, plus half a unit for
every LUT that chooses between the words of primitives stacked in depth or enables one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign import isa
from codesign.arch import PARAM_RECORD_BITS, TABLE_ENTRIES
from codesign.boards import Part
from codesign.cost.archs import Archs, IntArray
from codesign.latency import LOAD_FIFO_BEATS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BYTE = 9
"""Bits that a write enable of a block memory covers."""
_SHIFT = 32
"""Bits of a depth in a key of width and depth."""
CHOICE = 0.5
"""Cost of choosing a bit between two primitives, or of enabling one."""
WORDS_OF_BLOCK = 512
"""Words of a block memory at its widest (RAMB36, UG473 and UG573)."""
URAM_WORDS, URAM_BITS = 4096, 72
"""An UltraRAM's only shape (UG573)."""
LEAST_URAM_WORDS = 2048
"""Below half of an UltraRAM's depth, block memories are the better use."""


@dataclass(frozen=True)
class _Primitive:
    """``widths`` at 2**``address_bits`` words, half as many, and so on; ``cost`` of one, of which
    ``scaled`` counts only as far as its width is used; ``ramb36`` and ``luts`` that it takes.
    """

    address_bits: int
    widths: tuple[int, ...]
    cost: int
    scaled: int = 0
    ramb36: float = 0.0
    luts: int = 0


_RAMB18 = _Primitive(14, (1, 2, 4, 9, 18, 36), 129, ramb36=0.5)
_RAMB36 = _Primitive(15, (1, 2, 4, 9, 18, 36, 72), 257, ramb36=1.0)
_CASCADE = _Primitive(16, (1, 2, 4, 9), 513, ramb36=2.0)
PRIMITIVES = {
    "xc7": (
        _Primitive(5, (6,), 8, 7, luts=4), _Primitive(6, (3,), 8, 7, luts=4),
        _RAMB18, _RAMB36, _CASCADE,
    ),
    "xcup": (
        _Primitive(5, (14,), 16, 16, luts=8), _Primitive(6, (7,), 16, 16, luts=8),
        _RAMB18, _RAMB36, _CASCADE,
    ),
}  # fmt: skip
"""Memories with one port to write and one to read, by family."""


@dataclass(frozen=True, eq=False)
class Memories:
    """What memories take: ``lut`` as memory and ``register`` bits behind these (they read at once),
    ``choice`` bits chosen between stacked primitives.
    """

    ramb36: FloatArray
    uram: IntArray
    lut: IntArray
    register: IntArray
    choice: IntArray

    def __add__(self, other: Memories) -> Memories:
        return Memories(*(a + b for a, b in zip(self.columns, other.columns, strict=True)))

    def __mul__(self, count: IntArray) -> Memories:
        ramb36 = np.asarray(self.ramb36 * count, np.float64)
        return Memories(ramb36, *(column * count for column in self.columns[1:]))

    def take(self, rows: npt.NDArray[np.intp]) -> Memories:
        """The memories of these row numbers."""
        return Memories(*(column[rows] for column in self.columns))

    @property
    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        return self.ramb36, self.uram, self.lut, self.register, self.choice


def mapped(width: IntArray, depth: IntArray, family: str) -> Memories:
    """A memory of ``depth`` words of ``width`` bits, each [A]."""
    return _once_each(_mapped, width, depth, family)


def _once_each(
    of: Callable[[IntArray, IntArray, str], Memories],
    width: IntArray,
    depth: IntArray,
    family: str,
) -> Memories:
    """``of`` of every pair, worked out once for pairs that are equal."""
    pairs, row = np.unique(width << _SHIFT | depth, return_inverse=True)
    return of(pairs >> _SHIFT, pairs & ((1 << _SHIFT) - 1), family).take(row)


def _mapped(width: IntArray, depth: IntArray, family: str) -> Memories:
    """Likewise, pair by pair; no words take nothing."""
    least = np.full(len(width), np.inf)
    ramb36 = np.zeros(len(width))
    lut, choice = np.zeros_like(width), np.zeros_like(width)
    for primitive in PRIMITIVES[family]:
        cost, count, stacked = _best_shape(primitive, width, depth)
        better = cost < least
        least = np.where(better, cost, least)
        ramb36 = np.where(better, primitive.ramb36 * count, ramb36)
        lut = np.where(better, primitive.luts * count, lut)
        choice = np.where(better, (stacked - 1) * width, choice)
    register = np.where(lut > 0, width, 0)
    found = Memories(ramb36, np.zeros_like(width), lut, register, choice)
    return found * (depth > 0).astype(np.int64)


def _best_shape(
    primitive: _Primitive, width: IntArray, depth: IntArray
) -> tuple[FloatArray, IntArray, IntArray]:
    """Cost, primitives, and how many are stacked in depth, of the primitive's best shape."""
    least = np.full(len(width), np.inf)
    count, stacked = np.zeros_like(width), np.zeros_like(width)
    for halvings, unit in enumerate(primitive.widths):
        words = 1 << (primitive.address_bits - halvings)
        high = np.maximum(-(-depth // words), 1)
        grain = unit if primitive.luts else min(BYTE, unit)
        padded = -(-width // grain) * grain
        wide = -(-(high * padded) // unit)
        cost = (primitive.cost - primitive.scaled) * wide.astype(np.float64)
        cost += primitive.scaled * high * width / unit
        cost += CHOICE * ((high - 1) * width + np.where(high > 1, high, 0))
        better = cost < np.floor(least)  # Yosys keeps the whole part of a primitive's least cost
        least = np.where(better, cost, least)
        count, stacked = np.where(better, wide, count), np.where(better, high, stacked)
    return least, count, stacked


def in_pieces(width: IntArray, depth: IntArray, family: str) -> Memories:
    """A memory in power-of-two pieces (``hw.memories.BlockMemory``), each [A]."""
    return _once_each(_in_pieces, width, depth, family)


def _in_pieces(width: IntArray, depth: IntArray, family: str) -> Memories:
    blocks = -(-depth // WORDS_OF_BLOCK)
    single = depth <= WORDS_OF_BLOCK
    total = _mapped(width, np.where(single, depth, 0), family)
    for bit in range(int(blocks.max()).bit_length()):
        there = ~single & ((blocks >> bit & 1) > 0)
        total += _mapped(width, np.where(there, WORDS_OF_BLOCK << bit, 0), family)
    return total


def pieces(depth: IntArray) -> IntArray:
    """Pieces of a memory of that depth."""
    blocks = np.maximum(-(-depth // WORDS_OF_BLOCK), 1)
    bits = np.arange(int(blocks.max()).bit_length())
    return np.asarray((blocks[..., None] >> bits & 1).sum(axis=-1), np.int64)


def activations(archs: Archs, family: str, uram: BoolArray) -> Memories:
    """ACT: P banks in each region, in UltraRAM where ``uram`` [A] says so."""
    width = 8 * archs.in_channels
    bank = mapped(width, archs.act_depth, family)
    stacked = -(-archs.act_depth // URAM_WORDS)
    none = np.zeros_like(width)
    ultra = Memories(
        ramb36=np.zeros(len(archs)),
        uram=-(-(stacked * width) // URAM_BITS),
        lut=none,
        register=none,
        choice=(stacked - 1) * width,
    )
    chosen = zip(ultra.columns, bank.columns, strict=True)
    bank = Memories(*(np.where(uram, instead, usual) for instead, usual in chosen))
    return bank * (archs.regions * archs.pixels)


def weights(archs: Archs, family: str) -> Memories:
    """WGT."""
    return in_pieces(8 * archs.in_channels * archs.out_channels, archs.wgt_depth, family)


def parameters(archs: Archs, family: str) -> Memories:
    """PARAM."""
    return in_pieces(PARAM_RECORD_BITS * archs.in_channels, archs.param_depth, family)


def taps(archs: Archs, family: str) -> Memories:
    """TAP, in one piece."""
    width = np.full_like(archs.tap_depth, isa.width(isa.TAP_ENTRY))
    return mapped(width, archs.tap_depth, family)


def tables(archs: Archs, family: str) -> Memories:
    """The tables, for each of the D*M channels that leave the array in a cycle."""
    depth = TABLE_ENTRIES * archs.tables
    one = mapped(np.full_like(depth, 8), depth, family)
    return one * (archs.drain * archs.in_channels)


def load_queue(archs: Archs, family: str) -> Memories:
    """LOAD's beats on their way."""
    return mapped(archs.dma_bits, np.full_like(archs.dma_bits, LOAD_FIFO_BEATS), family)


def activation_urams(archs: Archs) -> IntArray:
    """UltraRAMs that the activation memories ask for where each takes whole ones."""
    wide = -(-8 * archs.in_channels // URAM_BITS)
    return archs.regions * archs.pixels * wide * -(-archs.act_depth // URAM_WORDS)


def activations_in_uram(archs: Archs, part: Part) -> BoolArray:
    """Whether the activation memories go there: the part has enough, and they are deep enough."""
    deep = archs.act_depth >= LEAST_URAM_WORDS
    return deep & (activation_urams(archs) <= part.resources.uram)
