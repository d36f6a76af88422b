"""Trace records: what they say, how they lie in DRAM, and how long the machine writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codesign.isa import Unit
from codesign.reference.memory import ByteArray
from codesign.reference.timing import Dram
from codesign.registers import TRACE_RECORD_BYTES

_QUEUED = 2
"""From a completion to its record at the head of the queue."""
_SERVICE = 9
"""Cycles for a record beyond its beats and the response's latency."""
_DEPTH = 17
"""Records that wait."""


@dataclass(frozen=True)
class TraceRecord:
    """When an instruction took its tokens and began, and when it completed and gave its own."""

    unit: Unit
    index: int
    start: int
    end: int


def write(
    records: Sequence[TraceRecord], dram: Dram, beat_bytes: int
) -> tuple[list[TraceRecord], int]:
    """The records that find room in the queue, in their order, and the cycle of the last one."""
    service = _SERVICE - 1 + TRACE_RECORD_BYTES // beat_bytes + dram.write_latency
    begins: list[int] = []
    kept = []
    for record in sorted(records, key=lambda r: (r.end, r.unit)):
        ready = record.end + _QUEUED
        if len(begins) >= _DEPTH and begins[-_DEPTH] > ready:
            continue
        begins.append(max(ready, begins[-1] + service) if begins else ready)
        kept.append(record)
    return kept, begins[-1] + service if begins else 0


def encode(records: Iterable[TraceRecord]) -> ByteArray:
    """Records as they lie in DRAM (``registers.TRACE_RECORD_BYTES``)."""
    words = [(r.start, r.end, r.index | int(r.unit) << 24, 0) for r in records]
    return np.array(words, "<u4").reshape(-1).view(np.uint8)
