"""LOAD against a Python model of docs/machine.md, on a DRAM with random stalls."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from codesign import isa, latency
from codesign.arch import Arch, preset
from codesign.isa import Base, ErrorCode, Opcode, Target
from hw.axi import ReadArbiter
from hw.load import Load
from hw.transfer import memory_shape
from tests.hw.axi_memory import AxiMemory

DRAM_BYTES = 1 << 16
BASES = {Base.PROGRAM: 0x0, Base.INPUT: 0x4000, Base.OUTPUT: 0x8000, Base.SCRATCH: 0x9FF0}
SIZE = 0x4000


class Bench:
    """LOAD and the read port on a DRAM; ``writes`` records what reaches the memories, in order."""

    def __init__(self, arch: Arch, seed: int, stall: float, latency: int = 5) -> None:
        self.arch, self.rng, self.stall = arch, random.Random(seed), stall
        self.load, self.port = Load(arch), ReadArbiter(arch)
        m = Module()
        m.submodules.load, m.submodules.port = self.load, self.port
        connect(m, self.load.burst, self.port.load)
        m.d.comb += [
            self.load.beat_valid.eq(self.port.load_beat),
            self.load.beat.eq(self.port.beat),
            self.load.error.eq(self.port.error),
        ]
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)
        data = bytearray(random.Random(seed + 1).randbytes(DRAM_BYTES))
        self.dram = AxiMemory(
            data, arch.beat_bytes, read=self.port, seed=seed, stall=stall, latency=latency
        )
        self.dram.attach(self.simulator)
        self.simulator.add_testbench(self._watch, background=True)
        self.writes: list[tuple] = []
        self.retired: list[tuple[int, int]] = []
        self.faults: list[tuple[int, int]] = []
        self.taken: list[tuple[int, int]] = []
        self.tokens = [0, 0]

    async def _watch(self, ctx) -> None:
        load, control = self.load, self.load.control
        time, ready = 0, 1
        ctx.set(load.act.ready, 1)
        while True:
            _, _, act, place, word, other, target, address, data = await ctx.tick().sample(
                load.act.valid, load.act.address, load.act.data, load.memory.valid,
                load.memory.target, load.memory.address, load.memory.data,
            )  # fmt: skip
            if act and ready:
                self.writes.append((Target.ACT, place.region, (place.bank, place.row), word))
            if other:
                bits = 8 * memory_shape(self.arch, Target(target))[0]
                self.writes.append((Target(target), 0, address, data & ((1 << bits) - 1)))
            if ctx.get(control.retired):
                self.retired.append((ctx.get(control.retired_index), time + 1))
                assert ctx.get(control.retired_start) <= time
            if ctx.get(control.fault):
                self.faults.append((ctx.get(control.fault_code), ctx.get(control.fault_index)))
                ctx.set(control.stop, 1)
            take = ctx.get(control.take)
            if take:
                self.taken.append((take, time + 1))
            ready = int(self.rng.random() >= self.stall)
            ctx.set(load.act.ready, ready)
            time += 1
            ctx.set(control.now, time)

    def run(self, instructions, cycles: int = 20000, available: int = 3) -> None:
        load = self.load

        async def drive(ctx):
            for base, address in BASES.items():
                ctx.set(load.buffers[base].base, address)
                ctx.set(load.buffers[base].size, SIZE)
            ctx.set(load.control.available, available)
            for index, instruction in enumerate(instructions):
                word = int.from_bytes(isa.encode(instruction), "little")
                ctx.set(load.instructions.payload.word, word)
                ctx.set(load.instructions.payload.index, index + 7)
                ctx.set(load.instructions.valid, 1)
                for _ in range(cycles):
                    _, _, ready = await ctx.tick().sample(load.instructions.ready)
                    if ready:
                        break
                ctx.set(load.instructions.valid, 0)
            for _ in range(cycles):
                await ctx.tick()
                if self.faults or len(self.retired) == len(instructions):
                    break
            await ctx.tick().repeat(100)

        self.simulator.add_testbench(drive)
        self.simulator.run()


def expected(bench: Bench, fields) -> list[tuple]:
    """The writes that docs/machine.md prescribes."""
    arch, target = bench.arch, Target(fields["target"])
    word_bytes, _ = memory_shape(arch, target)
    pixels, writes = arch.pixels, []
    for r in range(fields["rows"]):
        dram = BASES[Base(fields["base"])] + fields["offset"] + r * fields["stride"]
        for w in range(fields["words"]):
            place = dram + w * word_bytes
            word = int.from_bytes(bench.dram.data[place : place + word_bytes], "little")
            if target == Target.ACT:
                step = r * (fields["stride_bank"] + fields["stride_address"] * pixels) + w
                pixel = fields["bank"] + fields["address"] * pixels + step
                row, bank = divmod(pixel, pixels)
                writes.append((target, fields["region"], (bank, row), word))
            else:
                address = fields["address"] + r * fields["stride_address"] + w
                writes.append((target, 0, address, word))
    return writes


def random_load(rng: random.Random, arch: Arch, target: Target):
    word_bytes, depth = memory_shape(arch, target)
    rows, words = rng.randint(1, 4), rng.randint(1, min(30, 3000 // word_bytes))
    act = target == Target.ACT
    row_bytes = -(-words * word_bytes // 16) * 16
    stride = row_bytes + 16 * rng.randint(0, 40)
    address = rng.randint(0, depth // 3 - 31)
    return isa.make(
        Opcode.LOAD, target=target, base=rng.randint(0, 3), rows=rows, words=words,
        offset=16 * rng.randint(0, (SIZE - rows * stride) // 16), stride=stride,
        region=rng.randrange(arch.regions) if act else 0,
        bank=rng.randrange(arch.pixels) if act else 0,
        stride_bank=rng.randrange(arch.pixels) if act else 0,
        address=address, stride_address=rng.randint(0, depth // 8),
        wait=rng.randint(0, 3), signal=rng.randint(0, 3),
    )  # fmt: skip


ARCHS = {
    "tiny": preset("tiny"),
    "wide-bus": preset("tiny").replace(dma_bits=128, pixels=5),
    "wide-word": preset("tiny").replace(in_channels=16, out_channels=16, pixels=7),
}


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS.keys())
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_every_target_with_strides(arch: Arch, stall: float) -> None:
    rng = random.Random(11)
    loads = [random_load(rng, arch, target) for target in Target for _ in range(3)]
    bench = Bench(arch, 12, stall)
    bench.run(loads)
    assert bench.faults == []
    wanted = [write for load in loads for write in expected(bench, load.values)]
    assert bench.writes == wanted
    assert [index for index, _ in bench.retired] == list(range(7, 7 + len(loads)))


def test_long_transfer_takes_one_beat_per_cycle() -> None:
    arch = preset("tiny")
    bench = Bench(arch, 3, 0.0, latency=40)
    rows, words = 6, 32
    bench.run([
        isa.make(Opcode.LOAD, target=Target.ACT, base=Base.INPUT, offset=0x30, stride=0x200,
                 rows=rows, words=words, stride_address=11, address=1),
        isa.make(Opcode.LOAD, target=Target.ACT, base=Base.INPUT, offset=0x30, stride=0,
                 rows=1, words=700),
    ])  # fmt: skip
    beats = rows * words // 2 + 350
    span = bench.dram.beat_times[-1] - bench.dram.beat_times[0] + 1
    assert len(bench.dram.beat_times) == beats
    assert span <= 1.05 * beats
    assert max(length for _, length in bench.dram.bursts) == 64


@pytest.mark.parametrize("dram_latency", [5, 40])
def test_time_from_start_to_first_request_and_from_last_beat_to_completion(
    dram_latency: int,
) -> None:
    bench = Bench(preset("tiny"), 3, 0.0, latency=dram_latency)
    bench.run([isa.make(Opcode.LOAD, target=Target.TAP, rows=1, words=20, wait=1)])
    start = bench.taken[0][1]
    assert bench.dram.request_times[0] - start == latency.load_request()
    assert bench.retired[0][1] - bench.dram.beat_times[-1] == latency.load_retire()


def fault_of(**changes) -> list[tuple[int, int]]:
    arch = preset("tiny")
    bench = Bench(arch, 5, 0.2)
    errors = changes.pop("errors", set())
    bench.dram.errors = errors
    fields = {"target": Target.ACT, "base": Base.INPUT, "rows": 2, "words": 8, "stride": 64}
    good = isa.make(Opcode.LOAD, **fields)
    bench.run([good, isa.make(Opcode.LOAD, **(fields | changes))])
    assert [index for index, _ in bench.retired] in ([7], [], [7, 8])
    assert bench.dram.outstanding == 0
    in_range = {target: memory_shape(arch, target)[1] for target in Target}
    for target, _, place, _ in bench.writes:
        assert (place[1] if target == Target.ACT else place) < in_range[target]
    return bench.faults


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 0}, {"words": 0}, {"offset": 8}, {"stride": 24}, {"region": 3}, {"bank": 3},
        {"stride_bank": 3}, {"target": 5}, {"target": 7},
    ],
)  # fmt: skip
def test_contradictory_fields_are_malformed(changes) -> None:
    assert fault_of(**changes) == [(ErrorCode.MALFORMED, 8)]


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": SIZE - 32 - 64 + 16},
        {"offset": 0xFFFFFFF0},
        {"stride": 0xFFFFFFF0},
        {"rows": 9, "stride": 0x800},
        {"address": 256},
        {"address": 255, "bank": 1, "rows": 1, "words": 3},
        {"address": 250, "stride_address": 7},
        {"address": 1, "stride_address": 0xFFFFF},
        {"target": Target.WGT, "address": 1023, "rows": 1, "words": 2},
        {"target": Target.TABLE, "address": 1020, "rows": 1, "words": 5},
    ],
)
def test_addresses_beyond_buffer_or_memory(changes) -> None:
    assert fault_of(**changes) == [(ErrorCode.ADDRESS_RANGE, 8)]


def test_last_words_of_buffer_and_memory_are_legal() -> None:
    assert fault_of(offset=SIZE - 32 - 64) == []
    assert fault_of(address=255, bank=1, rows=1, words=2) == []
    assert fault_of(target=Target.TABLE, address=1020, rows=1, words=4) == []


def test_bus_error_names_its_instruction() -> None:
    assert fault_of(offset=0x400, errors={0x4440}) == [(ErrorCode.AXI_READ, 8)]


def test_waits_for_each_token_it_names() -> None:
    arch = preset("tiny")
    bench = Bench(arch, 5, 0.0)
    load = isa.make(Opcode.LOAD, target=Target.ACT, rows=1, words=4, wait=2, signal=1)
    bench.run([load], cycles=60, available=1)
    assert bench.retired == []
    assert bench.taken == []
    assert bench.writes == []
    bench = Bench(arch, 5, 0.0)
    bench.run([load], cycles=60, available=2)
    assert [take for take, _ in bench.taken] == [2]
    assert len(bench.writes) == 4
