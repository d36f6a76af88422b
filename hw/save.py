"""SAVE: from the activation memories into DRAM."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from codesign.arch import Arch
from codesign.isa import ErrorCode, Opcode
from codesign.latency import BURST_BEATS, SAVE_LENGTHS, SAVE_OUTSTANDING, SAVE_WORDS
from hw.axi import Burst, WriteBeat
from hw.counting import count_both
from hw.interfaces import ActRead, UnitControl, instructions
from hw.issue import Head, Job, connect_head
from hw.transfer import Buffers, PlaceWalk


class Save(Component):
    """One instruction at a time: words are read ahead, packed into beats and sent after their
    bursts' addresses.

    After a fault or stop the bursts already requested are completed with all strobes low.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "instructions": In(instructions()),
            "control": Out(UnitControl()),
            "buffers": In(Buffers()),
            "burst": Out(stream.Signature(Burst())),
            "data": Out(stream.Signature(WriteBeat(arch))),
            "done": In(1),
            "error": In(1),
            "act": Out(ActRead(arch)),
            "busy": Out(1),
            "wait_token": Out(1),
            "wait_dram": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch, control = self._arch, self.control
        m.submodules.head = head = Head(arch, Opcode.SAVE)
        m.submodules.words = words = _Words(arch)
        m.submodules.pack = pack = _Pack(arch)
        job = Signal(Job())
        active, begin = Signal(), Signal()
        connect_head(m, self, head)
        connect(m, words.act, flipped(self.act))
        connect(m, words.o, pack.i)
        refused = self.done & self.error
        m.d.comb += [
            head.job.ready.eq(~active),
            begin.eq(head.job.valid & head.job.ready),
            words.job.valid.eq(begin),
            words.job.payload.eq(head.job.payload),
            words.halt.eq(head.halt),
            head.problem.eq(words.outside | refused),
            head.problem_code.eq(Mux(refused, ErrorCode.AXI_WRITE, ErrorCode.ADDRESS_RANGE)),
            head.problem_index.eq(job.index),
        ]
        with m.If(begin):
            m.d.sync += [job.eq(head.job.payload), active.eq(1)]
        drained = self._send(m, head, pack)
        retired = Signal()
        m.d.comb += retired.eq(
            active & drained & ~words.busy & ~pack.busy & ~head.busy & ~head.halt & ~control.stop
        )
        with m.If(retired):
            m.d.sync += active.eq(0)
        m.d.sync += [
            control.retired.eq(retired),
            control.give.eq(Mux(retired, job.signal, 0)),
        ]
        m.d.comb += [
            control.retired_index.eq(job.index),
            control.retired_start.eq(job.start),
            control.oldest_index.eq(Mux(active, job.index, head.index)),
            control.idle.eq(~active & ~head.held),
            self.busy.eq(active | (head.held & ~head.lacks_token)),
            self.wait_token.eq(head.lacks_token & ~active),
            self.wait_dram.eq(active & self.data.valid & ~self.data.ready),
        ]
        return m

    def _send(self, m: Module, head: Head, pack):
        """Addresses ahead of data; returns whether every burst has been sent and answered."""
        bits = (BURST_BEATS - 1).bit_length()
        m.submodules.lengths = lengths = SyncFIFO(width=bits, depth=SAVE_LENGTHS)
        sent = Signal(bits)
        outstanding = Signal(range(SAVE_OUTSTANDING + 1))
        requested = self.burst.valid & self.burst.ready
        stopped = Signal()
        m.d.sync += stopped.eq(head.halt | self.control.stop)
        m.d.comb += [
            head.room.eq(lengths.w_rdy & (outstanding != SAVE_OUTSTANDING)),
            lengths.w_en.eq(requested),
            lengths.w_data.eq(self.burst.payload.length),
            self.data.valid.eq(lengths.r_rdy & (pack.o.valid | stopped)),
            self.data.payload.data.eq(pack.o.payload.data),
            self.data.payload.strobe.eq(Mux(stopped, 0, pack.o.payload.strobe)),
            self.data.payload.last.eq(sent == lengths.r_data),
            pack.o.ready.eq(lengths.r_rdy & self.data.ready),
        ]
        with m.If(self.data.valid & self.data.ready):
            m.d.comb += lengths.r_en.eq(self.data.payload.last)
            m.d.sync += sent.eq(Mux(self.data.payload.last, 0, sent + 1))
        count_both(m, outstanding, requested, self.done)
        return outstanding == 0


