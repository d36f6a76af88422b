"""The README beside an overlay's files."""

from __future__ import annotations

import textwrap
from pathlib import Path

from bitstreams import open_flow
from bitstreams.design import CONTROLLER, Design
from bitstreams.memories import activation_urams, activations_in_uram
from codesign.boards import MIB

_TEXT = """\
    # {name}

    Accelerator `{arch.name}` on {board.name} ({board.device}), design id `{identity}`.

    | what | |
    |---|---|
    | multiply-accumulates per cycle | {macs} |
    | clock | {clock:.3f} MHz = {pll:.3f} MHz / {divisors}; asked for {arch.clock_mhz:g} MHz |
    | registers | 0x{base:08X}, {register_bytes} bytes, on {processor.control} |
    | interrupt | {interrupt} |
    | DRAM | {processor.memory}, {arch.dma_bits} bits, {dram} MiB |
    | activation memories | {activations} |
    | fingerprint of the architecture | `0x{arch.fingerprint:08x}` |

    ## Files

    | file | what |
    |---|---|
    {files}
    | `{name}.hwh` | what pynq reads; it lies beside the bitstream under the same name |
    | `simulated/` | the pair for the simulated board; no real board takes it |

    ## Build

    {build}

    ## Use

    Copy `{name}.bit` and `{name}.hwh` to the board (Python {board.python}, pynq {board.pynq}):

        from pynq import Overlay
        overlay = Overlay("{name}.bit")
        overlay.accelerator

    The hash in the names is that of the Verilog and of all files here, so that no board runs an old
    bitstream under a new name.
    """


_VIVADO_FILES = (
    ("v", "the accelerator, module `{module}`"),
    ("tcl", "Vivado: block design, implementation, bitstream"),
    ("xdc", "constraints; they put the design id into the bitstream's USR_ACCESS"),
)
_OPEN_FILES = (
    ("v", "accelerator and processing system, module `codesign_zynq`, which has no pins"),
    ("ys", "Yosys: synthesis"),
)
_VIVADO_BUILD = """\
        vivado -mode batch -source {name}.tcl

    writes the bitstream here, with reports of resources and timing; it stops where timing fails.
    Vivado 2024.1 or newer. `make bitstream BOARD={board}` in the project does all of this.
    Vivado's project, a folder beside these files, holds a handoff file of its own for the same
    design.
"""
_OPEN_BUILD = """\
    With CHIPDB, the part's file for nextpnr-xilinx, and DATABASE, Project X-Ray's:

    {commands}

    The last file becomes the bitstream when `codesign overlay --flow open --build` has put the
    design id into it. Slower than what Vivado makes: look at the clock that nextpnr reports.
    pynq finds no interrupt controller in this design, so that drivers poll.
"""


def build_command(design: Design) -> str:
    """How to build by hand, as Markdown."""
    if design.controller:
        return textwrap.dedent(_VIVADO_BUILD).format(name=design.name, board=design.board.name)
    commands = open_flow.commands(design, Path("CHIPDB"), Path("DATABASE"))
    lines = "\n".join("    " + " ".join(command) for command in commands)
    return textwrap.dedent(_OPEN_BUILD).format(commands=lines)


def readme(design: Design) -> str:
    """The page's text."""
    board, clock, arch = design.board, design.clock, design.arch
    uram = activations_in_uram(arch, board.part)
    files = _VIVADO_FILES if design.controller else _OPEN_FILES
    table = "\n".join(
        f"| `{design.name}.{suffix}` | {what.format(module=design.module)} |"
        for suffix, what in files
    )
    line = f"level, to {design.ps_interrupt}"
    if design.controller:
        line += f" through `{CONTROLLER}` at 0x{design.controller_base:08X}"
    return textwrap.dedent(_TEXT).format(
        name=design.name,
        arch=arch,
        board=board,
        processor=board.processor,
        identity=f"0x{design.identity:08x}",
        macs=f"{arch.pixels} x {arch.in_channels} x {arch.out_channels} = {arch.macs_per_cycle}",
        clock=clock.mhz,
        pll=board.processor.pll_mhz,
        divisors=clock.first * clock.second,
        base=design.base,
        register_bytes=design.register_bytes,
        interrupt=line,
        dram=board.dram_bytes // MIB,
        activations=f"{activation_urams(arch)} UltraRAMs" if uram else "block memories",
        files=table,
        build=build_command(design).rstrip(),
    )
