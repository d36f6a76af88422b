"""What an accelerator takes of a part, from its parameters alone: ``codesign.synth`` without Yosys.

DSPs and memories are counted as Yosys maps them. LUTs and flip-flops are sums of terms, products of
parameters such as P*M*N; ``resources.yaml`` holds their coefficients, which
``benchmarks/resources/fit.py`` fits to the synthesis of many architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from codesign.arch import CHAIN_LENGTH, PARAM_RECORD_BITS, Arch
from codesign.boards import Board
from codesign.boards import Resources as PartResources
from codesign.cost import memories
from codesign.cost.archs import Archs, IntArray
from codesign.cost.memories import BoolArray, FloatArray, Memories

COEFFICIENTS = Path(__file__).with_name("resources.yaml")
LOGIC = ("lut", "ff")
SHARE = {"lut": 0.85, "ff": 0.85, "dsp": 1.0, "ramb36": 1.0, "uram": 1.0}
"""How much of a part can be used: placing and routing get hard where LUTs and flip-flops are nearly
all taken."""
FITS = "fits"


@dataclass(frozen=True, eq=False)
class ResourceColumns:
    """Resources of A architectures, each [A]; a RAMB18 is half a ``ramb36``."""

    lut: IntArray
    ff: IntArray
    dsp: IntArray
    ramb36: FloatArray
    uram: IntArray


@dataclass(frozen=True, eq=False)
class Fit:
    """Whether A architectures fit a board's part.

    ``code`` [A] indexes ``REASONS``: 0 where it fits, else the first resource that is exceeded;
    ``value`` and ``limit`` [A] are that resource's, 0 where it fits.
    """

    ok: BoolArray
    code: npt.NDArray[np.int8]
    value: FloatArray
    limit: FloatArray
    columns: ResourceColumns

    def reason(self, row: int) -> str:
        """In words, with value and limit; "" where it fits."""
        if self.ok[row]:
            return ""
        name = REASONS[self.code[row]]
        return f"{name}: {self.value[row]:,.10g} of {self.limit[row]:,.10g} that may be used"


REASONS = (FITS, *SHARE)


def resources(archs: Archs, family: str, uram: bool | BoolArray = False) -> ResourceColumns:
    """Resources on a family, the activation memories in UltraRAM where ``uram``.

    Raises
    ------
    ValueError
        There are no coefficients for the family, or ``uram`` is asked of one without UltraRAM.
    """
    if family not in memories.PRIMITIVES:
        raise ValueError(f"family {family!r}: choose one of {', '.join(memories.PRIMITIVES)}")
    chosen = np.broadcast_to(np.asarray(uram, bool), (len(archs),))
    if family == "xc7" and chosen.any():
        raise ValueError("uram: no part of family 'xc7' has UltraRAM; leave it False")
    taken = stored(archs, family, chosen)
    columns = parameters(archs, taken)
    every = reduce(Memories.__add__, taken.values())
    lut, ff = (_sum_of_terms(coefficients()[family][name], columns) for name in LOGIC)
    return ResourceColumns(lut, ff, dsps(archs), every.ramb36, every.uram)


def dsps(archs: Archs) -> IntArray:
    """Two products a DSP in the array; three DSPs for each channel that it drains in a cycle."""
    return archs.macs_per_cycle // 2 + 3 * archs.drain * archs.in_channels


def fits(archs: Archs, board: Board) -> Fit:
    """Whether architectures fit a board's part, and what stands against it."""
    uram = memories.activations_in_uram(archs, board.part)
    columns = resources(archs, board.part.family, uram)
    code = np.zeros(len(archs), np.int8)
    value, limit = np.zeros(len(archs)), np.zeros(len(archs))
    for number, name in reversed(list(enumerate(SHARE, 1))):
        taken = np.asarray(getattr(columns, name), np.float64)
        most = SHARE[name] * getattr(board.part.resources, name)
        over = taken > most
        code[over], value[over], limit[over] = number, taken[over], most
    return Fit(code == 0, code, value, limit, columns)


def usage(arch: Arch, board: Board) -> PartResources:
    """What one architecture takes of a board's part; RAMB18s rounded up to whole RAMB36."""
    archs = Archs.of([arch])
    uram = memories.activations_in_uram(archs, board.part)
    columns = resources(archs, board.part.family, uram)
    whole = {name: int(np.ceil(getattr(columns, name)[0])) for name in SHARE}
    return PartResources(**whole)


@cache
def coefficients() -> dict[str, Any]:
    """Family -> resource -> term -> coefficient, as ``resources.yaml`` has them."""
    data = yaml.safe_load(COEFFICIENTS.read_text())
    return {family: data[family] for family in memories.PRIMITIVES}


