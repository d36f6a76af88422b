"""The front of LOAD and SAVE: takes an instruction, checks its fields, waits for tokens, hands over
the transfer, requests its bursts.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import Component, In, Out, connect, flipped

from codesign.arch import Arch
from codesign.isa import LAYOUTS, REGION, ErrorCode, Opcode, Target
from hw.axi import Burst
from hw.interfaces import INDEX_BITS, instructions
from hw.memories import fields_layout
from hw.transfer import (
    ALIGNMENT_BITS,
    Area,
    Buffers,
    BurstWalk,
    Span,
    beat_count,
    beats_bits,
    memory_shape,
)


class Job(data.StructLayout):
    """The on-chip half of a transfer, and what its completion needs."""

    def __init__(self) -> None:
        super().__init__({
            "place": Area(),
            "target": 3,
            "region": REGION,
            "signal": 2,
            "index": INDEX_BITS,
            "start": 32,
        })  # fmt: skip


class Issue(Component):
    """Offers a transfer ``latency.DECODE`` cycles after its instruction came, or as soon as its
    tokens are there.

    The tokens are taken in the cycle of the transfer's hand-over. An instruction with contradictory
    fields raises ``fault`` instead and nothing follows it. ``held``: an instruction waits here,
    with index ``index``.
    """

    def __init__(self, arch: Arch, opcode: Opcode) -> None:
        self._arch, self._opcode = arch, opcode
        super().__init__({
            "instructions": In(instructions()),
            "buffers": In(Buffers()),
            "now": In(32),
            "stop": In(1),
            "available": In(2),
            "take": Out(2),
            "span": Out(Span(beats_bits(arch))),
            "job": Out(Job()),
            "valid": Out(1),
            "ready": In(1),
            "held": Out(1),
            "lacks_token": Out(1),
            "fault": Out(1),
            "index": Out(INDEX_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        fields = Signal(fields_layout(LAYOUTS[self._opcode]))
        malformed, lacking = Signal(), Signal()
        m.d.comb += lacking.eq((fields.wait & ~self.available).any())
        with m.FSM() as fsm:
            with m.State("ACCEPT"):
                m.d.comb += self.instructions.ready.eq(~self.stop)
                m.d.sync += [
                    fields.eq(self.instructions.payload.word),
                    self.index.eq(self.instructions.payload.index),
                ]
                with m.If(self.instructions.valid & ~self.stop):
                    m.next = "CHECK"
            with m.State("CHECK"):
                self._decode(m, fields, malformed)
                m.next = "TOKENS"
            with m.State("TOKENS"):
                m.d.comb += [
                    self.lacks_token.eq(lacking),
                    self.valid.eq(~lacking & ~malformed & ~self.stop),
                    self.fault.eq(~lacking & malformed & ~self.stop),
                ]
                with m.If(self.valid & self.ready):
                    m.d.comb += self.take.eq(fields.wait)
                    m.next = "ACCEPT"
                with m.Elif(self.fault):
                    m.next = "HALT"
            with m.State("HALT"):
                pass
        m.d.comb += [
            self.held.eq(~fsm.ongoing("ACCEPT")),
            self.job.index.eq(self.index),
            self.job.start.eq(self.now),
        ]
        return m

    def _decode(self, m: Module, fields, malformed) -> None:
        place, span = self.job.place, self.span
        buffer = self.buffers[fields.base]
        target = fields.target if self._opcode == Opcode.LOAD else Const(Target.ACT, 3)
        act = Signal()
        m.d.comb += act.eq(target == Target.ACT)
        m.d.sync += [
            span.base.eq(buffer.base),
            span.size.eq(buffer.size),
            span.offset.eq(fields.offset),
            span.stride.eq(fields.stride),
            span.rows.eq(fields.rows),
            place.act.eq(act),
            place.bank.eq(fields.bank),
            place.address.eq(fields.address),
            place.stride_bank.eq(fields.stride_bank),
            place.stride_address.eq(fields.stride_address),
            place.rows.eq(fields.rows),
            place.words.eq(fields.words),
            self.job.target.eq(target),
            self.job.region.eq(fields.region),
            self.job.signal.eq(fields.signal),
            malformed.eq(self._contradicts(fields, target, act, buffer)),
        ]
        with m.Switch(target):
            for choice in Target if self._opcode == Opcode.LOAD else (Target.ACT,):
                with m.Case(choice):
                    m.d.sync += [
                        span.beats.eq(beat_count(self._arch, choice, fields.words)),
                        place.depth.eq(memory_shape(self._arch, choice)[1]),
                    ]

    def _contradicts(self, fields, target, act, buffer):
        pixels = self._arch.pixels
        banked = (
            (fields.region >= self._arch.regions)
            | (fields.bank >= pixels)
            | (fields.stride_bank >= pixels)
        )
        low = slice(0, ALIGNMENT_BITS)
        unaligned = Cat(fields.offset[low], fields.stride[low], buffer.base[low]).any()
        empty = (fields.rows == 0) | (fields.words == 0)
        return empty | unaligned | (act & banked) | (target > max(Target))


class Head(Component):
    """``Issue`` with its bursts, and the unit's faults: the first one halts all of it.

    Ports
    -----
    instructions, buffers, now, available, take, held, lacks_token, index:
        Of ``Issue``.
    stop:
        Nothing more is handed over or requested.
    job:
        The on-chip half of a transfer, whose DRAM half the bursts then follow.
    burst, room, busy:
        Of ``BurstWalk``.
    problem, problem_code, problem_index:
        A fault that the rest of the unit finds.
    halt:
        A fault has been seen.
    fault, fault_code, fault_index:
        Of ``hw.interfaces.UnitControl``.
    """

    def __init__(self, arch: Arch, opcode: Opcode) -> None:
        self._arch, self._opcode = arch, opcode
        super().__init__({
            "instructions": In(instructions()),
            "buffers": In(Buffers()),
            "now": In(32),
            "stop": In(1),
            "available": In(2),
            "take": Out(2),
            "held": Out(1),
            "lacks_token": Out(1),
            "index": Out(INDEX_BITS),
            "job": Out(stream.Signature(Job())),
            "burst": Out(stream.Signature(Burst())),
            "room": In(1),
            "busy": Out(1),
            "problem": In(1),
            "problem_code": In(4),
            "problem_index": In(INDEX_BITS),
            "halt": Out(1),
            "fault": Out(1),
            "fault_code": Out(4),
            "fault_index": Out(INDEX_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.issue = issue = Issue(self._arch, self._opcode)
        m.submodules.bursts = bursts = BurstWalk(self._arch, beats_bits(self._arch))
        walked, stopped = Signal.like(issue.index), Signal()
        connect(m, flipped(self.instructions), issue.instructions)
        connect(m, bursts.o, flipped(self.burst))
        m.d.comb += [
            stopped.eq(self.stop | self.halt),
            issue.buffers.eq(self.buffers),
            issue.now.eq(self.now),
            issue.stop.eq(stopped),
            issue.available.eq(self.available),
            issue.ready.eq(bursts.i.ready & self.job.ready),
            self.take.eq(issue.take),
            self.held.eq(issue.held),
            self.lacks_token.eq(issue.lacks_token),
            self.index.eq(issue.index),
            self.job.valid.eq(issue.valid & bursts.i.ready),
            self.job.payload.eq(issue.job),
            bursts.i.valid.eq(issue.valid & self.job.ready),
            bursts.i.payload.eq(issue.span),
            bursts.stop.eq(stopped),
            bursts.room.eq(self.room),
            self.busy.eq(bursts.busy),
        ]
        with m.If(issue.valid & issue.ready):
            m.d.sync += walked.eq(issue.index)
        m.d.sync += self.fault.eq(0)
        for fault, code, index in (
            (issue.fault, ErrorCode.MALFORMED, issue.index),
            (bursts.fault, ErrorCode.ADDRESS_RANGE, walked),
            (self.problem, self.problem_code, self.problem_index),
        ):
            with m.If(fault & ~self.halt):
                m.d.sync += [
                    self.fault.eq(1),
                    self.fault_code.eq(code),
                    self.fault_index.eq(index),
                    self.halt.eq(1),
                ]
        return m


def connect_head(m: Module, unit: Component, head: Head) -> None:
    """A unit's ports of the same names, and its control."""
    control = unit.control
    connect(m, flipped(unit.instructions), head.instructions)
    connect(m, head.burst, flipped(unit.burst))
    m.d.comb += [
        head.buffers.eq(unit.buffers),
        head.now.eq(control.now),
        head.stop.eq(control.stop),
        head.available.eq(control.available),
        control.take.eq(head.take),
        control.fault.eq(head.fault),
        control.fault_code.eq(head.fault_code),
        control.fault_index.eq(head.fault_index),
    ]
