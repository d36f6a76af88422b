"""Event counters: small ones count, a memory swept round and round adds up to 64 bits."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from codesign.registers import COUNTERS

_PART_BITS = 16
_PARTS = 4
_SELECT_BITS = 5


class Counters(Component):
    """Counts, for every name in ``registers.COUNTERS``, the cycles in which its bit of ``levels``
    is high.

    A read names a counter (``select``) and a half (``high``) while ``request`` is held; ``valid``
    pulses with the value, which holds every event up to the request: a whole sweep has passed
    since. That takes at most ``LONGEST_READ`` cycles.
    """

    _SWEEP = (len(COUNTERS) + 1) * _PARTS
    LONGEST_READ = 2 * _SWEEP + 3

    def __init__(self) -> None:
        if len(COUNTERS) >= 1 << _SELECT_BITS:
            raise ValueError(f"{len(COUNTERS)} counters exceed {_SELECT_BITS} bits of address")
        super().__init__({
            "levels": In(len(COUNTERS)),
            "clear": In(1),
            "request": In(1),
            "select": In(_SELECT_BITS),
            "high": In(1),
            "valid": Out(1),
            "value": Out(32),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        count = len(COUNTERS)
        m.submodules.sums = sums = Memory(shape=_PART_BITS, depth=_PARTS << _SELECT_BITS, init=[])
        write, read = sums.write_port(), sums.read_port(domain="comb")
        part, slot = Signal(range(_PARTS)), Signal(_SELECT_BITS)
        levels = Signal(count)
        small = [Signal(range(self._SWEEP + 1), name=f"small_{i}") for i in range(count)]
        fresh = Signal(count, init=-1)
        reading = Signal()
        m.d.comb += [
            reading.eq(slot == count),
            read.addr.eq(Cat(part, Mux(reading, self.select, slot))),
        ]
        m.d.sync += [levels.eq(self.levels), part.eq(part + 1)]
        with m.If(part == _PARTS - 1):
            m.d.sync += slot.eq(Mux(reading, 0, slot + 1))
        with m.If(self.clear):
            m.d.sync += [part.eq(0), slot.eq(0)]
        for i, counter in enumerate(small):
            flushed = (part == 0) & (slot == i)
            m.d.sync += counter.eq(Mux(flushed, 0, counter) + levels[i])
            with m.If(self.clear):
                m.d.sync += [counter.eq(0), fresh[i].eq(1)]
            with m.Elif((slot == i) & (part == _PARTS - 1)):
                m.d.sync += fresh[i].eq(0)
        self._add(m, read, write, Array(small)[slot], Array(fresh)[slot], part, reading)
        self._answer(m, read, part, reading)
        return m

    def _add(self, m: Module, read, write, small, fresh, part, reading) -> None:
        """One part of a sum per cycle: read and remember, then add and write with the last part's
        carry.
        """
        old, increment = Signal(_PART_BITS), Signal(small.shape())
        carry, first, active = Signal(), Signal(), Signal()
        total = Signal(_PART_BITS + 1)
        m.d.sync += [
            old.eq(Mux(fresh, 0, read.data)),
            increment.eq(small),
            first.eq(part == 0),
            active.eq(~reading & ~self.clear),
            write.addr.eq(read.addr),
            carry.eq(total[-1]),
        ]
        m.d.comb += [
            total.eq(old + Mux(first, increment, carry)),
            write.data.eq(total),
            write.en.eq(active),
        ]

    def _answer(self, m: Module, read, part, reading) -> None:
        waited, asked = Signal(), Signal()
        mine = reading & (part[1] == self.high)
        m.d.sync += [asked.eq(self.request), self.valid.eq(0)]
        with m.If(~self.request):
            m.d.sync += waited.eq(0)
        with m.Elif(reading & (part == _PARTS - 1)):
            m.d.sync += [waited.eq(asked), self.valid.eq(waited)]
        with m.If(mine):
            m.d.sync += self.value.eq(Cat(self.value[_PART_BITS:], read.data))
