"""Cycles in closed form, for decisions of the compiler; the machine reference counts exactly."""

from __future__ import annotations

from codesign import latency
from codesign.arch import Arch
from codesign.reference.timing import Dram

_LOAD_PIPELINE = 16
"""About the cycles of a LOAD before its first request and after its last beat."""


def calc_slots(arch: Arch, groups: int, taps: int) -> int:
    """Cycles that a CALC keeps the array from the next one."""
    return groups * latency.calc_interval(arch, taps) + latency.CALC_GAP


def load_cycles(arch: Arch, rows: int, words: int) -> int:
    """Cycles of a LOAD of ``rows`` by ``words`` ACT words that has the bus for itself."""
    beats = rows * -(-words * arch.act_word_bytes // arch.beat_bytes)
    return _LOAD_PIPELINE + Dram().read_latency + beats
