"""Memories that LOAD fills and CALC reads: weights, parameters, taps; and the way to the tables."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from codesign import isa
from codesign.arch import PARAM_RECORD_BITS, Arch
from hw.delay import delay
from hw.interfaces import MemoryWrite
from hw.post import TableWrite

BLOCK_DEPTH = 512
"""Words of a block memory at its widest (RAMB36 of 7 Series FPGAs, UG473)."""


def fields_layout(fields: tuple[isa.Field, ...]) -> data.StructLayout:
    """A record of the instruction set as hardware sees it: the same bits."""
    return data.StructLayout({f.name: signed(f.bits) if f.signed else f.bits for f in fields})


def pieces(depth: int) -> list[tuple[int, int]]:
    """(first word, words) of the power-of-two memories, largest first, that hold ``depth`` words.

    A memory generator would round 4608 words up to 8192; pieces of 4096 and 512 waste nothing.
    """
    if depth <= BLOCK_DEPTH:
        return [(0, depth)]
    blocks = -(-depth // BLOCK_DEPTH)
    sizes = [1 << i for i in reversed(range(blocks.bit_length())) if blocks >> i & 1]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [(a * BLOCK_DEPTH, n * BLOCK_DEPTH) for a, n in zip(starts, sizes, strict=True)]


class BlockMemory(Component):
    """A memory of power-of-two pieces, or of one, with one write and one read port.

    Time: a word is at the output ``read_latency`` cycles after its address: one in the memory, one
    in a register behind it, and one to choose the piece if there are several. A word that is
    written in a cycle is read by addresses of later cycles.
    """

    def __init__(self, width: int, depth: int, split: bool = True) -> None:
        self.width, self.depth = width, depth
        self.pieces = pieces(depth) if split else [(0, depth)]
        self.memories = [Memory(shape=width, depth=size, init=[]) for _, size in self.pieces]
        self.read_latency = 2 + (len(self.pieces) > 1)
        address = bits_for(depth - 1)
        super().__init__({
            "write_enable": In(1),
            "write_address": In(address),
            "write_data": In(width),
            "read_address": In(address),
            "read_data": Out(width),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        words = []
        for i, (first, size) in enumerate(self.pieces):
            low = bits_for(size - 1)
            memory = m.submodules[f"piece{i}"] = self.memories[i]
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(self.write_address[:low]),
                write.data.eq(self.write_data),
                write.en.eq(self.write_enable & (self.write_address[low:] == first >> low)),
                read.addr.eq(self.read_address[:low]),
            ]
            word = Signal(self.width, name=f"word{i}", reset_less=True)
            m.d.sync += word.eq(read.data)
            words.append((word, low, first))
        if len(words) == 1:
            m.d.comb += self.read_data.eq(words[0][0])
            return m
        address = delay(m, self.read_address, 2, name="read_address")
        terms = [Mux(address[low:] == first >> low, word, 0) for word, low, first in words]
        chosen = Signal(self.width, reset_less=True)
        m.d.sync += chosen.eq(any_of(terms))
        m.d.comb += self.read_data.eq(chosen)
        return m


def any_of(terms):
    """The bitwise or of all terms."""
    result = terms[0]
    for term in terms[1:]:
        result = result | term
    return result


class Memories(Component):
    """WGT, PARAM and TAP, and the demultiplexer of LOAD's words.

    Time: words are at the outputs the memories' ``read_latency`` after their addresses; a word
    that LOAD hands over is in its memory two cycles later.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        # In one piece: the source side waits latency.TAP_READ for an entry, whatever the depth.
        self.taps = BlockMemory(isa.width(isa.TAP_ENTRY), arch.tap_depth, split=False)
        self.weights = BlockMemory(8 * arch.wgt_word_bytes, arch.wgt_depth)
        self.params = BlockMemory(PARAM_RECORD_BITS * arch.in_channels, arch.param_depth)
        super().__init__({
            "write": In(MemoryWrite(arch)),
            "table_write": Out(TableWrite(arch)),
            "tap_address": In(bits_for(arch.tap_depth - 1)),
            "tap": Out(fields_layout(isa.TAP_ENTRY)),
            "wgt_address": In(bits_for(arch.wgt_depth - 1)),
            "wgt_word": Out(8 * arch.wgt_word_bytes),
            "param_address": In(bits_for(arch.param_depth - 1)),
            "param_word": Out(PARAM_RECORD_BITS * arch.in_channels),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.taps, m.submodules.wgt, m.submodules.param = (
            self.taps,
            self.weights,
            self.params,
        )
        address = Signal.like(self.write.address, reset_less=True)
        word = Signal.like(self.write.data, reset_less=True)
        m.d.sync += [address.eq(self.write.address), word.eq(self.write.data)]

        def enable(target):
            chosen = Signal(name=f"write_{target.name.lower()}")
            m.d.sync += chosen.eq(self.write.valid & (self.write.target == target))
            return chosen

        for target, memory in (
            (isa.Target.TAP, self.taps),
            (isa.Target.WGT, self.weights),
            (isa.Target.PARAM, self.params),
        ):
            m.d.comb += [
                memory.write_enable.eq(enable(target)),
                memory.write_address.eq(address),
                memory.write_data.eq(word),
            ]
        m.d.comb += [
            self.table_write.enable.eq(enable(isa.Target.TABLE)),
            self.table_write.address.eq(address),
            self.table_write.data.eq(word),
            self.taps.read_address.eq(self.tap_address),
            self.weights.read_address.eq(self.wgt_address),
            self.params.read_address.eq(self.param_address),
            self.tap.as_value().eq(self.taps.read_data),
            self.wgt_word.eq(self.weights.read_data),
            self.param_word.eq(self.params.read_data),
        ]
        return m


class ConfigQueue(Component):
    """Configurations of instructions in flight, oldest first, in LUT memory.

    ``push`` appends ``pushed``; ``pop`` brings the next one from ``oldest`` to ``current``, a
    register, in the cycle after. It neither fills nor runs dry: ``depth`` covers all instructions
    in the pipeline.
    """

    def __init__(self, layout: data.StructLayout, depth: int) -> None:
        self.depth = 1 << bits_for(depth - 1)
        super().__init__({
            "push": In(1),
            "pushed": In(layout),
            "pop": In(1),
            "oldest": Out(layout),
            "current": Out(layout),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        memory = m.submodules.memory = Memory(
            shape=len(self.pushed.as_value()), depth=self.depth, init=[]
        )
        write, read = memory.write_port(), memory.read_port(domain="comb")
        head = Signal(range(self.depth))
        tail = Signal(range(self.depth))
        current = Signal(len(self.pushed.as_value()), reset_less=True)
        m.d.comb += [
            write.en.eq(self.push),
            write.addr.eq(tail),
            write.data.eq(self.pushed),
            read.addr.eq(head),
            self.oldest.as_value().eq(read.data),
            self.current.as_value().eq(current),
        ]
        m.d.sync += tail.eq(tail + self.push)
        with m.If(self.pop):
            m.d.sync += [head.eq(head + 1), current.eq(read.data)]
        return m