class _Words(Component):
    """Reads a job's words in order, as far ahead as there is room; each comes with ``row_end``."""

    def __init__(self, arch: Arch) -> None:
        if SAVE_WORDS & (SAVE_WORDS - 1):
            raise ValueError(f"SAVE_WORDS={SAVE_WORDS} is no power of two: addresses must wrap")
        self._arch = arch
        self._bits = 8 * arch.act_word_bytes
        super().__init__({
            "job": In(stream.Signature(Job())),
            "act": Out(ActRead(arch)),
            "o": Out(stream.Signature(self._bits + 1)),
            "halt": In(1),
            "outside": Out(1),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = PlaceWalk(self._arch)
        m.submodules.words = words = Memory(shape=self._bits, depth=SAVE_WORDS, init=[])
        m.submodules.ends = ends = Memory(shape=1, depth=SAVE_WORDS, init=[])
        region = Signal.like(self.act.address.region)
        asked = Signal(range(SAVE_WORDS))
        came, read = Signal.like(asked), Signal.like(asked)
        held = Signal(range(SAVE_WORDS))
        full, room = Signal(), Signal()
        word_write, word_read = words.write_port(), words.read_port(domain="comb")
        end_write, end_read = ends.write_port(), ends.read_port(domain="comb")
        request, popped = Signal(), Signal()
        m.d.comb += [
            self.job.ready.eq(walk.i.ready),
            walk.i.valid.eq(self.job.valid),
            walk.i.payload.eq(self.job.payload.place),
            room.eq(~full & ~self.halt & ~walk.o.payload.outside),
            self.act.valid.eq(walk.o.valid & room),
            self.act.address.region.eq(region),
            self.act.address.bank.eq(walk.o.payload.bank),
            self.act.address.row.eq(walk.o.payload.address),
            walk.o.ready.eq(self.act.ready & room),
            request.eq(self.act.valid & self.act.ready),
            self.outside.eq(walk.o.valid & walk.o.payload.outside),
            end_write.en.eq(request),
            end_write.addr.eq(asked),
            end_write.data.eq(walk.o.payload.row_end),
            word_write.en.eq(self.act.word_valid),
            word_write.addr.eq(came),
            word_write.data.eq(self.act.word),
            word_read.addr.eq(read),
            end_read.addr.eq(read),
            self.o.valid.eq(came != read),
            self.o.payload.eq(Cat(word_read.data, end_read.data)),
            popped.eq(self.o.valid & self.o.ready),
            self.busy.eq(walk.busy | held.any()),
        ]
        m.d.sync += [
            asked.eq(asked + request),
            came.eq(came + self.act.word_valid),
            read.eq(read + popped),
        ]
        count_both(m, held, request, popped)
        with m.If(popped & ~request):
            m.d.sync += full.eq(0)
        with m.Elif(request & ~popped & (held == SAVE_WORDS - 2)):
            m.d.sync += full.eq(1)
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += region.eq(self.job.payload.region)
        return m


class _Pack(Component):
    """Words to beats: words share a beat, fill one, or fill several; a row's last beat is masked by
    strobes.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "i": In(stream.Signature(8 * arch.act_word_bytes + 1)),
            "o": Out(stream.Signature(WriteBeat(arch))),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        bits, beat_bits = 8 * self._arch.act_word_bytes, self._arch.dma_bits
        word, row_end = self.i.payload[:bits], self.i.payload[bits]
        full = Signal()
        beat, strobe = self.o.payload.data, self.o.payload.strobe
        lanes, pieces = max(1, beat_bits // bits), max(1, bits // beat_bits)
        lane, piece = Signal(range(max(2, lanes))), Signal(range(max(2, pieces)))
        free, fire, last_piece = Signal(), Signal(), Signal()
        m.d.comb += [
            free.eq(~full | self.o.ready),
            fire.eq(self.i.valid & free),
            last_piece.eq(piece == pieces - 1),
            self.i.ready.eq(free & last_piece),
            self.o.valid.eq(full),
            self.busy.eq(full),
        ]
        with m.If(self.o.ready):
            m.d.sync += full.eq(0)
        with m.If(fire):
            ends = (lane == lanes - 1) | row_end
            if lanes > 1:
                written = (1 << self._arch.act_word_bytes) - 1
                m.d.sync += [
                    beat.word_select(lane, bits).eq(word),
                    strobe.eq(Mux(lane == 0, written, strobe | (strobe << (bits // 8)))),
                    lane.eq(Mux(ends, 0, lane + 1)),
                    full.eq(ends),
                ]
            else:
                m.d.sync += [
                    beat.eq(word.word_select(piece, beat_bits)),
                    strobe.eq(-1),
                    piece.eq(Mux(last_piece, 0, piece + 1)),
                    full.eq(1),
                ]
        return m
