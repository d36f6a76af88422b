"""The trace: a record in DRAM for every instruction that completes
(``registers.TRACE_RECORD_BYTES``).
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from codesign.isa import Unit
from codesign.latency import TRACE_DEPTH
from codesign.registers import ADDRESS_BITS, TRACE_RECORD_BYTES
from hw.axi import Burst, WriteBeat
from hw.counting import add_carry
from hw.interfaces import INDEX_BITS

_HALF = 16
RECORD_BITS = TRACE_RECORD_BYTES.bit_length() - 1
"""Low bits of a record's address: zero."""


class Retirement(data.StructLayout):
    """``valid``: one cycle, in which an instruction completes."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "index": INDEX_BITS, "start": 32})


class _Record(data.StructLayout):
    def __init__(self) -> None:
        super().__init__({"start": 32, "end": 32, "index": INDEX_BITS, "unit": 8})


class Trace(Component):
    """Writes records one by one; what finds no room in the queue or the buffer is counted in
    ``dropped``, not written.

    ``flushed``: nothing waits or is on the bus. ``stop`` starts no further record. An error
    response pulses ``fault``.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "retired": In(Retirement()).array(len(Unit)),
            "now": In(32),
            "enable": In(1),
            "clear": In(1),
            "stop": In(1),
            "base": In(ADDRESS_BITS),
            "size": In(ADDRESS_BITS),
            "burst": Out(stream.Signature(Burst())),
            "data": Out(stream.Signature(WriteBeat(arch))),
            "done": In(1),
            "error": In(1),
            "count": Out(32),
            "dropped": Out(1),
            "flushed": Out(1),
            "fault": Out(1),
            "fault_index": Out(INDEX_BITS),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFO(width=_Record().size, depth=TRACE_DEPTH)
        held, lost = self._catch(m, queue)
        lost_here = Signal()
        busy = self._write(m, queue, lost_here)
        pending = Signal(8)
        m.d.comb += [
            self.dropped.eq(pending.any()),
            self.flushed.eq(~held & ~queue.r_rdy & ~busy & ~self.dropped),
        ]
        m.d.sync += pending.eq(pending + lost + lost_here - self.dropped)
        return m

    def _catch(self, m: Module, queue: SyncFIFO):
        """One record per unit is held until the queue takes it; returns whether any is, and how
        many are lost.
        """
        held = Signal(len(Unit))
        lost = Signal(len(Unit))
        records = [Signal(_Record(), name=f"held_{unit.name.lower()}") for unit in Unit]
        taken = Signal(len(Unit))
        for unit, record in zip(Unit, records, strict=True):
            event = self.retired[unit]
            free = ~held[unit] | taken[unit]
            m.d.comb += lost[unit].eq(event.valid & self.enable & ~free)
            with m.If(event.valid & self.enable & free):
                m.d.sync += [
                    held[unit].eq(1),
                    record.start.eq(event.start),
                    record.end.eq(self.now),
                    record.index.eq(event.index),
                    record.unit.eq(unit),
                ]
            with m.Elif(taken[unit]):
                m.d.sync += held[unit].eq(0)
        m.d.comb += queue.w_en.eq(held.any())
        for unit, record in reversed(list(zip(Unit, records, strict=True))):
            with m.If(held[unit]):
                m.d.comb += [queue.w_data.eq(record), taken.eq(queue.w_rdy << int(unit))]
        return held.any(), sum(lost)

    def _write(self, m: Module, queue: SyncFIFO, lost):
        record = Signal(_Record())
        address = Signal(ADDRESS_BITS)
        carry, count_carry = Signal(), Signal()
        low_fits, high_fits, high_equal = Signal(), Signal(), Signal()
        offset = Cat(Const(0, RECORD_BITS), self.count)
        half = ADDRESS_BITS // 2
        room = self.size[RECORD_BITS:]
        base = Cat(Const(0, RECORD_BITS), self.base[RECORD_BITS:])
        m.d.sync += self.fault.eq(0)
        m.d.comb += [
            self.burst.payload.address.eq(address),
            self.burst.payload.length.eq(TRACE_RECORD_BYTES // self._arch.beat_bytes - 1),
            self.fault_index.eq(record.index),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += record.eq(queue.r_data)
                m.d.comb += queue.r_en.eq(~self.stop)
                with m.If(self.clear):
                    m.d.sync += self.count.eq(0)
                with m.Elif(queue.r_rdy & ~self.stop):
                    m.next = "LOW"
            with m.State("LOW"):
                low = base[:half] + offset[:half]
                m.d.sync += [
                    address[:half].eq(low),
                    carry.eq(low[half]),
                    low_fits.eq(self.count[:_HALF] < room[:_HALF]),
                    high_fits.eq(self.count[_HALF:] < room[_HALF:]),
                    high_equal.eq(self.count[_HALF:] == room[_HALF:]),
                ]
                m.next = "HIGH"
            with m.State("HIGH"):
                m.d.sync += address[half:].eq(add_carry(base[half:], offset[half:], carry))
                m.next = "ADDRESS"
                with m.If(~(high_fits | (high_equal & low_fits))):
                    m.d.comb += lost.eq(1)
                    m.next = "IDLE"
            with m.State("ADDRESS"):
                m.d.comb += self.burst.valid.eq(1)
                with m.If(self.burst.ready):
                    m.next = "DATA"
            with m.State("DATA"):
                self._data(m, record)
            with m.State("RESPONSE"):
                total = self.count[:_HALF] + 1
                m.d.sync += count_carry.eq(total[_HALF])
                with m.If(self.done):
                    m.d.sync += [self.count[:_HALF].eq(total), self.fault.eq(self.error)]
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += self.count[_HALF:].eq(self.count[_HALF:] + count_carry)
                m.next = "IDLE"
        return ~fsm.ongoing("IDLE")

    def _data(self, m: Module, record) -> None:
        beats = 8 * TRACE_RECORD_BYTES // self._arch.dma_bits
        words = Cat(record, Const(0, 8 * TRACE_RECORD_BYTES - record.shape().size))
        number = Signal(range(max(2, beats)))
        m.d.comb += [
            self.data.valid.eq(1),
            self.data.payload.data.eq(words.word_select(number, self._arch.dma_bits)),
            self.data.payload.strobe.eq(-1),
            self.data.payload.last.eq(number == beats - 1),
        ]
        with m.If(self.data.ready):
            m.d.sync += number.eq(Mux(self.data.payload.last, 0, number + 1))
            with m.If(self.data.payload.last):
                m.next = "RESPONSE"
