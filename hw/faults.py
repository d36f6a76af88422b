"""The state of a run: start, done, first fault, watchdog, soft reset, interrupt."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign.isa import ErrorCode, Unit
from codesign.registers import STATUS_BUSY, STATUS_DONE, STATUS_ERROR, STATUS_RESETTING
from hw.counting import count_up
from hw.interfaces import INDEX_BITS

_HALF = 16
_QUIET_CYCLES = 16
"""Cycles without anything outstanding after which a stopped machine has nothing left on its way to
the bus.
"""


class Fault(data.StructLayout):
    """``valid``: one cycle."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "code": 4, "index": INDEX_BITS})


class Unfinished(data.StructLayout):
    """A unit's oldest instruction that has not completed."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "index": INDEX_BITS})


class RunControl(Component):
    """Starts, stops and resets the machine.

    A start is taken only when nothing runs and no error is pending. ``now`` counts the cycles of a
    run. The first fault ends the run and raises ``stop``, which a soft reset lifts: it waits until
    ``outstanding`` has been low for a while, then holds ``core_reset`` for ``reset_cycles`` and
    clears done and error. ``acknowledge`` clears done and the interrupt.
    """

    def __init__(self, sources: int, reset_cycles: int) -> None:
        super().__init__({
            "start": In(1),
            "reset": In(1),
            "acknowledge": In(1),
            "interrupt_enable": In(1),
            "watchdog": In(32),
            "progress": In(1),
            "outstanding": In(1),
            "finished": In(1),
            "faults": In(Fault()).array(sources),
            "unfinished": In(Unfinished()).array(len(Unit)),
            "begin": Out(1),
            "running": Out(1),
            "stop": Out(1),
            "resetting": Out(1),
            "core_reset": Out(1),
            "now": Out(32),
            "status": Out(4),
            "error_code": Out(4),
            "error_index": Out(INDEX_BITS),
            "interrupt": Out(1),
        })  # fmt: skip
        self._sources, self._reset_cycles = sources, reset_cycles

    def elaborate(self, platform):
        m = Module()
        done, error, raised = Signal(), Signal(), Signal()
        expired, expired_index = self._watchdog(m)
        fault, code, index = Signal(), Signal(4), Signal(INDEX_BITS)
        m.d.comb += [
            self.begin.eq(self.start & ~self.running & ~error & ~self.resetting),
            fault.eq(expired | Cat(*(self.faults[i].valid for i in range(self._sources))).any()),
            code.eq(ErrorCode.WATCHDOG),
            index.eq(expired_index),
        ]
        for i in reversed(range(self._sources)):
            with m.If(self.faults[i].valid):
                m.d.comb += [code.eq(self.faults[i].code), index.eq(self.faults[i].index)]
        with m.If(self.acknowledge):
            m.d.sync += [done.eq(0), raised.eq(0)]
        with m.If(self.begin):
            m.d.sync += [self.running.eq(1), done.eq(0), raised.eq(0)]
        with m.If(self.running & self.finished):
            m.d.sync += [self.running.eq(0), done.eq(1), raised.eq(1)]
        with m.If(self.running & fault):
            m.d.sync += [
                self.running.eq(0),
                done.eq(0),
                error.eq(1),
                raised.eq(1),
                self.error_code.eq(code),
                self.error_index.eq(index),
            ]
        with m.If(self.reset):
            m.d.sync += self.running.eq(0)
        self._clock(m)
        with m.If(self._soft_reset(m)):
            m.d.sync += [
                done.eq(0),
                error.eq(0),
                raised.eq(0),
                self.error_code.eq(ErrorCode.NONE),
                self.error_index.eq(0),
            ]
        m.d.comb += [
            self.stop.eq(error | self.resetting),
            self.status.eq(
                Mux(self.running, STATUS_BUSY, 0)
                | Mux(done, STATUS_DONE, 0)
                | Mux(error, STATUS_ERROR, 0)
                | Mux(self.resetting, STATUS_RESETTING, 0)
            ),
        ]
        m.d.sync += self.interrupt.eq(raised & self.interrupt_enable)
        return m

    def _clock(self, m: Module) -> None:
        with m.If(self.begin):
            m.d.sync += self.now.eq(0)
        with m.Elif(self.running):
            count_up(m, self.now)

    def _soft_reset(self, m: Module):
        """Returns the last cycle of a soft reset."""
        last = _QUIET_CYCLES + self._reset_cycles - 1
        quiet = Signal(range(last + 1))
        ends = Signal()
        m.d.comb += ends.eq(quiet == last)
        m.d.sync += self.core_reset.eq((quiet >= _QUIET_CYCLES - 1) & ~ends)
        with m.If(self.reset):
            m.d.sync += self.resetting.eq(1)
        with m.Elif(ends):
            m.d.sync += self.resetting.eq(0)
        with m.If(~self.resetting | self.outstanding | ends):
            m.d.sync += quiet.eq(0)
        with m.Else():
            m.d.sync += quiet.eq(quiet + 1)
        return ends

    def _watchdog(self, m: Module):
        """Counts down between signs of progress; on expiry the unfinished instructions are compared
        one by one.
        """
        low, high = Signal(_HALF), Signal(_HALF)
        unit = Signal(range(len(Unit) + 1))
        oldest, found = Signal(INDEX_BITS), Signal()
        armed, compare, expired = Signal(), Signal(), Signal()
        candidate = Signal(Unfinished())
        m.d.sync += [
            armed.eq(self.watchdog.any() & self.running),
            candidate.eq(_pick([self.unfinished[i] for i in range(len(Unit))], unit)),
            compare.eq(0),
        ]
        m.d.comb += expired.eq(unit == len(Unit))
        with m.If(self.progress | ~armed):
            m.d.sync += [Cat(low, high).eq(self.watchdog), unit.eq(0), found.eq(0)]
        with m.Elif(low.any()):
            m.d.sync += low.eq(low - 1)
        with m.Elif(high.any()):
            m.d.sync += [low.eq(-1), high.eq(high - 1)]
        with m.Elif(~compare & ~expired):
            m.d.sync += compare.eq(1)
        with m.Elif(~expired):
            m.d.sync += unit.eq(unit + 1)
            with m.If(candidate.valid & (~found | (candidate.index < oldest))):
                m.d.sync += [oldest.eq(candidate.index), found.eq(1)]
        return expired, oldest


def _pick(candidates, number):
    layout = candidates[0].shape()
    chosen = candidates[0].as_value()
    for i, candidate in enumerate(candidates):
        chosen = Mux(number == i, candidate.as_value(), chosen)
    return layout(chosen)
