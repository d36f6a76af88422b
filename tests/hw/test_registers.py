"""The register file and the counters at their ports."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from codesign.arch import ISA_VERSION, preset
from codesign.registers import (
    ADDRESS_BITS,
    COUNTERS,
    MAGIC,
    OFFSETS,
    REGISTERS,
    WATCHDOG_CYCLES,
)
from hw.counters import Counters
from hw.registers import VALUES, Registers

ARCH = preset("tiny")


class Host:
    """An AXI4-Lite master that may send address and data in any order and take its time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.registers, self.counters = Registers(ARCH), Counters()
        m = Module()
        m.submodules.registers, m.submodules.counters = self.registers, self.counters
        for name in ("request", "select", "high"):
            m.d.comb += getattr(self.counters, name).eq(getattr(self.registers, f"counter_{name}"))
        m.d.comb += [
            self.registers.counter_valid.eq(self.counters.valid),
            self.registers.counter_value.eq(self.counters.value),
        ]
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)

    async def _send(self, ctx, channel: str) -> None:
        port = self.registers
        await ctx.tick().repeat(self.rng.randint(1, 4))
        ctx.set(getattr(port, f"{channel}valid"), 1)
        await ctx.tick().until(getattr(port, f"{channel}ready"))
        ctx.set(getattr(port, f"{channel}valid"), 0)

    async def write(self, ctx, offset: int, value: int, strobe: int = 15) -> None:
        port = self.registers
        ctx.set(port.awaddr, offset)
        ctx.set(port.wdata, value)
        ctx.set(port.wstrb, strobe)
        for channel in self.rng.choice((("aw", "w"), ("w", "aw"))):
            await self._send(ctx, channel)
        await ctx.tick().repeat(self.rng.randint(1, 4))
        ctx.set(port.bready, 1)
        (answer,) = await ctx.tick().sample(port.bresp).until(port.bvalid)
        ctx.set(port.bready, 0)
        assert answer == 0

    async def read(self, ctx, offset: int) -> int:
        port = self.registers
        ctx.set(port.araddr, offset)
        await self._send(ctx, "ar")
        await ctx.tick().repeat(self.rng.randint(1, 4))
        ctx.set(port.rready, 1)
        value, answer = await ctx.tick().sample(port.rdata, port.rresp).until(port.rvalid)
        ctx.set(port.rready, 0)
        assert answer == 0
        return value

    def run(self, host) -> None:
        self.simulator.add_testbench(host)
        self.simulator.run()


def stored_bits(name: str) -> int:
    if name.endswith("_HIGH"):
        return ADDRESS_BITS - 32
    return min(VALUES[name.removesuffix("_LOW")], 32)


def test_written_values_are_read_back_and_reach_their_ports() -> None:
    host = Host(1)
    written = [register for register in REGISTERS if register.access == "rw"]
    values = {register.name: host.rng.getrandbits(32) for register in written}

    async def check(ctx):
        for register in written:
            await host.write(ctx, register.offset, values[register.name])
        for register in written:
            kept = values[register.name] & ((1 << stored_bits(register.name)) - 1)
            assert await host.read(ctx, register.offset) == kept
        high, low = values["SCRATCH_SIZE_HIGH"] & 0xFF, values["SCRATCH_SIZE_LOW"]
        assert ctx.get(host.registers.scratch_size) == high << 32 | low
        assert ctx.get(host.registers.part_count) == values["PART_COUNT"]

    host.run(check)


def test_strobes_choose_bytes() -> None:
    host = Host(2)

    async def check(ctx):
        expected = WATCHDOG_CYCLES
        for strobe in range(16):
            value = host.rng.getrandbits(32) if strobe else 0
            await host.write(ctx, OFFSETS["WATCHDOG"], value, strobe)
            mask = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
            expected = expected & ~mask | value & mask
            assert await host.read(ctx, OFFSETS["WATCHDOG"]) == expected

    host.run(check)


def test_identity_states_and_unknown_addresses() -> None:
    host = Host(3)

    async def check(ctx):
        ctx.set(host.registers.status, 5)
        ctx.set(host.registers.error_index, 0xABCDEF)
        ctx.set(host.registers.trace_count, 0x12345678)
        assert await host.read(ctx, OFFSETS["ID"]) == MAGIC
        assert await host.read(ctx, OFFSETS["ISA_VERSION"]) == ISA_VERSION
        assert await host.read(ctx, OFFSETS["FINGERPRINT"]) == ARCH.fingerprint
        assert await host.read(ctx, OFFSETS["STATUS"]) == 5
        assert await host.read(ctx, OFFSETS["ERROR_INDEX"]) == 0xABCDEF
        assert await host.read(ctx, OFFSETS["TRACE_COUNT"]) == 0x12345678
        known = {register.offset for register in REGISTERS if register.access != "wo"}
        for offset in (*range(0, 0x100, 4), 0x200, 0x7F8, 0xFFC):
            if offset not in known:
                await host.write(ctx, offset, 0)
                assert await host.read(ctx, offset) == 0
        await host.write(ctx, OFFSETS["ID"], 0)
        assert await host.read(ctx, OFFSETS["ID"]) == MAGIC

    host.run(check)


@pytest.mark.parametrize(("bit", "name"), [(1, "start"), (2, "reset"), (4, "acknowledge")])
def test_control_pulses_once(bit: int, name: str) -> None:
    host = Host(4)
    pulses = []

    async def watch(ctx):
        while True:
            _, _, *values = await ctx.tick().sample(
                host.registers.start, host.registers.reset, host.registers.acknowledge
            )
            pulses.append(tuple(values))

    async def check(ctx):
        await host.write(ctx, OFFSETS["CONTROL"], bit)
        await host.write(ctx, OFFSETS["CONTROL"], 7, strobe=14)
        await ctx.tick().repeat(3)

    host.simulator.add_testbench(watch, background=True)
    host.run(check)
    totals = dict(
        zip(("start", "reset", "acknowledge"), map(sum, zip(*pulses, strict=True)), strict=False)
    )
    assert totals == {"start": 0, "reset": 0, "acknowledge": 0} | {name: 1}


def test_counters_are_exact_at_any_time_and_cleared() -> None:
    host = Host(5)
    port = host.counters
    totals = [0] * len(COUNTERS)
    levels = 0

    async def pulse(ctx, cycles: int) -> None:
        nonlocal levels
        for _ in range(cycles):
            levels = host.rng.getrandbits(len(COUNTERS)) | 1
            ctx.set(port.levels, levels)
            await ctx.tick()
            for i in range(len(COUNTERS)):
                totals[i] += levels >> i & 1
        ctx.set(port.levels, 0)

    async def check(ctx):
        for cycles in (3, 400, 129, 70000):
            if cycles == 129:
                ctx.set(port.clear, 1)
                await ctx.tick()
                ctx.set(port.clear, 0)
                totals[:] = [0] * len(COUNTERS)
            if cycles == 70000:
                ctx.set(port.levels, 1)
                await ctx.tick().repeat(cycles)
                ctx.set(port.levels, 0)
                totals[0] += cycles
            else:
                await pulse(ctx, cycles)
            for i, name in enumerate(COUNTERS):
                assert await host.read(ctx, OFFSETS[f"{name}_LOW"]) == totals[i]
                assert await host.read(ctx, OFFSETS[f"{name}_HIGH"]) == 0

    host.run(check)
