"""The processing systems of Zynq-7000 and Zynq UltraScale+: registers that PYNQ's client touches.

Reset values are those of a booted board: clocks run, every divisor is above zero. Addresses and
fields: Zynq-7000 TRM (UG585, appendix B.28) and Zynq UltraScale+ register reference (UG1087).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.boards import Clock
from sim.board.errors import BoardError

_DIVISOR_BITS = 6


@dataclass(frozen=True)
class ClockField:
    """Bit offsets in a PL clock's control register; ``active`` are the bits that let it run.

    Source 0 is the IO PLL.
    """

    active: int
    source: int
    source_bits: int
    divisor0: int
    divisor1: int


@dataclass(frozen=True)
class Soc:
    """A family of processing systems.

    Parameters
    ----------
    machine:
        What Linux calls its processors.
    registers:
        Address -> value after boot.
    pl_clocks:
        Addresses of the PL clocks' control registers, with their fields.
    plls:
        Address of the PLL's control register for each value of a clock's source field.
    feedback, halved:
        Bit offsets of a PLL's multiplier (7 bits) and of "divide by two"; None where there is none.
    reference_mhz:
        Clock that the PLLs multiply.
    pl_window:
        First and last address that reach the programmable logic.
    gpio_chip, gpio_pins:
        Number of the first pin of the processing system's GPIO in Linux, and how many there are.
    """

    machine: str
    registers: Mapping[int, int]
    pl_clocks: tuple[int, ...]
    field: ClockField
    plls: Mapping[int, int]
    feedback: int
    halved: int | None
    reference_mhz: float
    pl_window: tuple[int, int]
    gpio_chip: int
    gpio_pins: int


def _zynq() -> Soc:
    slcr = 0xF8000000
    clocks = tuple(slcr + offset for offset in (0x170, 0x180, 0x190, 0x1A0))
    arm, ddr, io = slcr + 0x100, slcr + 0x104, slcr + 0x108
    return Soc(
        machine="armv7l",
        registers={
            arm: 26 << 12,  # 1300 MHz
            ddr: 21 << 12,  # 1050 MHz
            io: 20 << 12,  # 1000 MHz
            slcr + 0x120: 0x1F000200,  # processors: ARM PLL / 2
            **dict.fromkeys(clocks, 2 << 20 | 5 << 8),  # 100 MHz
        },
        pl_clocks=clocks,
        field=ClockField(active=0, source=4, source_bits=2, divisor0=8, divisor1=20),
        plls={0: io, 1: io, 2: arm, 3: ddr},
        feedback=12,
        halved=None,
        reference_mhz=50.0,
        pl_window=(0x4000_0000, 0xBFFF_FFFF),
        gpio_chip=906,
        gpio_pins=118,
    )


def _zynq_ultrascale() -> Soc:
    crl, crf = 0xFF5E0000, 0xFD1A0000
    clocks = tuple(crl + offset for offset in (0xC0, 0xC4, 0xC8, 0xCC))
    io, rpll = crl + 0x20, crl + 0x30
    apll, dpll, vpll = crf + 0x20, crf + 0x2C, crf + 0x38
    ports = (*range(0xFD360000, 0xFD3C0000, 0x10000), 0xFF9B0000)
    return Soc(
        machine="aarch64",
        registers={
            io: 1 << 16 | 90 << 8,  # 1500 MHz
            rpll: 1 << 16 | 80 << 8,  # 1333 MHz
            apll: 1 << 16 | 72 << 8,  # 1200 MHz
            dpll: 1 << 16 | 64 << 8,  # 1067 MHz
            vpll: 1 << 16 | 90 << 8,  # 1500 MHz
            crf + 0x60: 0x03000100,  # processors: APLL
            **dict.fromkeys(clocks, 1 << 24 | 1 << 16 | 15 << 8),  # 100 MHz
            0xFD615000: 0xA00,  # widths of the masters to the PL, 128 bits
            0xFF419000: 0x200,
            **{port + offset: 0 for port in ports for offset in (0x0, 0x14)},  # of its slaves
        },
        pl_clocks=clocks,
        field=ClockField(active=1 << 24, source=0, source_bits=3, divisor0=8, divisor1=16),
        plls={0: io, 2: rpll, 3: dpll},
        feedback=8,
        halved=16,
        reference_mhz=33.333,
        pl_window=(0x8000_0000, 0xBFFF_FFFF),
        gpio_chip=338,
        gpio_pins=174,
    )


ZYNQ = _zynq()
ZYNQ_ULTRASCALE = _zynq_ultrascale()


class ProcessingSystem:
    """The registers of one booted processing system."""

    def __init__(self, soc: Soc) -> None:
        self._soc = soc
        self._values = dict(soc.registers)

    def __contains__(self, address: int) -> bool:
        return address in self._values

    def read(self, address: int) -> int:
        """The register at ``address``, one of those in ``Soc.registers``."""
        return self._values[address]

    def write(self, address: int, value: int) -> None:
        """Write the register at ``address``."""
        self._values[address] = value

    def set_pl_clock(self, index: int, clock: Clock) -> None:
        """Make PL clock ``index`` of the IO PLL with the divisors of ``clock``."""
        field, address = self._soc.field, self._soc.pl_clocks[index]
        divided = clock.first << field.divisor0 | clock.second << field.divisor1
        self._values[address] = field.active | divided

    def pl_clock_hz(self, index: int) -> float:
        """Frequency of PL clock ``index`` by its source and divisors.

        Raises
        ------
        BoardError
            Its registers hold a divisor of zero or a source that there is not.
        """
        field, value = self._soc.field, self._values[self._soc.pl_clocks[index]]
        source = value >> field.source & (1 << field.source_bits) - 1
        mask = (1 << _DIVISOR_BITS) - 1
        divisor = (value >> field.divisor0 & mask) * (value >> field.divisor1 & mask)
        if source not in self._soc.plls or not divisor:
            raise BoardError(f"PL clock {index} does not run: its register holds 0x{value:08X}")
        pll = self._values[self._soc.plls[source]]
        halved = self._soc.halved is not None and pll >> self._soc.halved & 1
        multiplier = (pll >> self._soc.feedback & 0x7F) / (2 if halved else 1)
        return 1e6 * self._soc.reference_mhz * multiplier / divisor
