"""Address walkers: they follow grid pixels and their places in a map without multiplying."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from codesign.isa import EXTENT
from hw.act import bank_bits, row_bits


def add_banks(m: Module, a, b, pixels: int, name: str):
    """(a + b) mod P and whether it carries into the row, for banks a and b below P."""
    total = Signal(len(a) + 1, name=f"{name}_total")
    reduced = Signal(signed(len(a) + 2), name=f"{name}_reduced")
    m.d.comb += [total.eq(a + b), reduced.eq(a + b - pixels)]
    carry = ~reduced[-1]
    return Mux(carry, reduced, total)[: len(a)], carry


LINE = EXTENT + 1
"""Bits of a grid line's number: the top one stays set from line 2**EXTENT on, beyond every map."""


class GridWalker(Component):
    """(y, x) of D consecutive grid pixels.

    ``load`` sets them to the first D pixels of line ``y_start``, ``step`` moves each on by D;
    ``load`` wins. One line end at most lies within a step, for the grid is at least D wide.

    Time: new coordinates in the cycle after ``load`` or ``step``. A step may follow in every cycle.

    Ports
    -----
    span:
        Width of the grid less D.
    loaded, moved, wrapped, odd_y, odd_x:
        How the coordinates came about: by ``load``, by ``step``, with a line end; the parities
        are those before the step.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        D = arch.drain
        super().__init__({
            "load": In(1),
            "step": In(1),
            "y_start": In(EXTENT),
            "span": In(EXTENT),
            "y": Out(data.ArrayLayout(LINE, D)),
            "x": Out(data.ArrayLayout(EXTENT, D)),
            "loaded": Out(1),
            "moved": Out(1),
            "wrapped": Out(D),
            "odd_y": Out(D),
            "odd_x": Out(D),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.loaded.eq(self.load), self.moved.eq(self.step & ~self.load)]
        for d in range(self.arch.drain):
            y, x = self.y[d], self.x[d]
            beyond = Signal(signed(EXTENT + 1), name=f"beyond{d}")
            below = Signal(LINE, name=f"below{d}")
            m.d.comb += [beyond.eq(x - self.span), below.eq(y[:EXTENT] + 1)]
            wrap = ~beyond[-1]
            with m.If(self.load):
                m.d.sync += [y.eq(self.y_start), x.eq(d)]
            with m.Elif(self.step):
                m.d.sync += [
                    x.eq(Mux(wrap, beyond, x + self.arch.drain)),
                    y.eq(Mux(wrap, Cat(below[:EXTENT], y[EXTENT] | below[EXTENT]), y)),
                    self.wrapped[d].eq(wrap),
                    self.odd_y[d].eq(y[0]),
                    self.odd_x[d].eq(x[0]),
                ]
        return m


class MapBanks(data.StructLayout):
    """Configuration that a ``MapWalker`` uses in the cycle of the coordinates."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"bank": bank_bits(arch), "pitch_bank": bank_bits(arch), "split": 1})


