"""The script for Vivado, run by a Tcl interpreter with a model of Vivado's commands."""

import re
from pathlib import Path

import pytest

import bitstreams
from bitstreams import Overlay
from codesign.arch import preset
from codesign.boards import BOARDS

pytest.importorskip("tkinter", reason="the scripts are run by Python's Tcl interpreter")
from tests.bitstreams.vivado_model import Vivado, VivadoError

TINY = preset("tiny")
RTL = "module codesign_top; endmodule\n"
LARGE = ("aup-zu3", "kv260")
"""Boards with more than 2 GiB of DRAM."""
BOARD_FILES = tuple(board.vivado.replace("*", "1.0") for board in BOARDS.values())


def overlay(board: str, folder: Path) -> Overlay:
    return bitstreams.write_overlay(TINY, board, folder, RTL)


def built(board: str, folder: Path, **how) -> tuple[Overlay, Vivado]:
    made = overlay(board, folder / "overlay")
    (folder / "runs").mkdir()
    vivado = Vivado(folder / "runs", **{"board_files": BOARD_FILES, **how})
    vivado.source(made.script)
    return made, vivado


@pytest.mark.parametrize("board", BOARDS)
def test_the_design_is_complete_and_its_bitstream_carries_the_identity(
    board: str, tmp_path: Path
) -> None:
    made, vivado = built(board, tmp_path)
    design = made.design
    assert vivado.part == BOARDS[board].device
    assert vivado.properties["design"]["BITSTREAM.CONFIG.USR_ACCESS"] == f"0x{design.identity:08X}"
    file = bitstreams.BitFile.decode(made.bit.read_bytes())
    assert bitstreams.user_access(file.body) == design.identity
    assert file.part == BOARDS[board].device


@pytest.mark.parametrize("board", BOARDS)
def test_addresses_are_those_of_the_handoff_file(board: str, tmp_path: Path) -> None:
    made, vivado = built(board, tmp_path)
    design = made.design
    data = f"{design.ps}/Data"
    assert vivado.addresses[data, "accelerator/s_axi/reg0"] == (design.base, "4K")
    assert vivado.addresses[data, "axi_intc_0/S_AXI/Reg"] == (design.controller_base, "4K")
    memory = [v for (space, _), v in vivado.addresses.items() if space == "accelerator/m_axi"]
    low, *high = design.memory_ranges
    assert memory == [(0, f"0x{low[2]:X}"), *(None for _ in high)]
    assert bool(high) == (board in LARGE)
    assert f'BASEVALUE="0x{design.base:08X}"' in made.hwh.read_text()


@pytest.mark.parametrize("board", LARGE)
def test_dram_beyond_2_gib_needs_the_boards_files(board: str, tmp_path: Path) -> None:
    pattern = re.escape(BOARDS[board].vivado)
    message = rf"no SAXIGP2/HP0_DDR_HIGH for {board}: without board files that match {pattern}"
    with pytest.raises(VivadoError, match=message):
        built(board, tmp_path, board_files=())


@pytest.mark.parametrize(
    ("board", "segment"),
    [("pynq-z2", "S_AXI_HP0/HP0_DDR_LOWOCM"), ("zcu104", "SAXIGP2/HP0_DDR_LOW")],
)
def test_a_missing_segment_of_dram_is_told(board: str, segment: str, tmp_path: Path) -> None:
    with pytest.raises(VivadoError, match=rf"offers no {segment} for {board}: see what"):
        built(board, tmp_path, without=segment)


@pytest.mark.parametrize("board", ["pynq-z2", "zcu104"])
def test_the_clock_is_the_one_that_pynq_sets(board: str, tmp_path: Path) -> None:
    design = overlay(board, tmp_path / "other").design
    expected = f"{design.clock.mhz:.6f} MHz will run: install board files that match"
    with pytest.raises(VivadoError, match=rf"a clock of '90\.0' MHz where {expected}"):
        built(board, tmp_path, made_mhz=90.0)


def test_a_clock_as_vivado_rounds_it_will_do(tmp_path: Path) -> None:
    made = bitstreams.write_overlay(TINY.replace(clock_mhz=150.0), "pynq-z2", tmp_path, RTL)
    Vivado(tmp_path, made_mhz=142.857132).source(made.script)
    assert made.bit.is_file()


def test_everything_runs_on_one_clock(tmp_path: Path) -> None:
    made, vivado = built("zcu104", tmp_path)
    clocks = [sink for sink, source in vivado.nets.items() if source.endswith("pl_clk0")]
    assert len(clocks) == 7
    assert vivado.nets["accelerator/aresetn"] == "reset_0/peripheral_aresetn"
    values = vivado.properties[made.design.ps]
    asked = float(values["CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"])
    assert asked == pytest.approx(made.design.clock.mhz)
    assert asked < TINY.clock_mhz, "33.333 MHz times 45, behind 15"
    assert values["CONFIG.PSU__SAXIGP2__DATA_WIDTH"] == "64"


def test_board_files_are_used_where_there_are_any(tmp_path: Path) -> None:
    names = ("tul.com.tw:pynq-z2:part0:1.0", "xilinx.com:zcu104:part0:1.1")
    made, vivado = built("pynq-z2", tmp_path, board_files=names)
    assert vivado.properties["project"]["board_part"] == names[0]
    (call,) = (c for c in vivado.calls if c[0] == "apply_bd_automation")
    config = vivado.tcl.splitlist(call[call.index("-config") + 1])
    assert config == ("make_external", "FIXED_IO, DDR", "apply_board_preset", "1")
    assert made.bit.is_file()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"slack_ns": -0.25},
            r"timing fails by 0\.25 ns \(setup\) at 100\.000 MHz: choose a slower",
        ),
        ({"hold_ns": -0.03}, r"timing fails by 0\.03 ns \(hold\) at 100\.000 MHz: try another"),
        ({"slack_ns": ""}, r"impl_1 has no WNS \(it is ''\), so that nothing tells"),
        ({"hold_ns": "NA"}, r"impl_1 has no WHS \(it is 'NA'\), so that nothing tells"),
        ({"progress": "60%"}, "the build stopped: place_design ERROR"),
    ],
)
def test_a_build_that_fails_leaves_no_bitstream(how, message: str, tmp_path: Path) -> None:
    with pytest.raises(VivadoError, match=message):
        built("pynq-z2", tmp_path, **how)
    assert not list(tmp_path.glob("overlay/*.bit"))


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r" \\\n    \[get_bd_pins memory_0/aclk\]", "", "memory_0/aclk is open"),
        (r"pins reset_0/peripheral_aresetn", "pins reset_0/aresetn_out", "no 'aresetn_out'"),
        (r"control_0/M01_AXI", "control_0/M02_AXI", "no 'M02_AXI'"),
        (r"-reference codesign_top", "-reference other", "no source has module 'other'"),
        (r"connect_bd_intf_net", "connect_bd_intf", "invalid command name"),
        (r"-range 0x20000000", "-range 0x18000000", "range 0x18000000 is no power of two"),
        (r"\] \[get_bd_cells memory_0", " [get_bd_cells memory_0", "missing close-bracket"),
    ],
)
def test_the_model_finds_what_is_wrong(
    pattern: str, replacement: str, message: str, tmp_path: Path
) -> None:
    made = overlay("pynq-z2", tmp_path)
    text, count = re.subn(pattern, replacement, made.script.read_text())
    assert count >= 1
    made.script.write_text(text)
    with pytest.raises(VivadoError, match=message):
        Vivado(tmp_path).source(made.script)
