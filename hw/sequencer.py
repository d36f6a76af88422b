"""CALC's sequencer: checks instructions, starts them, and issues their taps."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from codesign import isa
from codesign.arch import Arch
from codesign.arith import SHIFT_MAX
from codesign.isa import EXTENT, ErrorCode, Mode
from hw.act import bank_bits, row_bits
from hw.interfaces import INDEX_BITS, CalcStatus, Issued
from hw.memories import any_of, fields_layout

FIELDS = fields_layout(isa.LAYOUTS[isa.Opcode.CALC])
_WIDTH = {field.name: field.bits for field in isa.LAYOUTS[isa.Opcode.CALC]}


def _is_no_multiple(value, divisor: int):
    """Whether ``divisor`` does not divide ``value``, of 12 bits at most besides powers of two.

    What remains of the value's lower six bits and is missing to the upper ones is told by tables
    of six inputs each; a multiple is where both are the same.
    """
    even = (divisor & -divisor).bit_length() - 1
    odd = divisor >> even
    low, high = value[even:][:6], value[even:][6:]
    bits = (odd - 1).bit_length()
    remains = [number % odd for number in range(1 << len(low))]
    missing = [-(number << len(low)) % odd for number in range(1 << len(high))]
    pairs = [(_bit(remains, b, low), _bit(missing, b, high)) for b in range(bits)]
    return value[:even].any() | any_of([x ^ y for x, y in pairs] or [Const(0, 1)])


def _bit(entries: list[int], bit: int, index):
    """That bit of the entry at ``index``."""
    table = sum((entry >> bit & 1) << number for number, entry in enumerate(entries))
    return Const(table, len(entries)).bit_select(index, 1)


class Checker(Component):
    """Finds what is wrong with a CALC instruction (docs/machine.md, Faults).

    Time: the verdict on the ``fields`` of a cycle comes two cycles later; they must hold for two.

    Ports
    -----
    words, partial:
        WGT words that the taps fill; one more is begun.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "fields": In(FIELDS),
            "words": In(_WIDTH["taps"]),
            "partial": In(1),
            "malformed": Out(1),
            "beyond": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        contradictions = Cat(*self._contradictions())
        found = Signal(len(contradictions), reset_less=True)
        m.d.sync += [found.eq(contradictions), self.malformed.eq(found.any())]
        spans = [self._beyond(m, *span) for span in self._spans()]
        m.d.sync += self.beyond.eq(any_of([*spans, self._rows_beyond(m)]))
        return m

    def _contradictions(self):
        arch, f = self.arch, self.fields
        dense = f.mode == Mode.DENSE
        banks = [f.src_bank, f.dst_bank, f.dst_pitch_bank]
        split = f.dst_split | (f.residual & f.res_split)
        return [
            f.groups == 0,
            f.taps == 0,
            f.planes == 0,
            f.planes > arch.planes,
            ~dense & (f.planes != 1),
            f.mode > max(Mode),
            f.grid_width < arch.drain,
            f.table & (f.table_id >= arch.tables),
            *(bank >= arch.pixels for bank in banks),
            *(f.residual & (bank >= arch.pixels) for bank in (f.res_bank, f.res_pitch_bank)),
            *(region >= arch.regions for region in (f.src_region, f.dst_region)),
            f.residual & (f.res_region >= arch.regions),
            f.residual & (f.res_region == f.src_region),
            f.residual & ((f.add_shift == 0) | (f.add_shift > SHIFT_MAX)),
            split & _is_no_multiple(f.grid_width, arch.drain),
        ]

    def _rows_beyond(self, m):
        """Whether a map that is written or added begins beyond its region.

        The source's first pixel may: it need not be read.
        """
        f, depth = self.fields, self.arch.act_depth
        found = Signal(2, name="rows_beyond", reset_less=True)
        m.d.sync += found.eq(Cat(f.dst_row >= depth, f.residual & (f.res_row >= depth)))
        return found.any()

    def _spans(self):
        """(name, first word, words, one more, depth) of what the instruction reads."""
        arch, f = self.arch, self.fields
        return [
            ("tap", f.tap_base, f.taps, 0, arch.tap_depth),
            ("wgt", f.wgt_base, self.words, self.partial, arch.wgt_depth),
            ("param", f.param_base, f.planes, 0, arch.param_depth),
        ]

    def _beyond(self, m, name, first, words, more, depth):
        end = Signal(len(first) + 1, name=f"{name}_end", reset_less=True)
        m.d.sync += end.eq(first + words)
        used = (self.fields.mode != Mode.MAX) if name == "wgt" else 1
        low = bits_for(depth)  # a short comparison: the bits above need no carry chain
        full = (end[:low] == depth) & more
        return used & (end[low:].any() | (end[:low] > depth) | full)


