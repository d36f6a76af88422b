"""The front of LOAD and SAVE: takes an instruction, checks its fields, waits for tokens, hands over
the transfer.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from codesign.isa import LAYOUTS, REGION, Opcode, Target
from hw.interfaces import INDEX_BITS, instructions
from hw.memories import fields_layout
from hw.transfer import (
    ALIGNMENT_BITS,
    Area,
    Buffers,
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
