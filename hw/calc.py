"""CALC: the compute pipeline with all on-chip memories (docs/machine.md)."""

from amaranth import Module, Mux, Signal
from amaranth.lib.wiring import Component, connect, flipped

from codesign import latency
from codesign.arch import Arch
from hw.act import Act
from hw.array import Array
from hw.delay import delay
from hw.drain import Drain
from hw.interfaces import calc_ports
from hw.memories import Memories
from hw.post import Post
from hw.sequencer import Sequencer
from hw.source import Source


class Calc(Component):
    """Runs CALC instructions; LOAD writes and SAVE reads its memories through it.

    Time: ``codesign.latency.calc_finish`` tells the exact start and end of every instruction; a
    tap issues in every slot that holds one, so the array never waits within an instruction.

    The ports are ``hw.interfaces.calc_ports``. After ``control.stop`` nothing starts and what runs
    ends as usual.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.sequencer = Sequencer(arch)
        self.memories = Memories(arch)
        if self.memories.taps.read_latency + 1 != latency.TAP_READ:
            raise ValueError(
                f"a tap's entry comes {self.memories.taps.read_latency + 1} cycles after its "
                f"issue, not latency.TAP_READ={latency.TAP_READ}; change that constant"
            )
        self.act = Act(arch)
        self.source = Source(arch)
        self.array = Array(arch)
        self.post = Post(arch)
        self.drain = Drain(arch, self.memories.params.read_latency)
        super().__init__(calc_ports(arch))

    def elaborate(self, platform):
        m = Module()
        for name in ("sequencer", "memories", "act", "source", "array", "post", "drain"):
            m.submodules[name] = getattr(self, name)
        self._connect_outside(m)
        self._connect_control(m)
        self._connect_source(m)
        self._connect_array(m)
        self._connect_results(m)
        return m

    def _connect_outside(self, m):
        act, sequencer = self.act, self.sequencer
        connect(m, flipped(self.load_act), act.load)
        connect(m, flipped(self.save_act), act.save)
        connect(m, flipped(self.load_memory), self.memories.write)
        connect(m, flipped(self.instructions), sequencer.instructions)
        connect(m, sequencer.status, flipped(self.status))
        m.d.comb += [
            self.load_wait_port.eq(act.load_wait),
            self.save_wait_port.eq(act.save_wait),
            self.post.table_write.eq(self.memories.table_write),
        ]

    def _connect_control(self, m):
        control, sequencer, drain = self.control, self.sequencer, self.drain
        taps = sequencer.taps
        m.d.comb += [
            sequencer.available.eq(control.available),
            sequencer.stop.eq(control.stop),
            sequencer.drained.eq(drain.drained),
            drain.start.eq(sequencer.start),
            drain.fields.eq(sequencer.next),
            drain.span.eq(sequencer.next_span),
            drain.index.eq(sequencer.next_index),
            drain.now.eq(control.now),
            drain.ends.valid.eq(taps.group_end),
            drain.ends.first.eq(taps.first_group),
            drain.ends.last.eq(taps.last_slot),
            control.take.eq(sequencer.take),
            control.give.eq(drain.give),
            control.retired.eq(drain.retired),
            control.retired_index.eq(drain.retired_index),
            control.retired_start.eq(drain.retired_start),
            control.fault.eq(sequencer.fault),
            control.fault_code.eq(sequencer.fault_code),
            control.fault_index.eq(sequencer.next_index),
            control.oldest_index.eq(
                Mux(drain.unfinished, drain.oldest_index, sequencer.next_index)
            ),
            control.idle.eq(~drain.unfinished & ~sequencer.pending),
        ]

    def _connect_source(self, m):
        source, sequencer, taps = self.source, self.sequencer, self.sequencer.taps
        m.d.comb += [
            source.start.eq(sequencer.start),
            source.y_start.eq(sequencer.next.y_start),
            source.config.eq(sequencer.config),
            source.group_start.eq(taps.group_start),
            source.valid.eq(taps.valid),
            source.row.eq(taps.row),
            self.memories.tap_address.eq(taps.tap_address),
            source.tap.eq(self.memories.tap),
            self.act.source_regions.eq(source.regions),
            self.act.source_rows.eq(source.rows),
            source.words.eq(self.act.source_words),
        ]

    def _connect_array(self, m):
        """Weights and control meet lane 0's activations."""
        array, taps = self.array, self.sequencer.taps
        wait = latency.ACT_READ - 1
        valid, first, last = (Signal(wait, name=f"tap_{n}") for n in ("valid", "first", "last"))
        for line, strobe in ((valid, taps.valid), (first, taps.first), (last, taps.group_end)):
            m.d.sync += line.eq((line << 1) | strobe)
        weights = self.memories.weights
        address = delay(m, taps.wgt_address, wait - weights.read_latency, name="wgt_address")
        m.d.comb += [
            array.acts.as_value().eq(self.source.acts.as_value()),
            self.memories.wgt_address.eq(address),
            array.weights.eq(self.memories.wgt_word),
            array.mode.eq(delay(m, self.sequencer.config.mode, wait, name="mode")),
            array.slice.eq(delay(m, taps.slice, wait, name="slice")),
            array.valid.eq(valid[-1]),
            array.first.eq(first[-1]),
            array.last.eq(last[-1]),
        ]

    def _connect_results(self, m):
        post, drain, act = self.post, self.drain, self.act
        m.d.comb += [
            post.sums.eq(self.array.sums),
            post.config.eq(drain.post),
            self.memories.param_address.eq(drain.param_address),
            post.params.eq(self.memories.param_word),
            post.residual.as_value().eq(act.residual_words.as_value()),
            act.residual_regions.eq(drain.residual_regions),
            act.residual.eq(drain.residual),
            act.result_claims.eq(drain.result_claims),
            act.result_regions.eq(drain.result_regions),
            act.result.eq(drain.result),
            act.result_words.as_value().eq(post.words.as_value()),
        ]