class Taps(Component):
    """Slot after slot: which tap issues, with the addresses of its entry and its weights.

    Ports
    -----
    start, fields, interval, single, short, one_group:
        Begin with slot 0 in the next cycle; ``interval`` is I - 1, ``single`` tells that it is 0,
        ``short`` that taps do not fill a group's slots.
    running, last_slot, free:
        A slot is under way; it is the instruction's last; an instruction may start.
    group_start, group_end, first_group:
        The slot is the group's first, its last; the group is the instruction's first.
    valid, first:
        A tap issues in this slot; it is the group's first. The group's last ends the group.
    row:
        Source row of tap offset 0 of the group's first pixel, before any carry.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "start": In(1),
            "fields": In(FIELDS),
            "interval": In(_WIDTH["taps"]),
            "single": In(1),
            "short": In(1),
            "one_group": In(1),
            "running": Out(1),
            "last_slot": Out(1),
            "free": Out(1, init=1),
            "group_start": Out(1),
            "group_end": Out(1),
            "first_group": Out(1),
            "valid": Out(1),
            "first": Out(1),
            "tap_address": Out(bits_for(arch.tap_depth - 1)),
            "wgt_address": Out(bits_for(arch.wgt_depth - 1)),
            "slice": Out(range(arch.out_channels)),
            "row": Out(row_bits(arch)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        last_group, again, begin = Signal(), Signal(), Signal()
        m.d.comb += [
            self.last_slot.eq(self.group_end & last_group),
            again.eq(self.group_end & ~last_group),
            begin.eq(self.start | again),
        ]
        m.d.sync += [self.group_start.eq(begin), self.group_end.eq(0)]
        with m.If(self.start):
            m.d.sync += self.running.eq(1)
        with m.Elif(self.last_slot):
            m.d.sync += self.running.eq(0)
        two_groups = self._groups(m, last_group, again)
        one_slot, single = self._slots(m, begin)
        with m.If(self.start):
            m.d.sync += self.free.eq(self.single & self.one_group)
        with m.Elif(again):
            m.d.sync += self.free.eq(single & two_groups)
        with m.Elif(self.running & ~self.group_end):
            m.d.sync += self.free.eq(last_group & one_slot)
        with m.Else():
            m.d.sync += self.free.eq(1)
        self._addresses(m, begin)
        return m

    def _new_or_held(self, m, name, new):
        """What a group begins with: the new instruction's value, else the running one's."""
        held = Signal(len(new), name=f"held_{name}", reset_less=True)
        with m.If(self.start):
            m.d.sync += held.eq(new)
        return Mux(self.start, new, held), held

    def _groups(self, m, last_group, again):
        """Count the groups. Returns whether just two are left."""
        left = Signal(_WIDTH["groups"], reset_less=True)
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.fields.groups),
                last_group.eq(self.one_group),
                self.first_group.eq(1),
                self.row.eq(self.fields.src_row),
            ]
        with m.Elif(again):
            m.d.sync += [
                left.eq(left - 1),
                last_group.eq(left == 2),
                self.first_group.eq(0),
                self.row.eq(self.row + 1),
            ]
        return left == 2

    def _slots(self, m, begin):
        """Count the slots; a tap issues in each of a group's last ``taps``.

        Returns whether just one slot follows in the group, and whether groups have just one.
        """
        interval, _ = self._new_or_held(m, "interval", self.interval)
        short, _ = self._new_or_held(m, "short", self.short)
        single, single_held = self._new_or_held(m, "single", self.single)
        few = bits_for(self.arch.drain_steps)
        _, taps = self._new_or_held(m, "taps", self.fields.taps[:few])
        left = Signal(_WIDTH["taps"], reset_less=True)
        waiting = Signal()
        m.d.sync += self.first.eq(0)
        with m.If(begin):
            m.d.sync += [
                left.eq(interval),
                self.group_end.eq(single),
                waiting.eq(short),
                self.valid.eq(~short),
                self.first.eq(~short),
            ]
        with m.Elif(self.last_slot):
            m.d.sync += self.valid.eq(0)
        with m.Elif(self.running):
            m.d.sync += [left.eq(left - 1), self.group_end.eq(left == 1)]
            with m.If(waiting & (left[:few] == taps)):
                m.d.sync += [waiting.eq(0), self.valid.eq(1), self.first.eq(1)]
        return left == 1, single_held

    def _addresses(self, m, begin):
        bases = [
            self._new_or_held(m, name, self.fields[name][: len(address)])[0]
            for name, address in (("tap_base", self.tap_address), ("wgt_base", self.wgt_address))
        ]
        depthwise = Signal(reset_less=True)
        with m.If(self.start):
            m.d.sync += depthwise.eq(self.fields.mode == Mode.DEPTHWISE)
        with m.If(begin):
            m.d.sync += [self.tap_address.eq(bases[0]), self.wgt_address.eq(bases[1])]
            m.d.sync += self.slice.eq(0)
        with m.Elif(self.valid):
            word_ends = ~depthwise | self.slice.all()
            m.d.sync += [
                self.tap_address.eq(self.tap_address + 1),
                self.slice.eq(self.slice + 1),
                self.wgt_address.eq(self.wgt_address + word_ends),
            ]


class FrontConfig(data.StructLayout):
    """The running instruction's fields for the source side; hold until the next start."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "src_region": range(arch.regions),
            "src_bank": bank_bits(arch),
            "mode": 2,
            "pad": 8,
            "in_height": EXTENT,
            "in_width": EXTENT,
            "span": EXTENT,
        })  # fmt: skip


