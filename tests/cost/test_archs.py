"""Columns of architectures say what the architectures themselves say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from codesign.arch import PRESETS, Arch
from codesign.cost.archs import COLUMNS, Archs

ARCHS = list(PRESETS.values())
DERIVED = (
    "macs_per_cycle", "planes", "drain_steps", "phase_skew", "beat_bytes", "act_word_bytes",
    "wgt_word_bytes", "act_region_words", "act_bytes", "wgt_bytes",
)  # fmt: skip


@pytest.mark.parametrize("name", [*COLUMNS, "clock_mhz", *DERIVED])
def test_a_column_holds_each_architectures_own_value(name: str) -> None:
    found = getattr(Archs.of(ARCHS), name)
    assert found.tolist() == [getattr(arch, name) for arch in ARCHS]


def test_every_field_that_changes_the_logic_is_a_column() -> None:
    fixed = {"name", "clock_mhz", "board", "act_bits", "wgt_bits"}
    assert set(COLUMNS) == {field.name for field in dataclasses.fields(Arch)} - fixed


def test_rows_are_taken_by_number_and_by_mask() -> None:
    archs = Archs.of(ARCHS)
    assert archs.take(np.array([2, 0])).pixels.tolist() == [ARCHS[2].pixels, ARCHS[0].pixels]
    assert len(archs.take(archs.pixels > 6)) == sum(arch.pixels > 6 for arch in ARCHS)
