"""An accelerator on a board: what block design, constraints and handoff file have in common."""

from __future__ import annotations

from dataclasses import dataclass, field

from codesign.arch import Arch
from codesign.boards import GIB, Board, Clock
from codesign.registers import ADDRESS_BITS, REGISTER_SPACE_BITS
from hw.build import MODULE

CONTROLLER = "axi_intc_0"
"""The interrupt controller, which pynq needs between an interrupt and the processing system."""
CELL = "accelerator"
SYSTEM = "system"
"""Name of the block design."""
HIGH_MEMORY = "HP0_DDR_HIGH"
"""Vivado's name of DRAM beyond 2 GiB."""
_LOW_BYTES = 2 * GIB
_HIGH_BASE = 0x8_0000_0000
"""DRAM of Zynq UltraScale+ beyond 2 GiB (UG1085, address map)."""


@dataclass(frozen=True)
class Design:
    """An accelerator on a board.

    Parameters
    ----------
    arch, board, verilog:
        The accelerator, where it goes, and its text.
    controller:
        Whether an interrupt controller stands between accelerator and processing system.
    identity:
        32-bit hash of everything that is written for the design; bitstream, handoff file and file
        names carry it. Zero while it is computed.

    Raises
    ------
    ValueError
        The accelerator's data bus is wider than the board's memory port, or the board makes no
        clock as slow as the architecture's.
    """

    arch: Arch
    board: Board
    verilog: str = field(repr=False)
    controller: bool = True
    identity: int = 0

    def __post_init__(self) -> None:
        port = self.board.processor
        if self.arch.dma_bits > port.memory_bits:
            raise ValueError(
                f"dma_bits={self.arch.dma_bits}: port {port.memory} of {self.board.name} has "
                f"{port.memory_bits} data bits; set dma_bits to {port.memory_bits}"
            )
        self.board.clock(self.arch.clock_mhz)

    @property
    def name(self) -> str:
        """Stem of all file names."""
        preset = self.arch.name == self.board.preset
        arch = "" if preset else f"_{self.arch.name}"
        return f"codesign_{self.board.name}{arch}_{self.identity:08x}"

    @property
    def system(self) -> str:
        return SYSTEM

    @property
    def module(self) -> str:
        """The accelerator's Verilog module."""
        return MODULE

    @property
    def cell(self) -> str:
        return CELL

    @property
    def ps(self) -> str:
        return self.board.processor.cell

    @property
    def zynq7000(self) -> bool:
        return self.board.part.family == "xc7"

    @property
    def clock(self) -> Clock:
        """The board's clock nearest below the architecture's."""
        return self.board.clock(self.arch.clock_mhz)

    @property
    def clock_source(self) -> tuple[str, str]:
        return self.ps, "FCLK_CLK0" if self.zynq7000 else "pl_clk0"

    @property
    def reset_source(self) -> tuple[str, str]:
        return self.ps, "FCLK_RESET0_N" if self.zynq7000 else "pl_resetn0"

    @property
    def ps_interrupt(self) -> str:
        return "IRQ_F2P" if self.zynq7000 else "pl_ps_irq0"

    @property
    def interrupt_sink(self) -> tuple[str, str]:
        """Where the accelerator's interrupt goes."""
        return (CONTROLLER, "intr") if self.controller else (self.ps, self.ps_interrupt)

    @property
    def base(self) -> int:
        """Address of the accelerator's registers."""
        return self.board.processor.base

    @property
    def address_bits(self) -> int:
        """Width of the addresses that reach DRAM: the ports of Zynq-7000 drop the upper ones."""
        return 32 if self.zynq7000 else ADDRESS_BITS

    @property
    def controller_base(self) -> int:
        return self.base + 0x1_0000

    @property
    def register_bytes(self) -> int:
        """Bytes that the register file decodes; the interrupt controller's fit in as many."""
        return 1 << REGISTER_SPACE_BITS

    @property
    def memory_ranges(self) -> tuple[tuple[str, int, int], ...]:
        """(name, first address, bytes) of the DRAM behind the memory port, by Vivado's names.

        Vivado takes ranges that are powers of two: ``HIGH_MEMORY`` it assigns whole.
        """
        size = self.board.dram_bytes
        if self.zynq7000:
            return (("HP0_DDR_LOWOCM", 0, size),)
        low = ("HP0_DDR_LOW", 0, min(size, _LOW_BYTES))
        high = (HIGH_MEMORY, _HIGH_BASE, size - _LOW_BYTES)
        return (low, high) if size > _LOW_BYTES else (low,)

    def describe(self) -> dict[str, object]:
        """What a simulated board must know to stand for this design."""
        return {
            "board": self.board.name,
            "arch": self.arch.to_dict(),
            "fingerprint": self.arch.fingerprint,
            "design_id": self.identity,
            "clock_mhz": self.clock.mhz,
            "registers": self.base,
            "address_bits": self.address_bits,
        }
