"""FETCH: order, content, read-ahead, back-pressure and time."""

from __future__ import annotations

import itertools
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from codesign import isa, latency
from codesign.arch import ISA_VERSION, Arch, preset
from codesign.isa import ErrorCode, Opcode
from hw.axi import ReadArbiter
from hw.fetch import Fetch
from tests.hw.axi_memory import AxiMemory

BASE, OFFSET, SIZE = 0x1030, 0x1C0, 0x6000
UNITS = {Opcode.LOAD: "load", Opcode.CALC: "calc", Opcode.SAVE: "save"}


class Bench:
    """FETCH on a DRAM; ``got`` records what each unit takes: opcode, index, word, cycle."""

    def __init__(self, arch: Arch, seed: int, stall: float, busy: float = 0.0) -> None:
        self.arch, self.rng, self.busy = arch, random.Random(seed), busy
        self.fetch, self.port = Fetch(arch), ReadArbiter(arch)
        m = Module()
        m.submodules.fetch, m.submodules.port = self.fetch, self.port
        connect(m, self.fetch.burst, self.port.fetch)
        m.d.comb += [
            self.fetch.beat_valid.eq(self.port.fetch_beat),
            self.fetch.beat.eq(self.port.beat),
            self.fetch.error.eq(self.port.error),
        ]
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)
        self.dram = AxiMemory(
            bytearray(1 << 15), arch.beat_bytes, read=self.port, seed=seed, stall=stall
        )
        self.dram.attach(self.simulator)
        self.got: list[tuple[Opcode, int, int, int]] = []
        self.done: list[int] = []
        self.started = self.time = 0
        self.fault: tuple[int, int] | None = None

    def run(self, instructions, cycles: int = 6000, idle_after: int = 0) -> None:
        fetch = self.fetch
        image = b"".join(isa.encode(i) for i in instructions)
        self.dram.data[BASE + OFFSET : BASE + OFFSET + len(image)] = image

        async def drive(ctx):
            for name, value in (("base", BASE), ("size", SIZE), ("part_offset", OFFSET)):
                ctx.set(getattr(fetch, name), value)
            ctx.set(fetch.part_count, len(instructions))
            ctx.set(fetch.flushed, 1)
            ctx.set(fetch.start, 1)
            ready = dict.fromkeys(UNITS, 0)
            streams = {opcode: getattr(fetch, name) for opcode, name in UNITS.items()}
            self.started = 0
            for time in range(cycles):
                _, _, *values = await ctx.tick().sample(
                    *(s.valid for s in streams.values()), *(s.payload for s in streams.values()),
                    fetch.done, fetch.control.fault, fetch.control.fault_code,
                    fetch.control.fault_index,
                )  # fmt: skip
                ctx.set(fetch.start, 0)
                for opcode, valid, payload in zip(UNITS, values, values[3:], strict=False):
                    if valid and ready[opcode]:
                        self.got.append((opcode, payload.index, payload.word, time))
                    ready[opcode] = int(time >= idle_after and self.rng.random() >= self.busy)
                    ctx.set(streams[opcode].ready, ready[opcode])
                ctx.set(fetch.settled, time >= idle_after)
                done, fault, code, index = values[6:]
                if fault:
                    self.fault = (code, index)
                    ctx.set(fetch.control.stop, 1)
                if done:
                    self.done.append(time)
                    break
                if self.fault and time > cycles - 100:
                    break

        self.simulator.add_testbench(drive)
        self.simulator.run()


def program(arch: Arch, rng: random.Random, length: int) -> list[isa.Instruction]:
    body = []
    for _ in range(length):
        opcode = rng.choice(list(UNITS))
        fields = {
            field.name: rng.randint(*field.range)
            for field in isa.LAYOUTS[opcode]
            if field.name != "opcode"
        }
        body.append(isa.make(opcode, **fields))
    begin = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=arch.fingerprint)
    return [begin, *body, isa.make(Opcode.END)]


@pytest.mark.parametrize("arch", [preset("tiny"), preset("tiny").replace(dma_bits=128)])
@pytest.mark.parametrize(("stall", "busy"), [(0.0, 0.0), (0.3, 0.9)])
def test_every_instruction_reaches_its_unit_in_order(arch: Arch, stall: float, busy) -> None:
    rng = random.Random(8)
    instructions = program(arch, rng, 120)
    bench = Bench(arch, 9, stall, busy)
    bench.run(instructions)
    assert bench.fault is None
    assert len(bench.done) == 1
    for opcode in UNITS:
        wanted = [
            (index, int.from_bytes(isa.encode(i), "little"))
            for index, i in enumerate(instructions)
            if i.opcode == opcode
        ]
        assert [(index, word) for op, index, word, _ in bench.got if op == opcode] == wanted
    assert max(length for _, length in bench.dram.bursts) == latency.FETCH_BURST_BEATS


def test_time_of_requests_and_instructions() -> None:
    arch = preset("tiny")
    bench = Bench(arch, 9, 0.0)
    bench.run(program(arch, random.Random(8), 12))
    beats = latency.INSTRUCTION_BYTES // arch.beat_bytes
    assert bench.dram.request_times[0] == bench.started + 1 + latency.fetch_request()
    _, _, _, first = bench.got[0]
    begin_end = bench.dram.beat_times[beats - 1]
    assert first == begin_end + latency.fetch_interval(arch) + 1 + latency.fetch_offer()
    taken = [time for *_, time in bench.got]
    assert {b - a for a, b in itertools.pairwise(taken)} == {latency.fetch_interval(arch)}


def test_end_waits_for_queues_and_units() -> None:
    arch = preset("tiny")
    bench = Bench(arch, 9, 0.0)
    bench.run(program(arch, random.Random(8), 6), idle_after=700)
    assert [index for _, index, *_ in sorted(bench.got, key=lambda g: g[1])] == list(range(1, 7))
    assert bench.done[0] > 700


def test_full_queue_holds_fetch_without_loss() -> None:
    arch = preset("tiny")
    only = isa.make(Opcode.SAVE, rows=3)
    frame = program(arch, random.Random(1), 0)
    bench = Bench(arch, 9, 0.0)
    bench.run([frame[0], *[only] * 60, frame[1]], idle_after=1500)
    assert [index for _, index, *_ in bench.got] == list(range(1, 61))
    first_beats = sum(length for _, length in bench.dram.bursts)
    assert first_beats >= 61 * 8


def test_read_error_names_the_instruction() -> None:
    arch = preset("tiny")
    bench = Bench(arch, 9, 0.2)
    bench.dram.errors = {BASE + OFFSET + 5 * 64 + 24}
    bench.run(program(arch, random.Random(8), 20), cycles=900)
    assert bench.fault == (ErrorCode.AXI_READ, 5)
    assert not bench.done
    assert {index for _, index, *_ in bench.got} == set(range(1, 5))
