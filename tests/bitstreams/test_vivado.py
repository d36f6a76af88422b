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


def overlay(board: str, folder: Path) -> Overlay:
    return bitstreams.write_overlay(TINY, board, folder, RTL)


def built(board: str, folder: Path, **how) -> tuple[Overlay, Vivado]:
    made = overlay(board, folder / "overlay")
    (folder / "runs").mkdir()
    vivado = Vivado(folder / "runs", **how)
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
    assert memory == [(0, f"0x{design.memory_ranges[0][2]:X}")]
    assert f'BASEVALUE="0x{design.base:08X}"' in made.hwh.read_text()


def test_everything_runs_on_one_clock(tmp_path: Path) -> None:
    made, vivado = built("zcu104", tmp_path)
    clocks = [sink for sink, source in vivado.nets.items() if source.endswith("pl_clk0")]
    assert len(clocks) == 7
    assert vivado.nets["accelerator/aresetn"] == "reset_0/peripheral_aresetn"
    values = vivado.properties[made.design.ps]
    assert values["CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == "100"
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
        ({"slack_ns": -0.25}, r"timing fails by 0\.25 ns at 100\.000 MHz"),
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
