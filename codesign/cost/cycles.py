"""Cycles in closed form, for decisions of the compiler; the machine reference counts exactly."""

from __future__ import annotations

from codesign import latency
from codesign.arch import Arch
from codesign.isa import INSTRUCTION_BYTES
from codesign.reference.timing import Dram

_PIPELINE = 16
"""About the cycles of a transfer before its first request and after its last beat or response."""
LOAD_ROW = 8
"""About the cycles lost to each row of a LOAD: its bursts begin anew."""


def calc_slots(arch: Arch, groups: int, taps: int) -> int:
    """Cycles that a CALC keeps the array from the next one."""
    return groups * latency.calc_interval(arch, taps) + latency.CALC_GAP


def pipeline_cycles(arch: Arch) -> int:
    """Cycles from a group's last tap to a CALC that may read all its results."""
    return latency.calc_finish(arch, 1, 1) + latency.CALC_FENCE


def load_latency() -> int:
    """Cycles from the start of a LOAD to its first word."""
    return _PIPELINE + Dram().read_latency


def load_cycles(arch: Arch, rows: int, words: int) -> int:
    """Cycles that a LOAD of ``rows`` by ``words`` ACT words keeps the bus; the latency of one LOAD
    passes while the one before is on the bus."""
    return rows * LOAD_ROW + _beats(arch, rows, words)


def fetch_cycles(arch: Arch, instructions: int) -> int:
    """Cycles that FETCH keeps the bus for as many instructions."""
    return instructions * INSTRUCTION_BYTES // arch.beat_bytes


def save_cycles(arch: Arch, rows: int, words: int) -> int:
    """Cycles of a SAVE of as many words whose port no CALC holds."""
    return _PIPELINE + Dram().write_latency + _beats(arch, rows, words)


def _beats(arch: Arch, rows: int, words: int) -> int:
    return rows * -(-words * arch.act_word_bytes // arch.beat_bytes)
