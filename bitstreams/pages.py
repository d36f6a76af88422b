"""The README of each board's folder: ``python -m bitstreams.pages`` writes them."""

from __future__ import annotations

from pathlib import Path

from bitstreams.design import CONTROLLER, Design
from bitstreams.memories import activation_urams, activations_in_uram
from codesign.arch import preset
from codesign.boards import BOARDS, MIB, Board
from codesign.report.marks import replace_between

ROOT = Path(__file__).parent
BEGIN = "<!-- made by python -m bitstreams.pages -->"
END = "<!-- end -->"


def facts(board: Board) -> str:
    """Parts, clocks, ports and how to build, as Markdown."""
    arch, resources, processor = preset(board.preset), board.part.resources, board.processor
    design = Design(arch, board, "")
    clock = design.clock
    uram = f", {resources.uram} URAM" if resources.uram else ""
    place = "block memory"
    if activations_in_uram(arch, board.part):
        place = f"{activation_urams(arch)} UltraRAMs"
    rows = [
        ("part", f"{board.device}: {resources.lut:,} LUT, {resources.ff:,} FF, "
         f"{resources.dsp:,} DSP, {resources.ramb36} RAMB36{uram}"),
        ("PYNQ image", f"pynq {board.pynq}, Python {board.python}"),
        ("preset", f"`{arch.name}`: {arch.pixels} pixels x {arch.in_channels} x "
         f"{arch.out_channels} channels = {arch.macs_per_cycle:,} multiply-accumulates per cycle"),
        ("on chip", f"{arch.act_bytes // 1024:,} KiB of maps in {place}, "
         f"{arch.wgt_bytes // 1024:,} KiB of weights"),
        ("clock", f"{clock.mhz:.3f} MHz: IO PLL ({processor.pll_mhz:.3f} MHz) / "
         f"{clock.first * clock.second}; wanted {arch.clock_mhz:g} MHz. Accelerator and "
         "interconnect have no other"),
        ("registers", f"0x{design.base:08X}, {design.register_bytes} bytes, behind "
         f"{processor.control}"),
        ("interrupt", f"level; through `{CONTROLLER}` at 0x{design.controller_base:08X} to "
         f"{design.ps_interrupt}"),
        ("DRAM", f"{board.dram_bytes // MIB:,} MiB behind {processor.memory}, "
         f"{arch.dma_bits} bits wide"),
    ]  # fmt: skip
    lines = ["| what | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows), ""]
    lines += [
        f"    codesign overlay --board {board.name} -o build/overlays/{board.name}",
        f"    make bitstream BOARD={board.name}          # the same, and Vivado",
    ]
    if board.part.family == "xc7":
        lines += [
            f"    make bitstream BOARD={board.name} FLOW=open CHIPDB=xc7z020.bin XRAY=prjxray-db",
            "",
            "The last one takes Yosys, nextpnr-xilinx and Project X-Ray instead, with the",
            "processing system as an instance in the Verilog and no interrupt controller.",
        ]
    return "\n".join(lines)


def page(board: Board, old: str) -> str:
    """The page with its facts replaced.

    Raises
    ------
    ValueError
        The page does not have both marks.
    """
    return replace_between(old, BEGIN, END, facts(board), name=f"the page of {board.name}")


def path(board: Board) -> Path:
    return ROOT / board.name / "README.md"


def main() -> None:
    """Write all pages."""
    for board in BOARDS.values():
        file = path(board)
        file.write_text(page(board, file.read_text()))


if __name__ == "__main__":
    main()