def parameters(archs: Archs, taken: Mapping[str, Memories]) -> dict[str, IntArray]:
    """What terms are products of, each [A].

    The letters of docs/machine.md and sizes of addresses in bits; ``blocks`` of lanes, ``adders``
    behind the chains of an output; LUTs that ``turn`` a bank's bit to a lane (``odd`` where P is no
    power of two) or choose a ``region``'s; pixels of ``early`` and ``late`` lane blocks, which wait
    less than three cycles or more; bits of LOAD's ``word`` and words in a beat beyond the first,
    ``narrow``; of memories the LUTs, the registers behind these, and the choices between pieces or
    stacked primitives.
    """
    m, wide = archs.in_channels, 8 * archs.in_channels * archs.out_channels
    early, late = _waits(archs)
    act, other = taken["act"], taken["wgt"] + taken["param"] + taken["tap"]
    return {
        "P": archs.pixels,
        "M": m,
        "N": archs.out_channels,
        "D": archs.drain,
        "R": archs.regions,
        "k": archs.planes,
        "blocks": archs.pixels // archs.drain,
        "later": archs.pixels // archs.drain - 1,
        "adders": m // CHAIN_LENGTH - 1,
        "turn": _turn_luts(archs.pixels),
        "odd": (archs.pixels & (archs.pixels - 1) > 0).astype(np.int64),
        "region": _chosen_luts(archs.regions),
        "early": early,
        "late": late,
        "drained": np.where(archs.drain > 1, archs.drain, 0),
        "wide": (archs.dma_bits > 64).astype(np.int64),
        "acc": archs.acc_bits,
        "bank_bits": _bits(archs.pixels),
        "row_bits": _bits(archs.act_depth),
        "wgt_bits": _bits(archs.wgt_depth),
        "param_bits": _bits(archs.param_depth),
        "tap_bits": _bits(archs.tap_depth),
        "word": np.maximum(wide, PARAM_RECORD_BITS * m),
        "narrow": np.maximum(archs.dma_bits // (8 * m), 1) - 1,
        "pieces": (
            _several(memories.pieces(archs.wgt_depth)) * wide
            + _several(memories.pieces(archs.param_depth)) * PARAM_RECORD_BITS * m
        ),
        "act_luts": act.lut,
        "act_registers": act.register,
        "act_choices": act.choice,
        "luts": other.lut,
        "registers": other.register,
        "choices": other.choice,
        "table_choices": taken["tables"].choice,
    }


def stored(archs: Archs, family: str, uram: BoolArray) -> dict[str, Memories]:
    """What the memories take that are mapped by their size."""
    return {
        "act": memories.activations(archs, family, uram),
        "wgt": memories.weights(archs, family),
        "param": memories.parameters(archs, family),
        "tap": memories.taps(archs, family),
        "tables": memories.tables(archs, family),
        "load": memories.load_queue(archs, family),
    }


def _sum_of_terms(terms: Mapping[str, float], columns: Mapping[str, IntArray]) -> IntArray:
    total = sum(coefficient * term(name, columns) for name, coefficient in terms.items())
    return np.rint(total).astype(np.int64)


def term(name: str, columns: Mapping[str, IntArray]) -> IntArray:
    """A product of parameters [A] by its name, such as ``P*M*N``; ``one`` is 1."""
    if name == "one":
        return np.ones_like(columns["P"])
    return reduce(np.multiply, (columns[factor] for factor in name.split("*")))


def _bits(values: IntArray) -> IntArray:
    """Bits of a number below each value; 1 at least (``amaranth.utils.bits_for`` of the last)."""
    return np.maximum(np.ceil(np.log2(np.maximum(values, 1))).astype(np.int64), 1)


def _waits(archs: Archs) -> tuple[IntArray, IntArray]:
    """Registers a bit for the lane blocks that wait one or two cycles, and lanes of those that wait
    longer, in shift registers.
    """
    blocks, k = archs.pixels // archs.drain, archs.planes
    ones = (blocks > 1) & (k == 1)
    twos = ((blocks > 2) & (k == 1)) | ((blocks > 1) & (k == 2))
    short = np.minimum(blocks, -(-3 // k))
    return archs.drain * (ones + 2 * twos), archs.drain * (blocks - short)


def _several(count: IntArray) -> IntArray:
    """The count, 0 where there is one alone."""
    return np.where(count > 1, count, 0)


def _turn_luts(count: IntArray) -> IntArray:
    """LUT6 that choose a bit of so many by its number: four to a LUT, then MUXF7 and MUXF8."""
    return np.where(count > 1, -(-count // 4), 0)


def _chosen_luts(count: IntArray) -> IntArray:
    """LUT6 that choose a bit of so many by an enable each: three to the first, two to others."""
    return 1 + np.maximum(-(-(count - 3) // 2), 0)
