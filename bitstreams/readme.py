"""The README beside an overlay's files."""

from __future__ import annotations

import textwrap

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
    | interrupt controller | `{controller_cell}`, 0x{controller:08X}; to {interrupt} |
    | DRAM | {processor.memory}, {arch.dma_bits} bits, {dram} MiB |
    | activation memories | {activations} |
    | fingerprint of the architecture | `0x{arch.fingerprint:08x}` |

    ## Files

    | file | what |
    |---|---|
    | `{name}.v` | the accelerator, module `{module}` |
    | `{name}.tcl` | Vivado: block design, implementation, bitstream |
    | `{name}.xdc` | constraints; they put the design id into the bitstream's USR_ACCESS |
    | `{name}.hwh` | what pynq reads; it lies beside the bitstream under the same name |
    | `simulated/` | the pair for the simulated board; no real board takes it |

    ## Build

        {build}

    writes the bitstream here, with reports of resources and timing; it stops where timing fails.
    Vivado 2024.1 or newer. `make bitstream BOARD={board.name}` in the project does all of this.
    Vivado's project, a folder beside these files, holds a handoff file of its own for the same
    design.

    ## Use

    Copy `{name}.bit` and `{name}.hwh` to the board (Python {board.python}, pynq {board.pynq}):

        from pynq import Overlay
        overlay = Overlay("{name}.bit")
        overlay.accelerator

    The hash in the names is that of the Verilog and of all files here, so that no board runs an old
    bitstream under a new name.
    """


def build_command(design: Design) -> str:
    return f"vivado -mode batch -source {design.name}.tcl"


def readme(design: Design) -> str:
    """The page's text."""
    board, clock, arch = design.board, design.clock, design.arch
    uram = activations_in_uram(arch, board.part)
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
        controller=design.controller_base,
        controller_cell=CONTROLLER,
        interrupt=design.ps_interrupt,
        dram=board.dram_bytes // MIB,
        activations=f"{activation_urams(arch)} UltraRAMs" if uram else "block memories",
        module=design.module,
        build=build_command(design),
    )