class MapRows(data.StructLayout):
    """Configuration that a ``MapWalker`` uses one cycle later."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"row": row_bits(arch), "pitch_row": row_bits(arch)})


class MapWalker(Component):
    """Places of the D pixels at which a ``GridWalker`` stands, in a linear or phase-split map.

    The line's first pixel and the column are counted in bank and row each, and added; the row
    follows the bank one cycle later, so that no carry passes from one to the other in a cycle.

    Time: a place comes PLACE cycles after its coordinates. The configuration for coordinates of
    cycle t is taken in the cycles given below.

    Ports
    -----
    y, x, loaded, moved, wrapped, odd_y, odd_x:
        Of the ``GridWalker``.
    first_block:
        The step is for output block 0; without it the place is ``plane_rows`` behind the last.
    banks, rows, phase_rows, plane_rows:
        Taken in cycle t, t + 1, t + 2 and t + 3.
    bank, row:
        Of each pixel.
    """

    PLACE = 5

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        D, row = arch.drain, row_bits(arch)
        super().__init__({
            "y": In(data.ArrayLayout(LINE, D)),
            "x": In(data.ArrayLayout(EXTENT, D)),
            "loaded": In(1),
            "moved": In(1),
            "wrapped": In(D),
            "odd_y": In(D),
            "odd_x": In(D),
            "first_block": In(1),
            "banks": In(MapBanks(arch)),
            "rows": In(MapRows(arch)),
            "phase_rows": In(row),
            "plane_rows": In(row),
            "bank": Out(data.ArrayLayout(bank_bits(arch), D)),
            "row": Out(data.ArrayLayout(row, D)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        plane = self._plane_rows(m)
        for d in range(self.arch.drain):
            line, column = self._banks(m, d), self._columns(m, d)
            row = self._rows(m, d, line, column)
            bank, carry = add_banks(m, line[0], column[0], self.arch.pixels, f"sum{d}")
            registers = [Signal.like(line[0], name=f"bank{d}_{i}", reset_less=True) for i in "3456"]
            carried = Signal(name=f"carried{d}", reset_less=True)
            m.d.sync += [registers[0].eq(bank), carried.eq(carry)]
            m.d.sync += [b.eq(a) for a, b in pairwise(registers)]
            pixel, phases, total = (
                Signal.like(row[0], name=f"{name}{d}", reset_less=True)
                for name in ("pixel_row", "phase_row", "row_in_plane")
            )
            phase_x, phase_y = self._phase(m, d)
            m.d.sync += [
                pixel.eq(row[0] + row[1] + carried),
                phases.eq(
                    Mux(phase_x, self.phase_rows, 0) + (Mux(phase_y, self.phase_rows, 0) << 1)
                ),
                total.eq(pixel + phases),
                self.row[d].eq(total + plane),
            ]
            m.d.comb += self.bank[d].eq(registers[-1])
        return m

    def _plane_rows(self, m):
        """Rows from block 0 to the block of a step, in time for the last sum."""
        if self.arch.planes == 1:
            return 0
        first, plane = self.first_block, Signal(row_bits(self.arch), reset_less=True)
        for i in range(3):
            later = Signal(name=f"first_block{i}", reset_less=True)
            m.d.sync += later.eq(first)
            first = later
        m.d.sync += plane.eq(Mux(first, 0, plane + self.plane_rows))
        return plane

    def _advances(self, d):
        return self.moved & self.wrapped[d] & (~self.banks.split | self.odd_y[d])

    def _banks(self, m, d):
        """Bank of the line's first pixel, and with it: it carries, it is loaded, it advances."""
        bank = Signal(bank_bits(self.arch), name=f"line_bank{d}", reset_less=True)
        flags = Signal(3, name=f"line_flags{d}", reset_less=True)
        advances = self._advances(d)
        after, carry = add_banks(m, bank, self.banks.pitch_bank, self.arch.pixels, f"line{d}")
        m.d.sync += flags.eq(Cat(carry & advances, self.loaded, advances))
        with m.If(self.loaded):
            m.d.sync += bank.eq(self.banks.bank)
        with m.Elif(advances):
            m.d.sync += bank.eq(after)
        return bank, flags

    def _columns(self, m, d):
        """Bank of the column, and with it: it carries, it starts at the line's first row."""
        D, split = self.arch.drain, self.banks.split
        bank = Signal(bank_bits(self.arch), name=f"column_bank{d}", reset_less=True)
        flags = Signal(2, name=f"column_flags{d}", reset_less=True)
        step = Signal(range(D + 1), name=f"column_step{d}")
        m.d.comb += step.eq(Mux(split, self._split_step(d), D))
        starts = self.loaded | (self.moved & self.wrapped[d])
        if self.arch.pixels == D and D % 2:  # a step keeps the bank: it goes on by a row, or stays
            after, carry = bank, step[0]
        else:
            after, carry = add_banks(m, bank, step, self.arch.pixels, f"column{d}")
        m.d.sync += flags.eq(Cat(carry & self.moved & ~starts, starts))
        with m.If(starts):
            x = Mux(self.loaded, d, self.x[d])
            first = (d >> 1) + (d & 1) * self.arch.phase_skew  # split lines end with a step
            m.d.sync += bank.eq(Mux(split, first, x))
        with m.Elif(self.moved):
            m.d.sync += bank.eq(after)
        return bank, flags

    def _split_step(self, d):
        """Pixels from x to x + D in a split line, at (x >> 1) + (x & 1) * phase_skew each.

        An odd D changes the parity: all of the way is gone from even to odd, for D > 1.
        """
        D, odd = self.arch.drain, self.odd_x[d]
        if D % 2 == 0:
            return D // 2
        return odd if D == 1 else Mux(odd, 0, D)

    def _rows(self, m, d, line, column):
        """Rows of line and column, one cycle behind their banks."""
        line_row = Signal(row_bits(self.arch), name=f"line_row{d}", reset_less=True)
        column_row = Signal.like(line_row, name=f"column_row{d}", reset_less=True)
        line_carry, loaded, advances = line[1]
        column_carry, starts = column[1]
        pitch = Mux(advances, self.rows.pitch_row, 0)
        m.d.sync += line_row.eq(Mux(loaded, self.rows.row, line_row + pitch + line_carry))
        m.d.sync += column_row.eq(Mux(starts, 0, column_row + column_carry))
        return line_row, column_row

    def _phase(self, m, d):
        """Parities of x and y of a split map, in the cycle in which their rows are added."""
        parities = Signal(2, name=f"parities{d}", reset_less=True)
        later = Signal.like(parities, name=f"parities_later{d}", reset_less=True)
        both = Cat(self.x[d][0], self.y[d][0])
        m.d.sync += [parities.eq(Mux(self.banks.split, both, 0)), later.eq(parities)]
        return later[0], later[1]
