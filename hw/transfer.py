"""What LOAD, SAVE and FETCH share: the walks over DRAM in bursts and over words on chip."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from codesign import isa
from codesign.arch import TABLE_ENTRIES, TAP_ENTRY_BITS, Arch
from codesign.isa import BANK, Base, Opcode, Target
from codesign.latency import BURST_BEATS
from codesign.registers import ADDRESS_BITS, ALIGNMENT
from hw.axi import Burst
from hw.counting import add_carry, count_up

_HALF = ADDRESS_BITS // 2
"""Sums of addresses take two cycles, half by half, so that no carry chain is longer than eight
levels of logic.
"""
ONCHIP_BITS = 20
"""Width of on-chip addresses in LOAD and SAVE."""
ALIGNMENT_BITS = ALIGNMENT.bit_length() - 1
"""Low bits of DRAM offsets, strides and bases: zero."""


class Buffers(data.ArrayLayout):
    """Address and size of the buffers in DRAM, in the order of ``isa.Base``."""

    def __init__(self) -> None:
        super().__init__(data.StructLayout({"base": ADDRESS_BITS, "size": ADDRESS_BITS}), len(Base))


def memory_shape(arch: Arch, target: Target) -> tuple[int, int]:
    """Bytes of a word and number of addresses (ACT: rows) of the memory."""
    return {
        Target.ACT: (arch.act_word_bytes, arch.act_depth),
        Target.WGT: (arch.wgt_word_bytes, arch.wgt_depth),
        Target.PARAM: (arch.param_word_bytes, arch.param_depth),
        Target.TAP: (TAP_ENTRY_BITS // 8, arch.tap_depth),
        Target.TABLE: (1, arch.tables * TABLE_ENTRIES),
    }[target]


def beat_count(arch: Arch, target: Target, words):
    """Beats of a transfer row of so many words of the memory."""
    word_bytes, _ = memory_shape(arch, target)
    if word_bytes >= arch.beat_bytes:
        return words << (word_bytes // arch.beat_bytes - 1).bit_length()
    part = (arch.beat_bytes // word_bytes - 1).bit_length()
    return add_carry(words[part:], Const(0, len(words) - part), words[:part].any())


def _word_bits() -> int:
    return next(field.bits for field in isa.LAYOUTS[Opcode.LOAD] if field.name == "words")


def beats_bits(arch: Arch) -> int:
    """Width of the number of beats in a transfer row."""
    longest = max(memory_shape(arch, target)[0] for target in Target)
    return _word_bits() + max(1, longest // arch.beat_bytes).bit_length()


class Span(data.StructLayout):
    """``rows`` rows of ``beats`` beats, ``stride`` bytes apart, from ``base + offset``, all below
    ``base + size``.
    """

    def __init__(self, beats: int) -> None:
        super().__init__({
            "base": ADDRESS_BITS,
            "size": ADDRESS_BITS,
            "offset": 32,
            "stride": 32,
            "rows": 16,
            "beats": beats,
        })  # fmt: skip


class BurstWalk(Component):
    """Cuts a span into bursts that end at multiples of ``longest`` beats.

    The first burst is offered ``latency.burst_offer()`` cycles after the span is taken. Rows follow
    each other every 4 cycles, bursts every 3 at best: rows of 4 beats and more leave no gap on the
    bus. Each row is checked against ``size`` before its first burst; one that reaches beyond, or
    any of a buffer that ends beyond the last address, raises ``fault`` for one cycle and ends the
    walk. ``stop`` withholds further bursts.
    """

    def __init__(self, arch: Arch, beats: int, longest: int = BURST_BEATS) -> None:
        if longest & (longest - 1) or not 1 < longest <= BURST_BEATS:
            raise ValueError(f"longest={longest} is not a power of two in 2..{BURST_BEATS}")
        self._arch, self._beats, self._longest = arch, beats, longest
        super().__init__({
            "i": In(stream.Signature(Span(beats))),
            "o": Out(stream.Signature(Burst())),
            "room": In(1),
            "stop": In(1),
            "fault": Out(1),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        row = stream.Signature(ADDRESS_BITS).create()
        beats = Signal(self._beats)
        rows_busy, cut_busy, stopped = Signal(), Signal(), Signal()
        m.d.sync += stopped.eq(self.stop)
        self._rows(m, row, beats, rows_busy, stopped)
        self._cut(m, row, beats, cut_busy, stopped)
        m.d.comb += self.busy.eq(rows_busy | cut_busy)
        return m

    def _rows(self, m: Module, row, beats, busy, stopped) -> None:
        span = Signal(Span(self._beats))
        offset = Signal(ADDRESS_BITS + 1)
        rows = Signal(16)
        address, end, step = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS + 2), Signal(offset.shape())
        limit = Signal(ADDRESS_BITS + 1)
        carries = Signal(4)
        low_over, high_over, high_equal, over = Signal(), Signal(), Signal(), Signal()
        beat_shift = self._arch.beat_bytes.bit_length() - 1
        sums = (
            (address, span.base, offset),
            (end, Cat(Const(0, beat_shift), span.beats), offset),
            (step, span.stride, offset),
            (limit, span.base, span.size),
        )
        m.d.comb += [
            row.payload.eq(address),
            beats.eq(span.beats),
            over.eq(high_over | (high_equal & low_over)),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    span.eq(self.i.payload),
                    offset.eq(self.i.payload.offset),
                    rows.eq(self.i.payload.rows),
                ]
                with m.If(self.i.valid):
                    m.next = "LOW"
            with m.State("LOW"):
                for i, (total, a, b) in enumerate(sums):
                    low = _low(a) + _low(b)
                    m.d.sync += [total[:_HALF].eq(low), carries[i].eq(low[_HALF])]
                m.next = "HIGH"
            with m.State("HIGH"):
                for i, (total, a, b) in enumerate(sums):
                    m.d.sync += total[_HALF:].eq(add_carry(_high(a), _high(b), carries[i]))
                m.d.sync += low_over.eq(end[:_HALF] > _low(span.size))
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [
                    high_over.eq(
                        (end[_HALF:] > _high(span.size))
                        | (limit[ADDRESS_BITS] & limit[:ADDRESS_BITS].any())
                    ),
                    high_equal.eq(end[_HALF:] == _high(span.size)),
                ]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [row.valid.eq(~over & ~stopped), self.fault.eq(over & ~stopped)]
                with m.If(over | stopped):
                    m.next = "IDLE"
                with m.Elif(row.ready):
                    m.d.sync += [offset.eq(step), rows.eq(rows - 1)]
                    with m.If(rows == 1):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "LOW"
        m.d.comb += busy.eq(~fsm.ongoing("IDLE"))

    def _cut(self, m: Module, row, beats, busy, stopped) -> None:
        shift = self._arch.beat_bytes.bit_length() - 1
        bits = self._longest.bit_length() - 1
        middle = 16
        place = Signal(bits)
        block_low = Signal(middle)
        block_high = Signal(ADDRESS_BITS - shift - bits - middle)
        carry, borrow = Signal(), Signal()
        rest_low, rest_high = Signal(bits), Signal(self._beats - bits)
        less, more = Signal.like(rest_high), Signal()  # rest_high - 1; whether it is not zero
        until_block, length = Signal(bits + 1), Signal(bits + 1)
        end = Signal(bits + 1)
        whole = Signal()
        m.d.comb += [
            self.o.payload.address.eq(Cat(Const(0, shift), place, block_low, block_high)),
            self.o.payload.length.eq(length - 1),
            until_block.eq(self._longest - place),
            end.eq(place + rest_low),  # its top bit: at the block's end or beyond
            whole.eq(more | end[bits]),
        ]
        m.d.sync += less.eq(rest_high - 1)  # there are two cycles between steps
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += row.ready.eq(1)
                m.d.sync += [
                    Cat(place, block_low, block_high).eq(row.payload[shift:]),
                    Cat(rest_low, rest_high).eq(beats),
                    more.eq(beats[bits:].any()),
                    carry.eq(0),
                ]
                with m.If(row.valid):
                    m.next = "CUT"
            with m.State("CUT"):
                m.d.sync += [
                    block_high.eq(block_high + carry),
                    length.eq(Mux(whole, until_block, rest_low)),
                    rest_low.eq(Mux(whole, end[:bits], 0)),
                    borrow.eq(whole & ~end[bits]),
                ]
                m.next = "STEP"
            with m.State("STEP"):
                with m.If(borrow):
                    m.d.sync += [rest_high.eq(less), more.eq(less.any())]
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(self.room & ~stopped)
                with m.If(stopped):
                    m.next = "IDLE"
                with m.Elif(self.o.valid & self.o.ready):
                    m.d.sync += [
                        place.eq(0),
                        Cat(block_low, carry).eq(block_low + 1),
                    ]
                    with m.If(rest_low.any() | more):
                        m.next = "CUT"
                    with m.Else():
                        m.next = "IDLE"
        m.d.comb += busy.eq(~fsm.ongoing("IDLE"))


def _low(value):
    return value[:_HALF]


def _high(value):
    return value[_HALF:]


class Credit(Component):
    """Room in a FIFO of read data, counted down when a burst is requested.

    ``room`` tells whether the longest burst fits, ``latency.CREDIT`` cycles after ``popped``.
    """

    def __init__(self, depth: int, longest: int) -> None:
        self._depth, self._longest = depth, longest
        super().__init__({
            "requested": In(1),
            "length": In(8),
            "popped": In(1),
            "room": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        places = Signal(range(self._depth + 1), init=self._depth)
        requested, length = Signal(), Signal(8)
        m.d.sync += [
            requested.eq(self.requested),
            length.eq(self.length),
            self.room.eq(places >= self._longest),
        ]
        with m.If(requested):
            m.d.sync += places.eq(places - Mux(self.popped, length, length + 1))
        with m.Elif(self.popped):
            m.d.sync += places.eq(places + 1)
        return m


class BeatFifo(Component):
    """Read data in block memory; two cycles from writing to reading. It is never overrun: the
    requester counts (``Credit``).
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth & (depth - 1):
            raise ValueError(f"depth={depth} is no power of two: addresses must wrap")
        self._width, self._depth = width, depth
        super().__init__({
            "write": In(1),
            "data": In(width),
            "o": Out(stream.Signature(width)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.beats = beats = Memory(shape=self._width, depth=self._depth, init=[])
        write, read = beats.write_port(), beats.read_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.data.eq(self.data),
            read.en.eq(~self.o.valid | self.o.ready),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += write.addr.eq(write.addr + self.write)
        with m.If(read.en):
            m.d.sync += self.o.valid.eq(read.addr != write.addr)
            with m.If(read.addr != write.addr):
                m.d.sync += read.addr.eq(read.addr + 1)
        return m


class Area(data.StructLayout):
    """A transfer's words on chip. ``act``: banks count; else only addresses do. Addresses from
    ``depth`` on are outside.
    """

    def __init__(self) -> None:
        super().__init__({
            "act": 1,
            "bank": BANK,
            "address": ONCHIP_BITS,
            "stride_bank": BANK,
            "stride_address": ONCHIP_BITS,
            "rows": 16,
            "words": _word_bits(),
            "depth": ONCHIP_BITS,
        })  # fmt: skip


class Word(data.StructLayout):
    """One word's place; ``outside``: beyond the memory; ``row_end``, ``end``: last of its row, of
    the transfer.
    """

    def __init__(self) -> None:
        super().__init__({
            "bank": BANK,
            "address": ONCHIP_BITS,
            "outside": 1,
            "row_end": 1,
            "end": 1,
        })  # fmt: skip


class PlaceWalk(Component):
    """Lists a transfer's words in order: one per cycle, rows of fewer than 3 words one row every 3
    cycles.

    The first word is offered 2 cycles after the place is taken.
    """

    def __init__(self, arch: Arch) -> None:
        self._pixels = arch.pixels
        super().__init__({
            "i": In(stream.Signature(Area())),
            "o": Out(stream.Signature(Word())),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        place = Signal(Area())
        active = Signal()
        bank, address = Signal(BANK), Signal(ONCHIP_BITS + 1)
        words, rows = Signal(_word_bits()), Signal(16)
        next_bank, next_address, known = self._next_row(m, place, active)
        row_end, end = Signal(), Signal()
        step, turn = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~active),
            self.busy.eq(active | self.o.valid),
            row_end.eq(words == 1),
            end.eq(row_end & (rows == 1)),
            step.eq(active & (~self.o.valid | self.o.ready) & (~row_end | end | known.all())),
            turn.eq(step & row_end),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.bank.eq(bank),
                self.o.payload.address.eq(address),
                self.o.payload.outside.eq(address >= place.depth),
                self.o.payload.row_end.eq(row_end),
                self.o.payload.end.eq(end),
                words.eq(words - 1),
            ]
            with m.If(place.act & (bank != self._pixels - 1)):
                m.d.sync += bank.eq(bank + 1)
            with m.Else():
                m.d.sync += bank.eq(0)
                count_up(m, address)
        with m.If(turn):
            m.d.sync += [
                bank.eq(next_bank),
                address.eq(next_address),
                words.eq(place.words),
                rows.eq(rows - 1),
                active.eq(~end),
                place.bank.eq(next_bank),
                place.address.eq(next_address),
            ]
        with m.If(turn | ~active):
            m.d.sync += known.eq(0)
        with m.Else():
            m.d.sync += known.eq(Cat(Const(1, 1), known))
        with m.If(self.i.valid & ~active):
            m.d.sync += [
                place.eq(self.i.payload),
                active.eq(1),
                bank.eq(Mux(self.i.payload.act, self.i.payload.bank, 0)),
                address.eq(self.i.payload.address),
                words.eq(self.i.payload.words),
                rows.eq(self.i.payload.rows),
            ]
        return m

    def _next_row(self, m: Module, place, active):
        """Start of the next row, worked out in two cycles while this row is walked."""
        total = Signal(BANK + 1)
        wraps, carry = Signal(), Signal()
        next_bank, next_address = Signal(BANK), Signal(ONCHIP_BITS + 1)
        known = Signal(2)
        m.d.comb += [
            total.eq(place.bank + place.stride_bank),
            wraps.eq(total >= self._pixels),
        ]
        m.d.sync += [
            next_bank.eq(Mux(place.act, Mux(wraps, total - self._pixels, total), 0)),
            carry.eq(place.act & wraps),
            next_address.eq(add_carry(place.address, place.stride_address, carry)),
        ]
        return next_bank, next_address, known
