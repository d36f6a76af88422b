"""LOAD: from DRAM into the on-chip memories."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from codesign.arch import Arch
from codesign.isa import ErrorCode, Opcode, Target
from codesign.latency import BURST_BEATS, LOAD_FIFO_BEATS, LOAD_JOBS
from hw.axi import Burst
from hw.interfaces import INDEX_BITS, ActWrite, MemoryWrite, UnitControl, instructions
from hw.issue import Head, Job, connect_head
from hw.transfer import (
    BeatFifo,
    Buffers,
    Credit,
    PlaceWalk,
    Word,
    memory_shape,
)


class Load(Component):
    """Two halves that run apart: one requests bursts, up to ``latency.LOAD_JOBS`` instructions
    ahead; one writes what came.

    A burst is requested only when the FIFO has room for all of it, so that read data is never
    refused. One word per cycle is written where a word is no wider than a beat, else one beat per
    cycle is taken. ``wait_token`` counts only while nothing is in execution: busy, waiting and idle
    exclude each other.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "instructions": In(instructions()),
            "control": Out(UnitControl()),
            "buffers": In(Buffers()),
            "burst": Out(stream.Signature(Burst())),
            "beat_valid": In(1),
            "beat": In(arch.dma_bits),
            "error": In(1),
            "act": Out(ActWrite(arch)),
            "memory": Out(MemoryWrite(arch)),
            "busy": Out(1),
            "wait_token": Out(1),
            "wait_dram": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch, control = self._arch, self.control
        m.submodules.head = head = Head(arch, Opcode.LOAD)
        m.submodules.jobs = jobs = SyncFIFO(width=Job().size, depth=LOAD_JOBS)
        m.submodules.writer = writer = _Writer(arch)
        connect_head(m, self, head)
        connect(m, writer.act, flipped(self.act))
        connect(m, writer.memory, flipped(self.memory))
        m.d.comb += [
            head.job.ready.eq(jobs.w_rdy),
            jobs.w_en.eq(head.job.valid),
            jobs.w_data.eq(head.job.payload),
            writer.job.valid.eq(jobs.r_rdy),
            writer.job.payload.eq(jobs.r_data),
            jobs.r_en.eq(writer.job.ready),
            head.problem.eq(writer.fault),
            head.problem_code.eq(writer.fault_code),
            head.problem_index.eq(writer.index),
            control.retired.eq(writer.retired),
            control.retired_index.eq(writer.retired_index),
            control.retired_start.eq(writer.retired_start),
            control.give.eq(writer.give),
        ]
        self._beats(m, head, writer)
        self._levels(m, head, jobs, writer)
        return m

    def _beats(self, m: Module, head: Head, writer) -> None:
        arch = self._arch
        m.submodules.fifo = fifo = BeatFifo(arch.dma_bits + 1, LOAD_FIFO_BEATS)
        m.submodules.credit = credit = Credit(LOAD_FIFO_BEATS, BURST_BEATS)
        m.d.comb += [
            fifo.write.eq(self.beat_valid),
            fifo.data.eq(Cat(self.beat, self.error)),
            writer.beat_valid.eq(fifo.o.valid),
            writer.beat.eq(fifo.o.payload[: arch.dma_bits]),
            writer.error.eq(fifo.o.payload[-1]),
            fifo.o.ready.eq(writer.beat_ready),
            credit.requested.eq(head.burst.valid & head.burst.ready),
            credit.length.eq(head.burst.payload.length),
            head.room.eq(credit.room),
        ]
        m.d.sync += credit.popped.eq(fifo.o.valid & fifo.o.ready)

    def _levels(self, m: Module, head: Head, jobs: SyncFIFO, writer) -> None:
        running = Signal()
        first = data.View(Job(), jobs.r_data)
        m.d.comb += [
            running.eq(head.busy | jobs.r_rdy | writer.busy),
            self.control.idle.eq(~running & ~head.held),
            self.control.oldest_index.eq(
                Mux(writer.busy, writer.index, Mux(jobs.r_rdy, first.index, head.index))
            ),
            self.busy.eq(running | (head.held & ~head.lacks_token)),
            self.wait_token.eq(head.lacks_token & ~running),
            self.wait_dram.eq(running & writer.wait_dram),
        ]


