"""The table of boards."""

import pytest

from codesign.boards import BOARDS, board


@pytest.mark.parametrize("name", BOARDS)
def test_clocks_are_the_nearest_below(name: str) -> None:
    target = board(name)
    for mhz in (300, 150, 142.857, 100, 50, 7.3, 1):
        clock = target.clock(mhz)
        assert 1 <= clock.first <= 63
        assert 1 <= clock.second <= 63
        assert clock.mhz == target.processor.pll_mhz / (clock.first * clock.second)
        assert clock.mhz <= mhz * 1.0001
        products = {a * b for a in range(1, 64) for b in range(1, 64)}
        better = [target.processor.pll_mhz / p for p in products]
        assert not [f for f in better if clock.mhz < f <= mhz]


def test_a_clock_that_no_divisor_makes() -> None:
    with pytest.raises(
        ValueError, match=r"clock_mhz=0\.01: pynq-z2 makes no clock slower than 0\.252"
    ):
        board("pynq-z2").clock(0.01)


def test_parts_are_named_as_vivado_names_them() -> None:
    assert {b.name: b.device for b in BOARDS.values()} == {
        "pynq-z1": "xc7z020clg400-1",
        "pynq-z2": "xc7z020clg400-1",
        "ultra96v2": "xczu3eg-sbva484-1-i",
        "aup-zu3": "xczu3eg-sfvc784-2-e",
        "zcu104": "xczu7ev-ffvc1156-2-e",
        "kv260": "xck26-sfvc784-2LV-c",
    }