class Sequencer(Component):
    """Takes an instruction ahead, checks it, and starts it when slots, tokens and fence allow.

    Time: ``codesign.latency.calc_finish`` tells when an instruction starts. ``start`` is high in
    its start cycle S; slot s of the taps shows at the outputs in cycle S + 1 + s.

    Ports
    -----
    drained:
        Every instruction that has started has written its results, or will have by the time the
        taps of one that starts now read them.
    stop:
        Start nothing.
    next, next_span, next_index, pending:
        Fields, grid width less D and index of the instruction taken ahead, if ``pending``.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.checker = Checker(arch)
        self.taps = Taps(arch)
        super().__init__({
            "instructions": In(stream.Signature(Issued())),
            "available": In(2),
            "take": Out(2),
            "drained": In(1),
            "stop": In(1),
            "start": Out(1),
            "next": Out(FIELDS),
            "next_span": Out(EXTENT),
            "next_index": Out(INDEX_BITS),
            "pending": Out(1),
            "config": Out(FrontConfig(arch)),
            "fault": Out(1),
            "fault_code": Out(4),
            "status": Out(CalcStatus()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        checker, taps = self.checker, self.taps
        m.submodules.checker, m.submodules.taps = checker, taps
        checked = self._decode(m, checker)
        fields = self.next
        slot, tokens, fence = taps.free, Signal(), Signal()
        m.d.comb += [
            tokens.eq(~(fields.wait & ~self.available).any()),
            fence.eq(~fields.fence | self.drained),
            self.start.eq(checked & slot & tokens & fence & ~self.stop),
            taps.start.eq(self.start),
            taps.fields.eq(fields),
        ]
        m.d.sync += self.take.eq(Mux(self.start, fields.wait, 0))
        config = Signal(FrontConfig(self.arch), reset_less=True)
        m.d.comb += self.config.eq(config)
        with m.If(self.start):
            for name in config.shape().members:
                m.d.sync += config[name].eq(self.next_span if name == "span" else fields[name])
        m.d.sync += [
            self.status.wait_token.eq(slot & checked & ~tokens),
            self.status.wait_fence.eq(slot & checked & tokens & ~fence),
            self.status.wait_instruction.eq(slot & ~checked),
        ]
        m.d.comb += [self.status.busy.eq(taps.running), self.status.active.eq(taps.valid)]
        return m

    def _decode(self, m, checker):
        """Take an instruction when there is none ahead; whether it may start, CALC_DECODE later."""
        arch, fields = self.arch, Signal(FIELDS, reset_less=True)
        m.d.comb += self.next.eq(fields)
        vacant, checked, halted = Signal(init=1), Signal(), Signal()
        stages = Signal(3)
        taken = self.instructions.valid & vacant
        offered = FIELDS(self.instructions.payload.word[: FIELDS.size])
        slices = (arch.out_channels - 1).bit_length()
        depthwise = offered.mode == Mode.DEPTHWISE
        m.d.comb += [
            self.instructions.ready.eq(vacant),
            self.pending.eq(~vacant),
            checker.fields.eq(fields),
        ]
        m.d.sync += [stages.eq((stages << 1) | taken), self.fault.eq(0)]
        with m.If(taken):
            m.d.sync += [
                fields.eq(offered),
                self.next_index.eq(self.instructions.payload.index),
                checker.words.eq(Mux(depthwise, offered.taps >> slices, offered.taps)),
                checker.partial.eq(depthwise & offered.taps[:slices].any()),
                vacant.eq(0),
            ]
        steps = arch.drain_steps
        short = fields.taps < steps
        m.d.sync += [
            self.taps.short.eq(short),
            self.taps.interval.eq(Mux(short, steps - 1, fields.taps - 1)),
            self.taps.one_group.eq(fields.groups == 1),
            self.taps.single.eq((fields.taps == 1) if steps == 1 else 0),
            self.next_span.eq(fields.grid_width - arch.drain),
        ]
        with m.If(stages[-1]):
            m.d.sync += checked.eq(~checker.malformed & ~checker.beyond & ~halted)
            with m.If((checker.malformed | checker.beyond) & ~halted):
                code = Mux(checker.malformed, ErrorCode.MALFORMED, ErrorCode.ADDRESS_RANGE)
                m.d.sync += [self.fault.eq(1), self.fault_code.eq(code), halted.eq(1)]
        with m.If(self.start):
            m.d.sync += [checked.eq(0), vacant.eq(1)]
        return checked
