"""Weights, parameters and taps on their way through the chip: each memory is a ring.

Contents are loaded in the order of their first use, over those that were loaded longest ago. What a
group needs in all its strips stays if the group's contents fit the ring; else it comes again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from codesign.arch import Arch
from codesign.compiler.tile import DRAM_ALIGNMENT
from codesign.errors import CapacityError
from codesign.isa import Target
from codesign.reference.memory import depth, word_bytes

_PIECE_BYTES = 4096
"""A LOAD moves no more, so that a more urgent one need not wait long."""
_REMEDY = {
    Target.WGT: "raise wgt_depth",
    Target.PARAM: "raise param_depth",
    Target.TAP: "raise tap_depth",
}


@dataclass
class Image:
    """Contents in DRAM, equal ones once; offsets count from the first."""

    data: bytearray = field(default_factory=bytearray)
    _known: dict[bytes, int] = field(default_factory=dict)

    def put(self, contents: bytes) -> int:
        """Byte offset of these contents."""
        if contents not in self._known:
            self._known[contents] = len(self.data)
            self.data += contents.ljust(-(-len(contents) // DRAM_ALIGNMENT) * DRAM_ALIGNMENT, b"\0")
        return self._known[contents]


@dataclass
class Fill:
    """A LOAD into a ring: before CALC number ``deadline``, after CALC number ``after``."""

    target: Target
    offset: int
    address: int
    words: int
    deadline: int
    after: int


class Ring:
    """One memory. ``fills`` are the LOADs so far."""

    def __init__(self, arch: Arch, target: Target, image: Image) -> None:
        self._target, self._image = target, image
        self.word_bytes, self._depth = word_bytes(arch, target), depth(arch, target)
        self._used = np.full(self._depth, -1, np.int64)
        self._held: deque[tuple[int, int, int]] = deque()
        self._resident: dict[int, int] = {}
        self._head = 0
        self.fills: list[Fill] = []

    def need(self, contents: bytes, calc: int, where: str) -> int:
        """The address of contents that CALC number ``calc`` uses; loads them if they are not there.

        Raises
        ------
        CapacityError
            They are larger than the memory.
        """
        if not contents:
            return 0
        key, words = self._image.put(contents), len(contents) // self.word_bytes
        if key not in self._resident:
            if words > self._depth:
                raise CapacityError(
                    f"{where} needs {words} {self._target.name} words for one instruction, the "
                    f"architecture has {self._depth}; {_REMEDY[self._target]}"
                )
            self._place(key, words, calc)
        address = self._resident[key]
        self._used[address : address + words] = calc
        return address

    def _place(self, key: int, words: int, calc: int) -> None:
        if self._head + words > self._depth:
            while self._held and self._held[0][1] >= self._head:
                self._evict()
            self._head = 0
        first, last = self._head, self._head + words
        while self._held and first <= self._held[0][1] < last:
            self._evict()
        self._held.append((key, first, words))
        self._resident[key] = first
        self._head = last
        piece = max(1, _PIECE_BYTES // self.word_bytes // 2 * 2)
        for start in range(first, last, piece):
            end = min(last, start + piece)
            after = int(self._used[start:end].max())
            offset = key + (start - first) * self.word_bytes
            if not self._extend(offset, start, end - start, after, piece):
                fill = Fill(self._target, offset, start, end - start, calc, after)
                self.fills.append(fill)

    def _evict(self) -> None:
        key, first, _ = self._held.popleft()
        if self._resident.get(key) == first:
            del self._resident[key]

    def _extend(self, offset: int, address: int, words: int, after: int, most: int) -> bool:
        """Let the latest LOAD bring these words, too, if they follow on it."""
        if not self.fills:
            return False
        fill = self.fills[-1]
        follows = (
            fill.address + fill.words == address
            and fill.offset + fill.words * self.word_bytes == offset
            and fill.words + words <= most
        )
        if not follows or after >= fill.deadline:
            return False
        fill.words += words
        fill.after = max(fill.after, after)
        return True
