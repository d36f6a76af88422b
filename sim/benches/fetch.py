"""FETCH: parts of random instructions reach the right queues in order; wrong ones are refused."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from codesign import isa
from codesign.arch import ISA_VERSION, Arch
from codesign.isa import INSTRUCTION_BYTES, ErrorCode, Instruction, Opcode
from hw.fetch import Fetch
from sim import agents
from sim.agents import Pauses, StreamSink
from sim.benches.load import Reader

BASE = (1 << 33) + 4096 - 3 * 16
FIRST = 2 * INSTRUCTION_BYTES
LIMIT = 50_000
INPUTS = ("control__stop", "error", "start")
SINKS = {Opcode.LOAD: "load", Opcode.CALC: "calc", Opcode.SAVE: "save"}


def component(arch: Arch) -> Fetch:
    return Fetch(arch)


def _random(opcode: Opcode, rng: np.random.Generator) -> Instruction:
    values = {}
    for field in isa.LAYOUTS[opcode][1:]:
        low, high = field.range
        values[field.name] = int(rng.integers(low, high + 1))
    return isa.make(opcode, **values)


def _part(arch: Arch, rng: np.random.Generator, count: int) -> list[Instruction]:
    begin = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=arch.fingerprint)
    kinds = list(SINKS)
    middle = [_random(kinds[int(rng.integers(len(kinds)))], rng) for _ in range(count)]
    return [begin, *middle, isa.make(Opcode.END)]


class Watch:
    """Keeps time, settles the units when all instructions are taken, and notes how a part ends."""

    def __init__(self, dut: Any, sinks: dict[Opcode, StreamSink], expected: int) -> None:
        self._dut, self._sinks, self._expected = dut, sinks, expected
        self._now = 0
        self.done = 0
        self.fault: tuple[ErrorCode, int] | None = None
        self.retired: list[int] = []

    @property
    def taken(self) -> int:
        return sum(len(sink.taken) for sink in self._sinks.values())

    def drive(self) -> None:
        self._dut.control__now.value = self._now
        settled = int(self.taken == self._expected)
        self._dut.settled.value = settled
        self._dut.flushed.value = settled

    def sample(self) -> None:
        dut = self._dut
        if int(dut.done.value):
            assert self.taken == self._expected
            self.done += 1
        if int(dut.control__fault.value):
            code = ErrorCode(int(dut.control__fault_code.value))
            self.fault = code, int(dut.control__fault_index.value)
        if int(dut.control__retired.value):
            self.retired.append(int(dut.control__retired_index.value))
        self._now += 1


class System:
    """FETCH with a program in memory and all queues emptied at random."""

    def __init__(self, dut: Any, image: bytes, expected: int, seed: int, pause: float) -> None:
        arch = agents.arch()
        memory = np.zeros(FIRST + len(image) + 4096, np.uint8)
        memory[FIRST : FIRST + len(image)] = np.frombuffer(image, np.uint8)
        self.sinks = {
            opcode: StreamSink(dut, name, Pauses(seed + opcode, pause))
            for opcode, name in SINKS.items()
        }
        self.watch = Watch(dut, self.sinks, expected)
        self.reader = Reader(dut, arch, {BASE: memory}, Pauses(seed, pause))
        self._dut, self._image = dut, image
        steps: list[agents.Agent] = [self.reader, *self.sinks.values(), self.watch]
        self.bench = agents.Bench(dut, steps, INPUTS)

    async def run(self, offset: int = FIRST, count: int | None = None) -> None:
        """A part to its end, good or bad."""
        dut = self._dut
        await self.bench.reset()
        dut.base.value, dut.size.value = BASE, FIRST + len(self._image)
        dut.part_offset.value = offset
        dut.part_count.value = len(self._image) // INSTRUCTION_BYTES if count is None else count
        await self.bench.step(3)
        dut.start.value = 1
        await self.bench.step(1)
        dut.start.value = 0
        await self.bench.run(lambda: bool(self.watch.done or self.watch.fault), LIMIT)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], pause=[0.0, 0.5])
async def parts(dut: Any, seed: int, pause: float) -> None:
    part = _part(agents.arch(), np.random.default_rng(seed), 120)
    image = b"".join(isa.encode(instruction) for instruction in part)
    system = System(dut, image, len(part) - 2, seed, pause)
    await system.run()
    assert system.watch.fault is None
    assert system.watch.retired == [0, len(part) - 1]
    for opcode, sink in system.sinks.items():
        words = [word & ((1 << 8 * INSTRUCTION_BYTES) - 1) for word in sink.taken]
        numbers = [word >> 8 * INSTRUCTION_BYTES for word in sink.taken]
        expected = [i for i, instruction in enumerate(part) if instruction.opcode == opcode]
        assert numbers == expected
        encoded = [int.from_bytes(isa.encode(part[i]), "little") for i in expected]
        assert words == encoded


def _broken(kind: str, words: list[bytes], arch: Arch) -> tuple[ErrorCode, int]:
    """Break a part of 8 instructions in place; what FETCH must say."""
    middle = 4
    if kind == "opcode":
        words[middle] = bytes([words[middle][0] & 0xF0 | 9]) + words[middle][1:]
        return ErrorCode.ILLEGAL_OPCODE, middle
    if kind == "bits above":
        words[middle] = words[middle][:-1] + b"\x80"
        return ErrorCode.MALFORMED, middle
    if kind == "no begin":
        words[0] = words[middle]
        return ErrorCode.MALFORMED, 0
    if kind == "second begin":
        words[middle] = words[0]
        return ErrorCode.MALFORMED, middle
    if kind == "early end":
        words[middle] = words[-1]
        return ErrorCode.MALFORMED, middle
    if kind == "no end":
        words[-1] = words[middle]
        return ErrorCode.MALFORMED, len(words) - 1
    version, fingerprint = ISA_VERSION, arch.fingerprint
    if kind == "version":
        version += 1
    else:
        fingerprint ^= 1 << 31
    begin = isa.make(Opcode.BEGIN, isa_version=version, fingerprint=fingerprint)
    words[0] = isa.encode(begin)
    return ErrorCode.ARCH_MISMATCH, 0


KINDS = (
    "opcode", "bits above", "no begin", "second begin", "early end", "no end", "version",
    "fingerprint",
)  # fmt: skip


@cocotb.test()
@cocotb.parametrize(kind=KINDS)
async def refusals(dut: Any, kind: str) -> None:
    arch = agents.arch()
    part = _part(arch, np.random.default_rng(7), 6)
    words = [isa.encode(instruction) for instruction in part]
    expected = _broken(kind, words, arch)
    system = System(dut, b"".join(words), len(part) - 2, seed=7, pause=0.2)
    await system.run()
    assert system.watch.fault == expected


@cocotb.test()
@cocotb.parametrize(
    (
        ("offset", "count", "code"),
        [
            (FIRST + 16, 8, ErrorCode.MALFORMED),
            (FIRST, 0, ErrorCode.MALFORMED),
            (FIRST, 9, ErrorCode.ADDRESS_RANGE),
            (FIRST, 1 << 23, ErrorCode.ADDRESS_RANGE),
        ],
    )
)
async def parts_out_of_place(dut: Any, offset: int, count: int, code: ErrorCode) -> None:
    part = _part(agents.arch(), np.random.default_rng(8), 6)
    image = b"".join(isa.encode(instruction) for instruction in part)
    system = System(dut, image, len(part) - 2, seed=8, pause=0.2)
    await system.run(offset, count)
    assert system.watch.fault == (code, 0)
