"""SAVE against a Python model of docs/machine.md, on a DRAM with random stalls."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from codesign import isa, latency
from codesign.arch import Arch, preset
from codesign.isa import Base, ErrorCode, Opcode
from hw.axi import WriteArbiter
from hw.save import Save
from tests.hw.axi_memory import AxiMemory

DRAM_BYTES = 1 << 15
BASES = {Base.PROGRAM: 0x0, Base.INPUT: 0x1000, Base.OUTPUT: 0x2000, Base.SCRATCH: 0x3FF0}
SIZE = 0x2000
READ_LATENCY = 3


class Bench:
    """SAVE between an activation memory in Python and a DRAM."""

    def __init__(self, arch: Arch, seed: int, stall: float, latency: int = 5) -> None:
        self.arch, self.rng, self.stall = arch, random.Random(seed), stall
        self.save, self.port = Save(arch), WriteArbiter(arch)
        m = Module()
        m.submodules.save, m.submodules.port = self.save, self.port
        connect(m, self.save.burst, self.port.save)
        connect(m, self.save.data, self.port.save_data)
        m.d.comb += [
            self.save.done.eq(self.port.save_done),
            self.save.error.eq(self.port.error),
        ]
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)
        self.act = random.Random(seed + 1).randbytes(
            arch.regions * arch.act_region_words * arch.act_word_bytes
        )
        self.dram = AxiMemory(
            bytearray(DRAM_BYTES), arch.beat_bytes, write=self.port, seed=seed, stall=stall,
            latency=latency,
        )  # fmt: skip
        self.dram.attach(self.simulator)
        self.simulator.add_testbench(self._memory, background=True)
        self.retired: list[tuple[int, int]] = []
        self.starts: list[int] = []
        self.faults: list[tuple[int, int]] = []

    def word(self, region: int, pixel: int) -> bytes:
        size = self.arch.act_word_bytes
        place = (region * self.arch.act_region_words + pixel) * size
        return self.act[place : place + size]

    async def _memory(self, ctx) -> None:
        save, control = self.save, self.save.control
        pipe: list[int | None] = [None] * READ_LATENCY
        time = ready = 0
        while True:
            _, _, valid, place = await ctx.tick().sample(save.act.valid, save.act.address)
            asked = None
            if valid and ready:
                assert place.row < self.arch.act_depth
                assert place.bank < self.arch.pixels
                pixel = place.bank + place.row * self.arch.pixels
                asked = int.from_bytes(self.word(place.region, pixel), "little")
            pipe = [asked, *pipe]
            word = pipe.pop()
            ctx.set(save.act.word_valid, word is not None)
            ctx.set(save.act.word, word or 0)
            ready = int(self.rng.random() >= self.stall)
            ctx.set(save.act.ready, ready)
            if ctx.get(control.retired):
                self.retired.append((ctx.get(control.retired_index), time + 1))
                self.starts.append(ctx.get(control.retired_start))
            if ctx.get(control.fault):
                self.faults.append((ctx.get(control.fault_code), ctx.get(control.fault_index)))
                ctx.set(control.stop, 1)
            time += 1
            ctx.set(control.now, time)

    def run(self, instructions, cycles: int = 20000) -> None:
        save = self.save

        async def drive(ctx):
            for base, address in BASES.items():
                ctx.set(save.buffers[base].base, address)
                ctx.set(save.buffers[base].size, SIZE)
            ctx.set(save.control.available, 3)
            for index, instruction in enumerate(instructions):
                word = int.from_bytes(isa.encode(instruction), "little")
                ctx.set(save.instructions.payload.word, word)
                ctx.set(save.instructions.payload.index, index + 7)
                ctx.set(save.instructions.valid, 1)
                for _ in range(cycles):
                    _, _, ready = await ctx.tick().sample(save.instructions.ready)
                    if ready:
                        break
                ctx.set(save.instructions.valid, 0)
            for _ in range(cycles):
                await ctx.tick()
                if self.faults or len(self.retired) == len(instructions):
                    break
            await ctx.tick().repeat(600)

        self.simulator.add_testbench(drive)
        self.simulator.run()


def apply(bench: Bench, image: bytearray, fields) -> None:
    """The bytes that docs/machine.md says a SAVE writes."""
    arch = bench.arch
    for r in range(fields["rows"]):
        dram = BASES[Base(fields["base"])] + fields["offset"] + r * fields["stride"]
        for w in range(fields["words"]):
            step = r * (fields["stride_bank"] + fields["stride_address"] * arch.pixels) + w
            pixel = fields["bank"] + fields["address"] * arch.pixels + step
            place = dram + w * arch.act_word_bytes
            image[place : place + arch.act_word_bytes] = bench.word(fields["region"], pixel)


def random_save(rng: random.Random, arch: Arch):
    rows = rng.randint(1, 4)
    words = rng.randint(1, min(100, 1000 // arch.act_word_bytes))
    row_bytes = -(-words * arch.act_word_bytes // 16) * 16
    stride = row_bytes + 16 * rng.randint(0, 40)
    return isa.make(
        Opcode.SAVE, base=rng.randint(0, 3), rows=rows, words=words, stride=stride,
        offset=16 * rng.randint(0, (SIZE - rows * stride) // 16),
        region=rng.randrange(arch.regions), bank=rng.randrange(arch.pixels),
        address=rng.randint(0, arch.act_depth // 3), stride_bank=rng.randrange(arch.pixels),
        stride_address=rng.randint(0, arch.act_depth // 8), signal=rng.randint(0, 3),
    )  # fmt: skip


ARCHS = {
    "tiny": preset("tiny"),
    "full-beat": preset("tiny").replace(in_channels=8, out_channels=8),
    "wide-bus": preset("tiny").replace(dma_bits=128, pixels=5),
    "wide-word": preset("tiny").replace(in_channels=16, out_channels=16, pixels=7),
}


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS.keys())
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_strides_and_tails(arch: Arch, stall: float) -> None:
    rng = random.Random(21)
    saves = [random_save(rng, arch) for _ in range(8)]
    bench = Bench(arch, 22, stall)
    bench.run(saves)
    assert bench.faults == []
    image = bytearray(DRAM_BYTES)
    for save in saves:
        apply(bench, image, save.values)
    assert bench.dram.data == image
    assert [index for index, _ in bench.retired] == list(range(7, 15))


def test_long_transfer_takes_one_beat_per_cycle() -> None:
    arch = preset("tiny").replace(in_channels=8, out_channels=8)
    bench = Bench(arch, 3, 0.0)
    bench.run([isa.make(Opcode.SAVE, base=Base.OUTPUT, rows=16, words=32, stride=256)])
    assert bench.retired[0][1] <= 16 * 32 + 50
    bench = Bench(arch, 3, 0.0)
    bench.run([isa.make(Opcode.SAVE, base=Base.OUTPUT, offset=16, rows=1, words=700)])
    assert max(length for _, length in bench.dram.write_bursts) == 64
    assert bench.retired[0][1] <= 700 + 50


def test_time_from_start_to_first_request_and_from_response_to_completion() -> None:
    bench = Bench(preset("tiny"), 3, 0.0)
    bench.run([isa.make(Opcode.SAVE, base=Base.OUTPUT, rows=1, words=64)])
    start = bench.starts[0]
    assert bench.dram.request_times[0] - start == latency.save_request()
    assert bench.retired[0][1] - bench.dram.response_times[-1] == latency.save_retire()


def fault_of(**changes) -> list[tuple[int, int]]:
    bench = Bench(preset("tiny"), 5, 0.2)
    bench.dram.errors = changes.pop("errors", set())
    fields = {"base": Base.OUTPUT, "rows": 2, "words": 8, "stride": 64}
    bench.run([isa.make(Opcode.SAVE, **fields), isa.make(Opcode.SAVE, **(fields | changes))])
    assert len(bench.dram.response_times) == len(bench.dram.write_bursts)
    return bench.faults


@pytest.mark.parametrize(
    "changes",
    [{"rows": 0}, {"words": 0}, {"offset": 8}, {"stride": 24}, {"region": 3}, {"bank": 3},
     {"stride_bank": 3}],
)  # fmt: skip
def test_contradictory_fields_are_malformed(changes) -> None:
    assert fault_of(**changes) == [(ErrorCode.MALFORMED, 8)]


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": SIZE - 32 - 64 + 16},
        {"rows": 5, "stride": 0x800},
        {"address": 256},
        {"address": 255, "bank": 1, "rows": 1, "words": 3},
        {"address": 230, "words": 200},
    ],
)
def test_addresses_beyond_buffer_or_memory(changes) -> None:
    assert fault_of(**changes) == [(ErrorCode.ADDRESS_RANGE, 8)]


def test_bus_error_names_its_instruction() -> None:
    assert fault_of(offset=0x400, errors={0x2440}) == [(ErrorCode.AXI_WRITE, 8)]
    assert fault_of() == []
