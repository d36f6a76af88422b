"""The whole accelerator between a host and a DRAM in Amaranth's simulator.

A stand-in takes the compute pipeline's place: it holds the activations, obeys tokens, and computes
nothing. What is tested with it is everything around.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator

from codesign import isa
from codesign.arch import ISA_VERSION, Arch
from codesign.isa import ErrorCode, Instruction, Opcode
from codesign.registers import CONTROL_START, OFFSETS, STATUS_BUSY, STATUS_RESETTING
from hw.interfaces import calc_ports
from hw.memories import fields_layout
from hw.top import SLAVE, Top
from tests.hw.axi_memory import AxiMemory

BUFFERS = {"PROGRAM": 0x0, "INPUT": 0x4000, "OUTPUT": 0x6000, "SCRATCH": 0x8000, "TRACE": 0xA000}
SIZE = 0x2000
DRAM_BYTES = 1 << 16


class StandIn(Component):
    """Takes ``groups`` cycles for a CALC; refuses zero groups; ports of ACT pause now and then."""

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__(calc_ports(arch))

    def elaborate(self, platform):
        m = Module()
        self._act(m)
        fields = Signal(fields_layout(isa.LAYOUTS[Opcode.CALC]))
        control, left, held, busy = self.control, Signal(16), Signal(), Signal()
        lacking = (fields.wait & ~control.available).any()
        m.d.comb += [
            self.instructions.ready.eq(~held & ~busy & ~control.stop),
            control.idle.eq(~held & ~busy),
            control.oldest_index.eq(control.retired_index),
            self.status.busy.eq(busy),
            self.status.active.eq(busy),
            self.status.wait_token.eq(held & lacking),
            self.status.wait_instruction.eq(~busy & ~(held & lacking)),
        ]
        m.d.sync += [control.retired.eq(0), control.give.eq(0), control.fault.eq(0)]
        with m.If(self.instructions.valid & self.instructions.ready):
            m.d.sync += [
                held.eq(1),
                fields.eq(self.instructions.payload.word),
                control.retired_index.eq(self.instructions.payload.index),
            ]
        with m.If(held & ~lacking & ~control.stop):
            m.d.comb += control.take.eq(fields.wait)
            m.d.sync += [
                held.eq(0),
                busy.eq(fields.groups != 0),
                left.eq(fields.groups),
                control.retired_start.eq(control.now),
                control.fault.eq(fields.groups == 0),
                control.fault_code.eq(ErrorCode.MALFORMED),
                control.fault_index.eq(control.retired_index),
            ]
        with m.If(busy):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += [busy.eq(0), control.retired.eq(1), control.give.eq(fields.signal)]
        return m

    def _act(self, m: Module) -> None:
        rows = (self._arch.act_depth - 1).bit_length()
        banks = (self._arch.pixels - 1).bit_length()
        bits = 8 * self._arch.act_word_bytes
        m.submodules.act = act = Memory(shape=bits, depth=4 << (rows + banks), init=[])
        write, read = act.write_port(), act.read_port()
        pause = Signal(7, init=1)
        load, save = self.load_act, self.save_act
        coming = Signal(2)

        def place(address):
            return Cat(address.bank[:banks], address.row[:rows], address.region[:2])

        m.d.sync += pause.eq(Cat(pause[6] ^ pause[5], pause))
        m.d.comb += [
            load.ready.eq(pause[:2].any()),
            save.ready.eq(pause[2:4].any()),
            self.load_wait_port.eq(load.valid & ~load.ready),
            self.save_wait_port.eq(save.valid & ~save.ready),
            write.en.eq(load.valid & load.ready),
            write.addr.eq(place(load.address)),
            write.data.eq(load.data),
            read.addr.eq(place(save.address)),
            save.word_valid.eq(coming[0]),
            save.word.eq(Mux(coming[0], read.data, 0)),
        ]
        m.d.sync += coming.eq(save.valid & save.ready)


class Machine:
    """``Top`` with a stand-in, a DRAM, and a host that speaks AXI4-Lite."""

    def __init__(self, arch: Arch, seed: int = 0, stall: float = 0.0, latency: int = 10) -> None:
        self.arch = arch
        self.top = Top(arch, StandIn(arch))
        self.simulator = Simulator(self.top)
        self.simulator.add_clock(1e-6)
        self.dram = AxiMemory(
            bytearray(DRAM_BYTES), arch.beat_bytes, read=self.top, write=self.top, prefix="m_axi_",
            seed=seed, stall=stall, latency=latency,
        )  # fmt: skip
        self.dram.attach(self.simulator)

    def program(self, instructions: list[Instruction | bytes], begin: bool = True) -> int:
        """Put a part into the program buffer; returns its number of instructions."""
        fields = {"isa_version": ISA_VERSION, "fingerprint": self.arch.fingerprint}
        part = [isa.make(Opcode.BEGIN, **fields)] if begin else []
        part += instructions
        image = b"".join(i if isinstance(i, bytes) else isa.encode(i) for i in part)
        self.dram.data[: len(image)] = image
        return len(part)

    def run(self, host) -> None:
        """Simulate until the coroutine ``host(ctx)`` ends."""
        self.simulator.add_testbench(host)
        self.simulator.run()

    def _port(self, name: str):
        return getattr(self.top, SLAVE + name)

    async def write(self, ctx, name: str, value: int, strobe: int = 15, data_first=False) -> None:
        await self.write_at(ctx, OFFSETS[name], value, strobe, data_first)

    async def write_at(self, ctx, offset: int, value: int, strobe=15, data_first=False) -> None:
        halves = [("aw", {"awaddr": offset}), ("w", {"wdata": value, "wstrb": strobe})]
        for prefix, signals in reversed(halves) if data_first else halves:
            for name, content in signals.items():
                ctx.set(self._port(name), content)
            ctx.set(self._port(prefix + "valid"), 1)
            await ctx.tick().until(self._port(prefix + "ready"))
            ctx.set(self._port(prefix + "valid"), 0)
        ctx.set(self._port("bready"), 1)
        (response,) = await ctx.tick().sample(self._port("bresp")).until(self._port("bvalid"))
        ctx.set(self._port("bready"), 0)
        assert response == 0

    async def read(self, ctx, name: str) -> int:
        return await self.read_at(ctx, OFFSETS[name])

    async def read_at(self, ctx, offset: int) -> int:
        ctx.set(self._port("araddr"), offset)
        ctx.set(self._port("arvalid"), 1)
        await ctx.tick().until(self._port("arready"))
        ctx.set(self._port("arvalid"), 0)
        ctx.set(self._port("rready"), 1)
        value, response = (
            await ctx.tick()
            .sample(self._port("rdata"), self._port("rresp"))
            .until(self._port("rvalid"))
        )
        ctx.set(self._port("rready"), 0)
        assert response == 0
        return value

    async def counter(self, ctx, name: str) -> int:
        low, high = await self.read(ctx, f"{name}_LOW"), await self.read(ctx, f"{name}_HIGH")
        return high << 32 | low

    async def set_up(self, ctx) -> None:
        """Write the addresses and sizes of all buffers."""
        for name, address in BUFFERS.items():
            await self.write(ctx, f"{name}_BASE_LOW", address)
            await self.write(ctx, f"{name}_SIZE_LOW", SIZE)

    async def start(self, ctx, count: int, limit: int = 5000) -> int:
        """Start the part, wait until it is no longer busy; returns STATUS."""
        await self.write(ctx, "PART_COUNT", count)
        await self.write(ctx, "CONTROL", CONTROL_START)
        for _ in range(limit):
            status = await self.read(ctx, "STATUS")
            if not status & (STATUS_BUSY | STATUS_RESETTING):
                return status
        raise AssertionError("still busy")
