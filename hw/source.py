"""CALC's source side: from taps that issue to masked activations at the array."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign import isa, latency
from codesign.arch import Arch
from codesign.isa import EXTENT
from hw.act import row_bits
from hw.delay import delay
from hw.memories import any_of, fields_layout
from hw.sequencer import FrontConfig
from hw.walk import GridWalker, add_banks

_TAP, _ROWS, _WORDS = latency.TAP_READ, latency.ACT_ADDRESS - 1, latency.ACT_READ - 2
"""Cycles after a tap's issue: its entry is known; its rows go to ACT; ACT's words come back."""
_COORDINATES = latency.ACT_READ - 3
"""Cycles after a tap's issue: lane 0's coordinates meet the tap's offsets."""
_PIXEL = EXTENT + 1
"""Bits of a coordinate with an offset of a tap; one below 0 looks like one beyond every map. Lines
beyond 2**EXTENT wrap here: they are never written.
"""


class Limits(data.StructLayout):
    """What the range check needs of a tap: offsets, then extents of the plane that it reads."""

    def __init__(self) -> None:
        super().__init__({"dy": 8, "dx": 8, "height": EXTENT, "width": EXTENT, "pad": 8})


class Source(Component):
    """Reads ACT for each tap, turns lane p to bank p + offset, skews lanes, masks what is outside.

    Time: ``acts`` of lane p come ``latency.ACT_READ`` + (p // D) * k cycles after the tap's issue;
    the slot's signals show one cycle after the issue, ``tap`` TAP_READ cycles after it.

    Ports
    -----
    start, y_start:
        An instruction starts; its first line.
    config, group_start, valid, row:
        Of the sequencer (``FrontConfig``, ``Taps``).
    tap:
        Entry of the tap.
    regions, rows, words:
        Request to ACT, and its answer.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        P, M = arch.pixels, arch.in_channels
        super().__init__({
            "start": In(1),
            "y_start": In(EXTENT),
            "config": In(FrontConfig(arch)),
            "group_start": In(1),
            "valid": In(1),
            "row": In(row_bits(arch)),
            "tap": In(fields_layout(isa.TAP_ENTRY)),
            "regions": Out(arch.regions),
            "rows": Out(data.ArrayLayout(row_bits(arch), P)),
            "words": In(data.ArrayLayout(8 * M, P)),
            "acts": Out(data.ArrayLayout(8 * M, P)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch = self.arch
        offset = self._request(m)
        coordinates = self._coordinates(m)
        limits = self._limits(m)
        turned = self._turn(m, offset)
        for block in range(arch.pixels // arch.drain):
            skew = 0 if block == 0 else arch.planes
            limits = [
                delay(m, part, skew, name=f"limit{i}_{block}") for i, part in enumerate(limits)
            ]
            for d in range(arch.drain):
                lane = block * arch.drain + d
                inside = self._inside(m, lane, *coordinates[block](d), limits)
                word = delay(m, turned[lane], block * arch.planes, name=f"turned{lane}")
                act = Signal(8 * arch.in_channels, name=f"act{lane}", reset_less=True)
                pad = limits[2].replicate(arch.in_channels)
                m.d.sync += act.eq(Mux(inside, word, pad))
                m.d.comb += self.acts[lane].eq(act)
        return m

    def _request(self, m):
        """Rows of all banks, in the region's next row for banks below the offset; the offset."""
        arch, config = self.arch, self.config
        row = delay(m, self.row, _TAP - 1, name="group_row")
        bank = delay(m, config.src_bank, _TAP - 1, name="src_bank")
        offset = Signal.like(bank, name="offset", reset_less=True)
        carry = Signal(reset_less=True)
        moved = Signal(row_bits(arch), reset_less=True)
        total, carried = add_banks(m, bank, self.tap.bank[: len(bank)], arch.pixels, "offset")
        m.d.sync += [offset.eq(total), carry.eq(carried), moved.eq(row + self.tap.row)]
        for b in range(arch.pixels):
            below = b < offset
            register = Signal(row_bits(arch), name=f"row{b}", reset_less=True)
            m.d.sync += register.eq(moved + Cat(carry ^ below, carry & below))
            m.d.comb += self.rows[b].eq(register)
        region = delay(m, config.src_region, _ROWS - 2, name="src_region")
        valid = Signal(_ROWS - 2)
        regions = Signal(arch.regions)
        m.d.sync += [
            valid.eq((valid << 1) | self.valid),
            regions.eq(Cat(valid[-1] & (region == r) for r in range(arch.regions))),
        ]
        m.d.comb += self.regions.eq(regions)
        return delay(m, offset, _WORDS - _TAP - 1, name="offset")

    def _turn(self, m, offset):
        """Lane p's word out of bank (p + offset) mod P."""
        P = self.arch.pixels
        words = [self.words[b] for b in range(P)]
        lanes = []
        for p in range(P):
            word = Signal(8 * self.arch.in_channels, name=f"lane{p}", reset_less=True)
            m.d.sync += word.eq(Array(words[(p + b) % P] for b in range(P))[offset])
            lanes.append(word)
        return lanes

    def _coordinates(self, m):
        """For each lane block a function from pixel to registers with its y and x.

        The walker stands at a block's pixels when the block's group begins, and then steps.
        """
        arch = self.arch
        blocks = arch.pixels // arch.drain
        walker = m.submodules.walker = GridWalker(arch)
        begin = Signal((blocks - 1) * arch.planes + _COORDINATES - 2)
        begins = Cat(self.group_start, begin)
        m.d.sync += begin.eq(begins)
        m.d.comb += [
            walker.load.eq(self.start),
            walker.y_start.eq(self.y_start),
            walker.span.eq(self.config.span),
            walker.step.eq(any_of([begins[j * arch.planes] for j in range(blocks)])),
        ]
        y = delay(m, walker.y, _COORDINATES - 2, name="walker_y")
        x = delay(m, walker.x, _COORDINATES - 2, name="walker_x")

        def registers(block):
            latch = begins[block * arch.planes + _COORDINATES - 2]
            held = {}
            for d in range(arch.drain):
                lane = block * arch.drain + d
                held[d] = tuple(
                    Signal(EXTENT, name=f"{name}{lane}", reset_less=True) for name in "yx"
                )
                with m.If(latch):
                    m.d.sync += [held[d][0].eq(y[d]), held[d][1].eq(x[d])]
            return held.__getitem__

        return [registers(block) for block in range(blocks)]

    def _limits(self, m):
        """Offsets, extents and pad of a tap, each in the cycle in which lane block 0 needs it."""
        config, tap = self.config, self.tap
        height, width, pad = (
            delay(m, value, _TAP - 1, name=name)
            for name, value in (
                ("in_height", config.in_height),
                ("in_width", config.in_width),
                ("pad", config.pad),
            )
        )
        extents = Signal(2 * EXTENT, name="extents", reset_less=True)
        m.d.sync += extents.eq(Cat((height - tap.short_y)[:EXTENT], (width - tap.short_x)[:EXTENT]))
        wait = _COORDINATES - _TAP
        return [
            delay(m, Cat(tap.dy, tap.dx), wait, name="offsets"),
            delay(m, extents, wait, name="extents"),
            delay(m, pad, wait + 2, name="pad"),
        ]

    def _inside(self, m, lane, y, x, limits):
        """Whether the lane reads inside the map, two cycles after its coordinates."""
        offsets, extents, _ = limits
        inside = Signal(name=f"inside{lane}", reset_less=True)
        checks = []
        for i, (name, value) in enumerate((("y", y), ("x", x))):
            position = Signal(_PIXEL, name=f"{name}_read{lane}", reset_less=True)
            m.d.sync += position.eq(value + offsets.word_select(i, 8).as_signed())
            checks.append(position < extents.word_select(i, EXTENT))
        m.d.sync += inside.eq(checks[0] & checks[1])
        return inside
