"""Which memories go into UltraRAM, and the attribute that says so."""

import pytest

from bitstreams.memories import activation_urams, activations_in_uram, place
from codesign.arch import preset
from codesign.boards import BOARDS
from hw.build import generate

TINY = preset("tiny")
DEEP = TINY.replace(act_depth=2048)
SMALL = DEEP.replace(pixels=1, regions=2)
ULTRA, PLAIN = BOARDS["zcu104"].part, BOARDS["pynq-z2"].part


@pytest.mark.parametrize(
    ("changes", "urams"),
    [
        ({}, 9),
        ({"act_depth": 4097}, 18),
        ({"in_channels": 16, "out_channels": 16}, 18),
        ({"in_channels": 8, "out_channels": 8, "pixels": 2, "regions": 2}, 4),
    ],
)
def test_urams_of_the_activation_memories(changes, urams: int) -> None:
    assert activation_urams(DEEP.replace(**changes)) == urams


def test_only_deep_memories_on_parts_that_have_enough() -> None:
    assert activations_in_uram(DEEP, ULTRA)
    assert not activations_in_uram(DEEP, PLAIN)
    assert not activations_in_uram(TINY, ULTRA)
    assert not activations_in_uram(DEEP.replace(pixels=32, regions=4), ULTRA)


def test_every_bank_and_nothing_else_is_marked() -> None:
    text = generate(SMALL)
    placed = place(text, SMALL, ULTRA)
    assert placed.count('(* ram_style = "ultra" *)\n  reg [31:0] region') == 2
    assert placed.count("ram_style") == 2
    assert "region0_bank0[0] = " in text
    assert "region0_bank0[0] = " not in placed
    assert "piece0[0] = " in placed
    assert placed.count("endmodule") == text.count("endmodule")
    assert placed.count("always @") == text.count("always @")
    assert place(text, SMALL, PLAIN) == text


def test_another_accelerators_text_is_refused() -> None:
    with pytest.raises(ValueError, match="0 activation memories found in the Verilog of 'tiny'"):
        place("module codesign_top; endmodule\n", DEEP, ULTRA)