class _Writer(Component):
    """Makes words of beats and writes them; one job at a time."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "job": In(stream.Signature(Job())),
            "beat_valid": In(1),
            "beat_ready": Out(1),
            "beat": In(arch.dma_bits),
            "error": In(1),
            "act": Out(ActWrite(arch)),
            "memory": Out(MemoryWrite(arch)),
            "busy": Out(1),
            "wait_dram": Out(1),
            "retired": Out(1),
            "retired_index": Out(INDEX_BITS),
            "retired_start": Out(32),
            "give": Out(2),
            "index": Out(INDEX_BITS),
            "fault": Out(1),
            "fault_code": Out(4),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.walk = walk = PlaceWalk(self._arch)
        job = Signal(Job())
        halt = Signal()
        take = Signal()
        m.d.comb += [
            self.job.ready.eq(~self.busy & ~halt),
            take.eq(self.job.valid & self.job.ready),
            walk.i.valid.eq(take),
            walk.i.payload.eq(self.job.payload.place),
            self.index.eq(job.index),
            self.retired_index.eq(job.index),
            self.retired_start.eq(job.start),
        ]
        last = self._words(m, job, walk, halt)
        m.d.sync += [self.retired.eq(last), self.give.eq(Mux(last, job.signal, 0))]
        with m.If(take):
            m.d.sync += [job.eq(self.job.payload), self.busy.eq(1)]
        with m.Elif(last):
            m.d.sync += self.busy.eq(0)
        return m

    def _words(self, m: Module, job, walk: PlaceWalk, halt):
        """The word register and its control; returns the cycle in which a job's last word is
        written.
        """
        arch = self._arch
        word = Signal(len(self.memory.data))
        where = Signal(Word())
        valid, act, taken, fire = Signal(), Signal(), Signal(), Signal()
        lanes = len(word) // arch.dma_bits
        lane, piece = Signal(range(max(2, lanes))), Signal(range(arch.beat_bytes))
        last_lane, last_piece, complete = Signal.like(lane), Signal.like(piece), Signal()
        low = self._piece(m, job, piece, last_lane, last_piece)
        m.d.comb += [
            taken.eq(~act | self.act.ready),
            fire.eq(self.beat_valid & walk.o.valid & ~halt & (~valid | taken)),
            complete.eq(lane == last_lane),
            walk.o.ready.eq(fire & complete),
            self.beat_ready.eq(
                fire & ((piece == last_piece) | (complete & walk.o.payload.row_end))
            ),
            self.wait_dram.eq(~self.beat_valid & ~valid),
            self.act.valid.eq(valid & act),
            self.act.address.region.eq(job.region),
            self.act.address.bank.eq(where.bank),
            self.act.address.row.eq(where.address),
            self.act.data.eq(word),
            self.memory.valid.eq(valid & ~act),
            self.memory.target.eq(job.target),
            self.memory.address.eq(where.address),
            self.memory.data.eq(word),
            self.fault.eq(fire & (self.error | (complete & walk.o.payload.outside))),
            self.fault_code.eq(Mux(self.error, ErrorCode.AXI_READ, ErrorCode.ADDRESS_RANGE)),
        ]
        m.d.sync += act.eq(job.target == Target.ACT)
        with m.If(taken):
            m.d.sync += valid.eq(0)
        with m.If(fire):
            m.d.sync += [
                word.word_select(lane, arch.dma_bits).eq(low),
                where.eq(walk.o.payload),
                lane.eq(Mux(complete, 0, lane + 1)),
                piece.eq(Mux(self.beat_ready, 0, piece + 1)),
                valid.eq(complete & ~self.fault),
                halt.eq(self.fault),
            ]
        return valid & taken & where.end

    def _piece(self, m: Module, job, piece, last_lane, last_piece):
        """The beat, shifted to the piece at hand where words are narrower than beats.

        The limits of pieces and lanes are registers: the walk's first word comes later than they.
        """
        arch = self._arch
        low = Signal(arch.dma_bits)
        m.d.comb += low.eq(self.beat)
        with m.Switch(job.target):
            for target in Target:
                word_bytes, _ = memory_shape(arch, target)
                with m.Case(target):
                    m.d.sync += [
                        last_lane.eq(max(word_bytes // arch.beat_bytes, 1) - 1),
                        last_piece.eq(max(arch.beat_bytes // word_bytes, 1) - 1),
                    ]
                    if word_bytes < arch.beat_bytes:
                        m.d.comb += low.eq(self.beat.word_select(piece, 8 * word_bytes))
        return low
