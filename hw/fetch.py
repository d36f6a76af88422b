"""FETCH: reads a part of a program, checks it, and fills the units' queues."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from codesign import isa
from codesign.arch import ISA_VERSION, Arch
from codesign.isa import INSTRUCTION_BYTES, ErrorCode, Opcode
from codesign.latency import FETCH_BURST_BEATS, FETCH_FIFO_BEATS, QUEUE_DEPTH
from codesign.registers import ADDRESS_BITS
from hw.axi import Burst
from hw.counting import count_both, count_up
from hw.interfaces import INDEX_BITS, UnitControl, instructions
from hw.memories import fields_layout
from hw.transfer import ALIGNMENT_BITS, BurstWalk, Credit


class Queue(Component):
    """Instructions of one unit, each in as many bits as its layout has; latency two cycles."""

    def __init__(self, opcode: Opcode) -> None:
        if QUEUE_DEPTH & (QUEUE_DEPTH - 1):
            raise ValueError(f"QUEUE_DEPTH={QUEUE_DEPTH} is no power of two: addresses must wrap")
        self._bits = isa.width(isa.LAYOUTS[opcode])
        super().__init__({"i": In(instructions()), "o": Out(instructions()), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        shape = data.StructLayout({"word": self._bits, "index": INDEX_BITS})
        m.submodules.memory = memory = Memory(shape=shape, depth=QUEUE_DEPTH, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        head = Signal(shape)
        level = Signal(range(QUEUE_DEPTH + 1))
        pushed, popped = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~level[-1]),
            pushed.eq(self.i.valid & self.i.ready),
            popped.eq(level.any() & (~self.o.valid | self.o.ready)),
            write.en.eq(pushed),
            write.data.word.eq(self.i.payload.word),
            write.data.index.eq(self.i.payload.index),
            self.o.payload.word.eq(head.word),
            self.o.payload.index.eq(head.index),
            self.empty.eq(~level.any() & ~self.o.valid),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(popped):
            m.d.sync += [self.o.valid.eq(1), head.eq(read.data), read.addr.eq(read.addr + 1)]
        with m.If(pushed):
            m.d.sync += write.addr.eq(write.addr + 1)
        count_both(m, level, pushed, popped)
        return m


class Fetch(Component):
    """``start`` begins a part; ``done`` pulses when END has been reached, queues are empty and
    units idle.

    A part that does not start with BEGIN, ends without END, has either elsewhere, is empty or lies
    at an offset that is no multiple of an instruction is MALFORMED; one that reaches beyond the
    program buffer is refused as a whole (ADDRESS_RANGE, index 0). So is one whose trace would begin
    between two records (``unaligned``, MALFORMED). ``flushed`` must be high before ``done``: the
    trace holds it low while it has records.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "control": Out(UnitControl(tokens=False)),
            "start": In(1),
            "base": In(ADDRESS_BITS),
            "size": In(ADDRESS_BITS),
            "part_offset": In(32),
            "part_count": In(32),
            "unaligned": In(1),
            "burst": Out(stream.Signature(Burst())),
            "beat_valid": In(1),
            "beat": In(arch.dma_bits),
            "error": In(1),
            "load": Out(instructions()),
            "calc": Out(instructions()),
            "save": Out(instructions()),
            "settled": In(1),
            "flushed": In(1),
            "done": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = BurstWalk(self._arch, self._beats_bits, FETCH_BURST_BEATS)
        m.submodules.fifo = fifo = SyncFIFO(width=self._arch.dma_bits + 1, depth=FETCH_FIFO_BEATS)
        state = _State(self._arch)
        self._assemble(m, fifo, state)
        self._request(m, bursts, fifo, state)
        ready, empty = self._queues(m, state)
        self._route(m, bursts, state, ready, empty)
        return m

    @property
    def _per_instruction(self) -> int:
        return INSTRUCTION_BYTES // self._arch.beat_bytes

    @property
    def _beats_bits(self) -> int:
        return INDEX_BITS + self._per_instruction.bit_length()

    def _request(self, m: Module, bursts: BurstWalk, fifo: SyncFIFO, state: "_State") -> None:
        m.submodules.credit = credit = Credit(FETCH_FIFO_BEATS, FETCH_BURST_BEATS)
        m.d.comb += [
            credit.popped.eq(state.taken),
            credit.requested.eq(self.burst.valid & self.burst.ready),
            credit.length.eq(self.burst.payload.length),
            bursts.room.eq(credit.room),
            bursts.i.payload.base.eq(self.base),
            bursts.i.payload.size.eq(self.size),
            bursts.i.payload.offset.eq(self.part_offset),
            bursts.i.payload.rows.eq(1),
            bursts.i.payload.beats.eq(self.part_count * self._per_instruction),
            self.burst.valid.eq(bursts.o.valid),
            self.burst.payload.eq(bursts.o.payload),
            bursts.o.ready.eq(self.burst.ready),
            fifo.w_en.eq(self.beat_valid),
            fifo.w_data.eq(Cat(self.beat, self.error)),
        ]

    def _assemble(self, m: Module, fifo: SyncFIFO, state: "_State") -> None:
        """Beats into ``state.word``; bits above the opcode's last field set ``state.extra``.

        A register between the FIFO and what looks at a beat keeps reading and judging apart.
        """
        head, held = Signal.like(fifo.r_data), Signal()
        beat, error = head[:-1], head[-1]
        opcode = Mux(state.beat == 0, beat[:4], state.opcode)
        extra = Signal()
        with m.Switch(opcode):
            for legal, fields in isa.LAYOUTS.items():
                with m.Case(legal):
                    m.d.comb += extra.eq(self._beyond(state.beat, beat, isa.width(fields)))
        m.d.comb += [
            state.taken.eq(held & state.running & ~state.full),
            fifo.r_en.eq(~held | state.taken),
        ]
        with m.If(fifo.r_en):
            m.d.sync += [head.eq(fifo.r_data), held.eq(fifo.r_rdy)]
        with m.If(state.taken):
            m.d.sync += [
                state.word.eq(Cat(state.word, beat)[self._arch.dma_bits :]),
                state.beat.eq(state.beat + 1),
                state.opcode.eq(opcode),
                state.extra.eq(extra | (state.extra & (state.beat != 0))),
                state.error.eq(error | (state.error & (state.beat != 0))),
                state.full.eq(state.beat == self._per_instruction - 1),
            ]

    def _beyond(self, number, beat, width: int):
        """Whether this beat of an instruction has a bit set at or above ``width``."""
        last, inside = divmod(width, self._arch.dma_bits)
        return ((number == last) & beat[inside:].any()) | ((number > last) & beat.any())

    def _queues(self, m: Module, state: "_State"):
        """The three queues; returns whether the one that the opcode names has room, and whether all
        are empty.
        """
        ready, empty = [], []
        for opcode, sink in (
            (Opcode.LOAD, self.load),
            (Opcode.CALC, self.calc),
            (Opcode.SAVE, self.save),
        ):
            m.submodules[f"queue_{opcode.name.lower()}"] = queue = Queue(opcode)
            chosen = Signal(name=f"chosen_{opcode.name.lower()}")
            m.d.sync += chosen.eq(state.opcode == opcode)
            m.d.comb += [
                queue.i.valid.eq(state.push & chosen),
                queue.i.payload.word.eq(state.word),
                queue.i.payload.index.eq(state.index),
                sink.valid.eq(queue.o.valid),
                sink.payload.eq(queue.o.payload),
                queue.o.ready.eq(sink.ready),
            ]
            ready.append(queue.i.ready & chosen)
            empty.append(queue.empty)
        return Cat(*ready).any(), Cat(*empty).all()

    def _route(self, m: Module, bursts: BurstWalk, state: "_State", ready, empty) -> None:
        control = self.control
        verdict, sound = Signal(ErrorCode), Signal()
        m.d.comb += bursts.stop.eq(control.stop)
        m.d.sync += [control.fault.eq(0), control.retired.eq(0), self.done.eq(0)]
        first, last, passed = self._position(m, state)

        def proceed():
            m.d.sync += state.full.eq(0)
            count_up(m, state.index)
            count_up(m, passed)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [state.index.eq(0), state.beat.eq(0), state.full.eq(0)]
                m.d.comb += bursts.i.valid.eq(self.start & ~control.stop)
                with m.If(self.start & ~control.stop):
                    m.d.sync += [
                        state.running.eq(1),
                        control.retired_start.eq(0),
                        passed.eq(~self.part_count),
                    ]
                    m.next = "PART"
            with m.State("PART"):
                m.next = "COLLECT"
                with m.If(self._contradicts()):
                    self._refuse(m, state, ErrorCode.MALFORMED)
            with m.State("COLLECT"):
                judged = self._verdict(state, first, last)
                m.d.sync += [verdict.eq(judged), sound.eq(judged == ErrorCode.NONE)]
                with m.If(bursts.fault):
                    self._refuse(m, state, ErrorCode.ADDRESS_RANGE)
                with m.Elif(control.stop):
                    m.next = "HALT"
                with m.Elif(state.full):
                    m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.comb += state.push.eq(sound)
                with m.If(~sound):
                    self._refuse(m, state, verdict)
                with m.Elif(state.opcode == Opcode.BEGIN):
                    m.d.sync += control.retired.eq(1)
                    m.next = "BEGUN"
                with m.Elif(state.opcode == Opcode.END):
                    m.d.sync += control.retired_start.eq(control.now)
                    m.next = "END"
                with m.Elif(ready):
                    proceed()
                    m.next = "COLLECT"
            with m.State("BEGUN"):
                proceed()
                m.next = "COLLECT"
            self._end(m, state, empty)
        m.d.comb += control.idle.eq(fsm.ongoing("IDLE"))

    def _position(self, m: Module, state: "_State"):
        """Whether the instruction at hand is the part's first, its last; a count up to the last."""
        control = self.control
        first, last, passed = Signal(), Signal(), Signal(INDEX_BITS)
        m.d.comb += [
            control.retired_index.eq(state.index),
            control.oldest_index.eq(state.index),
        ]
        m.d.sync += [first.eq(state.index == 0), last.eq(~passed == 1)]
        return first, last, passed

    def _refuse(self, m: Module, state: "_State", code) -> None:
        """The part ends here with a fault."""
        m.d.sync += [
            self.control.fault.eq(1),
            self.control.fault_code.eq(code),
            self.control.fault_index.eq(state.index),
            state.running.eq(0),
        ]
        m.next = "HALT"

    def _end(self, m: Module, state: "_State", empty) -> None:
        """States from END on: all units, then the trace, are done; or a fault, until a reset."""
        with m.State("END"):
            with m.If(self.control.stop):
                m.next = "HALT"
            with m.Elif(empty & self.settled):
                m.d.sync += self.control.retired.eq(1)
                m.next = "FLUSH"
        with m.State("FLUSH"):
            m.next = "FLUSHING"
        with m.State("FLUSHING"), m.If(self.flushed):
            m.d.sync += [self.done.eq(1), state.running.eq(0)]
            m.next = "IDLE"
        with m.State("HALT"):
            pass

    def _contradicts(self):
        """Whether address, offset, count or trace of the part cannot be right."""
        unaligned = Cat(
            self.part_offset[: (INSTRUCTION_BYTES - 1).bit_length()], self.base[:ALIGNMENT_BITS]
        ).any()
        count = self.part_count
        return unaligned | self.unaligned | (count == 0) | count[INDEX_BITS:].any()

    def _verdict(self, state: "_State", first, last):
        fields = isa.LAYOUTS[Opcode.BEGIN]
        begin = fields_layout(fields)(state.word[: isa.width(fields)])
        stranger = (begin.isa_version != ISA_VERSION) | (
            begin.fingerprint != self._arch.fingerprint
        )
        legal = Cat(*(state.opcode == opcode for opcode in Opcode)).any()
        is_begin, is_end = state.opcode == Opcode.BEGIN, state.opcode == Opcode.END
        misplaced = (is_begin != first) | (is_end != last)
        return Mux(
            state.error,
            ErrorCode.AXI_READ,
            Mux(
                ~legal,
                ErrorCode.ILLEGAL_OPCODE,
                Mux(
                    state.extra | misplaced,
                    ErrorCode.MALFORMED,
                    Mux(is_begin & stranger, ErrorCode.ARCH_MISMATCH, ErrorCode.NONE),
                ),
            ),
        )


class _State:
    """Registers that FETCH's stages share: the instruction being assembled and its index."""

    def __init__(self, arch: Arch) -> None:
        per_instruction = INSTRUCTION_BYTES // arch.beat_bytes
        self.word = Signal(8 * INSTRUCTION_BYTES)
        self.opcode = Signal(4)
        self.beat = Signal(range(per_instruction))
        self.index = Signal(INDEX_BITS)
        self.extra, self.error = Signal(), Signal()
        self.full, self.running, self.push, self.taken = Signal(), Signal(), Signal(), Signal()
