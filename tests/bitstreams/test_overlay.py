"""The files of an overlay and the hash that all of them carry."""

from pathlib import Path

import pytest

import bitstreams
from bitstreams.design import Design
from bitstreams.overlay import OverlayError, contents, identified
from codesign.arch import Arch, preset
from codesign.boards import BOARDS, Board

TINY = preset("tiny")
RTL = "module codesign_top; endmodule\n"


def named(arch: Arch, board: Board, rtl: str) -> Design:
    return identified(Design(arch.replace(board=board.name), board, rtl), contents)


def test_every_file_carries_the_designs_hash(tmp_path: Path) -> None:
    overlay = bitstreams.write_overlay(TINY, "pynq-z2", tmp_path / "new", RTL)
    identity = f"{overlay.design.identity:08x}"
    written = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert {overlay.hwh, overlay.simulated_bit} <= written
    assert not overlay.bit.exists(), "a simulated bitstream must not pass for a real one"
    for path in written:
        assert identity in path.name or identity in path.read_text()
        assert not path.name.startswith("."), "a temporary file is left"
    assert identity in overlay.hwh.read_text()
    file = bitstreams.BitFile.decode(overlay.simulated_bit.read_bytes())
    assert bitstreams.user_access(file.body) == overlay.design.identity
    description = bitstreams.simulation_description(file.body)
    assert description["arch"] == overlay.design.arch.to_dict()
    assert overlay.simulated_bit.with_suffix(".hwh").read_text() == overlay.hwh.read_text()


def test_the_hash_follows_arch_rtl_clock_and_board() -> None:
    arch, board = TINY, BOARDS["pynq-z2"]
    designs = [
        named(arch, board, RTL),
        named(arch, board, RTL + "// other\n"),
        named(arch.replace(act_depth=512), board, RTL),
        named(arch.replace(clock_mhz=50.0), board, RTL),
        named(arch, BOARDS["pynq-z1"], RTL),
    ]
    assert len({design.identity for design in designs}) == len(designs)
    again = named(arch, board, RTL)
    assert again.identity == designs[0].identity
    assert contents(designs[0]) == contents(again)


def test_names_tell_board_and_architecture() -> None:
    z2 = BOARDS["pynq-z2"]
    assert named(TINY, z2, RTL).name.startswith("codesign_pynq-z2_tiny_")
    own = named(preset("pynq_z2"), z2, RTL)
    assert own.name == f"codesign_pynq-z2_{own.identity:08x}"


def test_an_unknown_board_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no board is called 'pynq-z3'; there are aup-zu3, kv260"):
        bitstreams.write_overlay(TINY, "pynq-z3", tmp_path, RTL)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_hash_leaves_nothing_behind(tmp_path: Path) -> None:
    other = bitstreams.write_overlay(TINY, "pynq-z1", tmp_path, RTL)
    own = tmp_path / "codesign_pynq-z2_tiny_0badcafe.notes"
    own.write_text("the user's")
    bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL + "// earlier\n")
    made = bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL)
    expected = {own.name, "README.md"}
    for name in (other.design.name, made.design.name):
        expected |= {f"{name}.{suffix}" for suffix in ("v", "tcl", "xdc", "hwh")}
        expected |= {f"simulated/{name}.{suffix}" for suffix in ("bit", "hwh")}
    assert names(tmp_path) == expected
    assert bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL) == made
    assert names(tmp_path) == expected


def test_an_earlier_bitstream_is_not_thrown_away(tmp_path: Path) -> None:
    earlier = bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL + "// earlier\n")
    earlier.bit.write_bytes(b"an hour of work")
    before = names(tmp_path)
    with pytest.raises(OverlayError, match=rf"{earlier.bit.name} is .* move or delete it, or"):
        bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL)
    assert names(tmp_path) == before
    bitstreams.write_overlay(TINY, "pynq-z2", tmp_path, RTL + "// earlier\n")
    assert earlier.bit.is_file()
