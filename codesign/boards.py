"""Boards as data: the part, its clock and ports, memory, and what runs on the board's image.

Generator, simulated board and command line read the same table; nothing of it changes the logic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MIB, GIB = 1 << 20, 1 << 30
_MOST_DIVISOR = 63
"""Both divisors behind a PLL have six bits (UG585 and UG1085, registers FPGA0_CLK_CTRL and
PL0_REF_CTRL)."""
_TOLERANCE = 1e-4
"""A seventh of 1000 MHz is meant by 142.857."""


@dataclass(frozen=True)
class Resources:
    """What a part offers; ``ramb36`` are block memories of 36 Kbit, ``uram`` of 288 Kbit."""

    lut: int
    ff: int
    dsp: int
    ramb36: int
    uram: int = 0


@dataclass(frozen=True)
class Part:
    """An FPGA die. ``family`` is Yosys' name: xc7 (7 Series) or xcup (UltraScale+)."""

    family: str
    resources: Resources


@dataclass(frozen=True)
class Processor:
    """The hard processing system beside the logic, as a block design names it.

    Parameters
    ----------
    ip, cell:
        Name and version of Vivado's IP, and of the cell in the block design.
    control, memory:
        The port that reaches the accelerator's registers, and the one through which the
        accelerator reaches DRAM.
    memory_bits:
        Data width of ``memory``; ``codesign.arch.Arch.dma_bits`` of an accelerator behind it.
    base:
        Address of the accelerator's registers behind ``control``.
    pll_mhz:
        IO PLL after the board's boot image has set it up: the source of the logic's clock.
    """

    ip: str
    version: str
    cell: str
    control: str
    memory: str
    memory_bits: int
    base: int
    pll_mhz: float


@dataclass(frozen=True)
class Clock:
    """The logic's clock, and the two divisors that make it of the PLL's."""

    first: int
    second: int
    mhz: float


@dataclass(frozen=True)
class Board:
    """A board that PYNQ runs on.

    Parameters
    ----------
    name:
        As a user names it.
    die, package, grade:
        The part and its speed and temperature grade, as ``device`` spells them.
    preset:
        Name of the architecture made for it.
    dram_bytes:
        Memory of the processing system.
    vivado:
        Pattern of Vivado's board files, where they are installed.
    python, pynq:
        Versions on the board's image.
    """

    name: str
    die: str
    package: str
    grade: str
    part: Part
    processor: Processor
    preset: str
    dram_bytes: int
    vivado: str
    python: str
    pynq: str

    @property
    def device(self) -> str:
        """The part with package and grade, as Vivado names it."""
        dash = "" if self.part.family == "xc7" else "-"
        return f"{self.die}{dash}{self.package}-{self.grade}"

    def clock(self, mhz: float) -> Clock:
        """The fastest clock that is not above ``mhz``; ``ValueError`` below the slowest."""
        pll = self.processor.pll_mhz
        divisor = math.ceil(pll / mhz * (1 - _TOLERANCE))
        for product in range(divisor, _MOST_DIVISOR**2 + 1):
            for second in range(1, _MOST_DIVISOR + 1):
                if product % second == 0 and product // second <= _MOST_DIVISOR:
                    return Clock(product // second, second, pll / product)
        raise ValueError(
            f"clock_mhz={mhz}: {self.name} makes no clock slower than "
            f"{pll / _MOST_DIVISOR**2:.3f} MHz"
        )


_ZYNQ = Processor(
    ip="processing_system7", version="5.5", cell="processing_system7_0",
    control="M_AXI_GP0", memory="S_AXI_HP0", memory_bits=64, base=0x43C0_0000, pll_mhz=1000.0,
)  # fmt: skip
"""PYNQ-Z1 and -Z2 have a crystal of 50 MHz and set the IO PLL to 20 times that (PYNQ's block
designs); ports and addresses: UG585."""
_ZYNQMP = Processor(
    ip="zynq_ultra_ps_e", version="3.5", cell="zynq_ultra_ps_e_0",
    control="M_AXI_HPM0_FPD", memory="S_AXI_HP0_FPD", memory_bits=128, base=0xA000_0000,
    pll_mhz=33.333 * 45,
)  # fmt: skip
"""All these boards have a crystal of 33.333 MHz and an IO PLL of 45 times that (PL0 at 99.999 MHz
behind 15, in PYNQ's and the vendors' block designs); ports and addresses: UG1085."""

# DS190 (Zynq-7000), DS891 (Zynq UltraScale+ MPSoC), DS987 (Kria K26).
_XC7Z020 = Part("xc7", Resources(lut=53_200, ff=106_400, dsp=220, ramb36=140))
_XCZU3EG = Part("xcup", Resources(lut=70_560, ff=141_120, dsp=360, ramb36=216))
_XCZU7EV = Part("xcup", Resources(lut=230_400, ff=460_800, dsp=1728, ramb36=312, uram=96))
_XCK26 = Part("xcup", Resources(lut=117_120, ff=234_240, dsp=1248, ramb36=144, uram=64))

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board("pynq-z1", "xc7z020", "clg400", "1", _XC7Z020, _ZYNQ, "pynq_z1", 512 * MIB,
              "*:pynq-z1:part0:*", "3.10", "3.1.2"),
        Board("pynq-z2", "xc7z020", "clg400", "1", _XC7Z020, _ZYNQ, "pynq_z2", 512 * MIB,
              "*:pynq-z2:part0:*", "3.10", "3.1.2"),
        Board("ultra96v2", "xczu3eg", "sbva484", "1-i", _XCZU3EG, _ZYNQMP, "ultra96v2", 2 * GIB,
              "*:ultra96v2:part0:*", "3.10", "3.1"),
        Board("aup-zu3", "xczu3eg", "sfvc784", "2-e", _XCZU3EG, _ZYNQMP, "aup_zu3", 8 * GIB,
              "*:aup-zu3-8gb:part0:*", "3.12", "4.0.0"),
        Board("zcu104", "xczu7ev", "ffvc1156", "2-e", _XCZU7EV, _ZYNQMP, "zcu104", 2 * GIB,
              "*:zcu104:part0:*", "3.12", "4.0.0"),
        Board("kv260", "xck26", "sfvc784", "2LV-c", _XCK26, _ZYNQMP, "kv260", 4 * GIB,
              "*:kv260_som:part0:*", "3.10", "3.0.1"),
    )
}  # fmt: skip


def board(name: str) -> Board:
    """The board of that name; ``ValueError`` lists the names there are."""
    try:
        return BOARDS[name]
    except KeyError:
        raise ValueError(
            f"no board is called {name!r}; there are {', '.join(sorted(BOARDS))}"
        ) from None
