"""Derived sizes, identity, and the refusals of contradictory parameters."""

import dataclasses

import pytest

from codesign import arch as architecture
from codesign.arch import PRESETS, preset

TINY = preset("tiny")

REFUSALS = [
    ({"pixels": 0}, ValueError, "pixels=0 is outside 1..32; choose a value in that range"),
    ({"pixels": 33}, ValueError, "pixels=33 is outside 1..32"),
    ({"regions": 1}, ValueError, "regions=1 is outside 2..8"),
    ({"act_depth": 8}, ValueError, "act_depth=8 is outside 16..32768"),
    ({"wgt_depth": 1 << 20}, ValueError, "wgt_depth=1048576 is outside 16..524288"),
    ({"tables": 17}, ValueError, "tables=17 is outside 1..16"),
    ({"pixels": 3.0}, TypeError, "pixels must be an integer, not 3.0"),
    ({"drain": True}, TypeError, "drain must be an integer, not True"),
    ({"in_channels": 12, "out_channels": 12}, ValueError,
     "in_channels=12 is not a power of two; the nearest are 8 and 16"),
    ({"in_channels": 8}, ValueError, "out_channels=4 is not a multiple of in_channels=8; choose 8"),
    ({"out_channels": 64}, ValueError,
     "out_channels=64 is 16 times in_channels=4, above 8; choose at most 32, or in_channels=8"),
    ({"drain": 2}, ValueError, "drain=2 does not divide pixels=3; choose a divisor of 3"),
    ({"dma_bits": 32}, ValueError, "dma_bits=32: the AXI4 data bus is 64 or 128 bits wide"),
    ({"acc_bits": 33}, ValueError, "acc_bits=33 is outside 24..32"),
    ({"act_bits": 4}, ValueError, "act_bits=4, wgt_bits=8: the DSP-packed array multiplies 8 by 8"),
    ({"clock_mhz": 0.0}, ValueError, "clock_mhz=0.0 must be positive"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "text"), REFUSALS, ids=lambda x: str(x)[:24])
def test_contradictions_are_refused_with_the_numbers(changes, error, text):
    with pytest.raises(error, match=text):
        TINY.replace(**changes)


def test_derived_sizes():
    arch = TINY.replace(pixels=6, in_channels=8, out_channels=16, drain=2, dma_bits=128)
    assert arch.macs_per_cycle == 6 * 8 * 16
    assert arch.planes == 2
    assert arch.drain_steps == 3 * 2
    assert arch.beat_bytes == 16
    assert arch.act_region_words == 6 * 256
    assert arch.act_bytes == 3 * 6 * 256 * 8
    assert arch.wgt_bytes == 1024 * 8 * 16
    assert (arch.act_word_bytes, arch.wgt_word_bytes, arch.param_word_bytes) == (8, 128, 64)


def test_fingerprint_changes_with_logic_alone(monkeypatch):
    assert TINY.replace(name="x", clock_mhz=1.0, board="y").fingerprint == TINY.fingerprint
    others = {"pixels": 6, "in_channels": 4, "act_depth": 512, "tables": 8, "dma_bits": 128}
    prints = {TINY.replace(**{key: value}).fingerprint for key, value in others.items()}
    assert len(prints | {TINY.fingerprint}) == len(others)  # in_channels is what it was
    monkeypatch.setattr(architecture, "ISA_VERSION", 99)
    assert TINY.replace().fingerprint not in prints


def test_presets():
    for name, arch in PRESETS.items():
        assert arch.name == name
        assert preset(name) is arch
        assert type(arch)(**arch.to_dict()) == arch
    with pytest.raises(ValueError, match="no preset is called 'huge'; there are aup_zu3, kv260,"):
        preset("huge")
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.pixels = 4
