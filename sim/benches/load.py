"""LOAD: random transfers into every memory, against the machine reference's, word for word."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from codesign.isa import Base, Instruction, Opcode, Target
from codesign.reference.memory import Transfer
from codesign.registers import ADDRESS_BITS
from hw.load import Load
from sim import agents
from sim.agents import Pauses
from sim.benches.transfers import (
    BUFFER_BYTES,
    Control,
    bind_buffers,
    check_burst,
    check_control,
    payload,
    place,
    random_transfer,
)

LIMIT = 100_000
INPUTS = ("control__stop", "error")


def component(arch: Arch) -> Load:
    return Load(arch)


class Reader:
    """Takes bursts and sends their beats, in order, as slowly as it pauses."""

    def __init__(self, dut: Any, arch: Arch, memory: dict[int, np.ndarray], pauses: Pauses) -> None:
        self._dut, self._memory, self._pauses = dut, memory, pauses
        self._bytes = arch.beat_bytes
        self._sink = agents.StreamSink(dut, "burst", pauses)
        self._beats: deque[int] = deque()

    def drive(self) -> None:
        self._sink.drive()
        send = bool(self._beats) and not self._pauses()
        self._dut.beat_valid.value = int(send)
        if send:
            self._dut.beat.value = self._beats.popleft()

    def sample(self) -> None:
        self._sink.sample()
        for burst in self._sink.taken:
            address, beats = burst & ((1 << ADDRESS_BITS) - 1), (burst >> ADDRESS_BITS) + 1
            check_burst(address, beats, self._bytes)
            base = max(base for base in self._memory if base <= address)
            for beat in range(beats):
                start = address - base + beat * self._bytes
                data = self._memory[base][start : start + self._bytes].tobytes()
                self._beats.append(int.from_bytes(data, "little"))
        self._sink.taken.clear()


class Writes:
    """Takes words at both write ports."""

    def __init__(self, dut: Any, pauses: Pauses) -> None:
        self._dut, self._pauses = dut, pauses
        self.seen: list[tuple[str, int, int]] = []

    def drive(self) -> None:
        self._ready = not self._pauses()
        self._dut.act__ready.value = int(self._ready)

    def sample(self) -> None:
        dut = self._dut
        if self._ready and int(dut.act__valid.value):
            self.seen.append(("ACT", int(dut.act__address.value), int(dut.act__data.value)))
        if int(dut.memory__valid.value):
            target = Target(int(dut.memory__target.value))
            entry = int(dut.memory__address.value), int(dut.memory__data.value)
            self.seen.append((target.name, *entry))


def _expected(arch: Arch, work: list[Instruction], buffers: list[np.ndarray]) -> list[Any]:
    writes = []
    for instruction in work:
        what = Transfer.of(arch, instruction)
        rows = what.dram(buffers[instruction["base"]])
        for word, data in zip(what.words.ravel(), rows.reshape(-1, what.word_bytes), strict=True):
            act = what.target is Target.ACT
            address = place(arch, int(word), what.region) if act else int(word)
            value = int.from_bytes(data.tobytes(), "little")
            writes.append((what.target.name, address, value, 8 * what.word_bytes))
    return writes


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], pause=[0.0, 0.4])
async def transfers(dut: Any, seed: int, pause: float) -> None:
    arch, rng = agents.arch(), np.random.default_rng(seed)
    buffers = [rng.integers(0, 256, BUFFER_BYTES, np.uint8) for _ in Base]
    work = [random_transfer(arch, Opcode.LOAD, rng) for _ in range(25)]
    source = agents.StreamSource(dut, "instructions", Pauses(seed, pause))
    source.queue = [payload(instruction, index) for index, instruction in enumerate(work)]
    memory = dict(zip(bind_buffers(dut, rng), buffers, strict=True))
    reader = Reader(dut, arch, memory, Pauses(seed + 1, pause))
    writes = Writes(dut, Pauses(seed + 2, pause))
    control = Control(dut, Pauses(seed + 3, pause))
    bench = agents.Bench(dut, [source, reader, writes, control], INPUTS)
    await bench.reset()
    await bench.run(lambda: len(control.completed) == len(work), LIMIT)
    expected = _expected(arch, work, buffers)
    assert len(writes.seen) == len(expected)
    for (memory_name, address, data), (name, where, value, bits) in zip(
        writes.seen, expected, strict=True
    ):
        assert (memory_name, address) == (name, where)
        assert data & ((1 << bits) - 1) == value
    check_control(control, work)
    assert int(dut.control__idle.value)
