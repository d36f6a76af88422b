"""On-chip memories and what transfers move between them and DRAM, byte for byte."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.arch import PARAM_RECORD_BITS, TABLE_ENTRIES, TAP_ENTRY_BITS, Arch
from codesign.isa import PARAM_RECORD, TAP_ENTRY, Base, Field, Instruction, Opcode, Target, offsets

ByteArray = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]


def word_bytes(arch: Arch, target: Target) -> int:
    """Bytes of a word of that memory, on chip and in DRAM."""
    return {
        Target.ACT: arch.act_word_bytes,
        Target.WGT: arch.wgt_word_bytes,
        Target.PARAM: arch.param_word_bytes,
        Target.TAP: TAP_ENTRY_BITS // 8,
        Target.TABLE: 1,
    }[target]


def depth(arch: Arch, target: Target) -> int:
    """Words of that memory; for ACT those of one region."""
    return {
        Target.ACT: arch.act_region_words,
        Target.WGT: arch.wgt_depth,
        Target.PARAM: arch.param_depth,
        Target.TAP: arch.tap_depth,
        Target.TABLE: arch.tables * TABLE_ENTRIES,
    }[target]


def unpack_all(
    fields: tuple[Field, ...],
    words: npt.NDArray[np.uint64],
    names: Collection[str] | None = None,
) -> dict[str, IntArray]:
    """``isa.unpack`` of many words of up to 64 bits at once; of all fields or of these."""
    values = {}
    for field, position in offsets(fields):
        if names is not None and field.name not in names:
            continue
        raw = (words >> np.uint64(position)) & np.uint64((1 << field.bits) - 1)
        value = raw.astype(np.int64)
        if field.signed:
            value -= (value >> (field.bits - 1)) << field.bits
        values[field.name] = value
    return values


@dataclass(frozen=True, eq=False)
class Taps:
    """``isa.TAP_ENTRY`` of some taps: ``data`` as in memory, ``fields`` arrays [taps]."""

    data: bytes
    fields: Mapping[str, IntArray]

    @staticmethod
    @lru_cache(maxsize=64)
    def of(data: bytes) -> Taps:
        """Taps of TAP words; instructions in a row have the same."""
        fields = unpack_all(TAP_ENTRY, np.frombuffer(data, "<u8"))
        for values in fields.values():
            values.setflags(write=False)
        return Taps(data, fields)


class Memories:
    """The accelerator's memories as bytes: ACT [regions, words, M], the others [words, bytes].

    Word i of an ACT region lies in bank i mod P, row i div P.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.act = np.zeros((arch.regions, arch.act_region_words, arch.act_word_bytes), np.uint8)
        self._others = {
            target: np.zeros((depth(arch, target), word_bytes(arch, target)), np.uint8)
            for target in Target
            if target is not Target.ACT
        }

    def words(self, target: Target, region: int = 0) -> ByteArray:
        """The words of a memory, [words, bytes]: writable, not a copy."""
        return self.act[region] if target is Target.ACT else self._others[target]

    def taps(self, first: int, count: int) -> Taps:
        """``count`` taps from word ``first`` on."""
        return Taps.of(self._others[Target.TAP][first : first + count].tobytes())

    def parameters(
        self, first: int, count: int, names: Collection[str] | None = None
    ) -> dict[str, IntArray]:
        """``isa.PARAM_RECORD`` of ``count`` words, an array [count, M] for each field, or for
        these."""
        raw = self._others[Target.PARAM][first : first + count]
        records = raw.view(f"<u{PARAM_RECORD_BITS // 8}")
        return unpack_all(PARAM_RECORD, records, names)

    def dense_weights(self, first: int, taps: int) -> IntArray:
        """w[t][m][n] of ``taps`` words, the packing of odd outputs undone."""
        arch = self.arch
        packed = self._others[Target.WGT][first : first + taps].view(np.int8).astype(np.int64)
        w = packed.reshape(taps, arch.in_channels, arch.out_channels)
        w[:, :, 1::2] += w[:, :, 0::2] < 0
        return w

    def depthwise_weights(self, first: int, taps: int) -> IntArray:
        """w[t][m] of the first ``taps`` slices from word ``first`` on."""
        arch = self.arch
        count = depthwise_words(arch, taps)
        slices = self._others[Target.WGT][first : first + count].view(np.int8).astype(np.int64)
        return slices.reshape(-1, arch.in_channels)[:taps]

    def table(self, number: int) -> IntArray:
        """The 256 values of a table."""
        first = number * TABLE_ENTRIES
        raw = self._others[Target.TABLE][first : first + TABLE_ENTRIES, 0]
        return raw.view(np.int8).astype(np.int64)


def depthwise_words(arch: Arch, taps: int) -> int:
    """Weight words that ``taps`` depthwise slices fill, the last one perhaps in part."""
    return -(-taps // arch.out_channels)


@dataclass(frozen=True)
class Transfer:
    """What a LOAD or SAVE moves: ``words`` [rows, words] are numbers of on-chip words."""

    target: Target
    region: int
    words: IntArray
    word_bytes: int
    offset: int
    stride: int

    @classmethod
    def of(cls, arch: Arch, instruction: Instruction) -> Transfer:
        i = instruction
        target = Target(i["target"]) if i.opcode is Opcode.LOAD else Target.ACT
        if target is Target.ACT:
            first = i["bank"] + i["address"] * arch.pixels
            step = i["stride_bank"] + i["stride_address"] * arch.pixels
        else:
            first, step = i["address"], i["stride_address"]
        words = first + np.arange(i["rows"])[:, None] * step + np.arange(i["words"])
        size = word_bytes(arch, target)
        return cls(target, i["region"], words.astype(np.int64), size, i["offset"], i["stride"])

    @property
    def row_bytes(self) -> int:
        """Bytes of a transfer row that carry data."""
        return int(self.words.shape[1]) * self.word_bytes

    def dram(self, buffer: ByteArray) -> ByteArray:
        """The rows in a buffer, [rows, words, word_bytes]: a writable view."""
        rows, count = self.words.shape
        return np.lib.stride_tricks.as_strided(
            buffer[self.offset :],
            (rows, count, self.word_bytes),
            (self.stride, self.word_bytes, 1),
            writeable=buffer.flags.writeable,
        )


def load(memories: Memories, transfer: Transfer, buffer: ByteArray) -> None:
    """DRAM to chip, row after row."""
    memories.words(transfer.target, transfer.region)[transfer.words] = transfer.dram(buffer)


def save(memories: Memories, transfer: Transfer, buffer: ByteArray) -> None:
    """Chip to DRAM, row after row."""
    rows = transfer.dram(buffer)
    data = memories.words(transfer.target, transfer.region)[transfer.words]
    for row, values in zip(rows, data, strict=True):  # in order, should rows overlap
        row[...] = values


def check_buffers(buffers: Mapping[Base, ByteArray]) -> None:
    """Raise ``TypeError`` unless every DRAM buffer is a contiguous one-dimensional byte array."""
    for base, buffer in buffers.items():
        if buffer.dtype != np.uint8 or buffer.ndim != 1 or not buffer.flags.c_contiguous:
            raise TypeError(
                f"buffer {base!r} is {buffer.dtype} of shape {buffer.shape}; "
                "pass a contiguous one-dimensional uint8 array"
            )
