"""SAVE: random transfers, against the memory that the machine reference leaves."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from codesign.isa import BANK, REGION, Base, Opcode
from codesign.reference import memory as reference
from codesign.reference.memory import Memories, Transfer
from codesign.registers import ADDRESS_BITS
from hw.save import Save
from sim import agents
from sim.agents import Pauses
from sim.benches.transfers import (
    BUFFER_BYTES,
    Control,
    bind_buffers,
    check_burst,
    check_control,
    payload,
    random_memories,
    random_transfer,
)

LIMIT = 100_000
READ_LATENCY = 5
INPUTS = ("control__stop", "error")


def component(arch: Arch) -> Save:
    return Save(arch)


class Act:
    """Answers reads of ACT in order, each after READ_LATENCY cycles."""

    def __init__(self, dut: Any, memories: Memories, pauses: Pauses) -> None:
        self._dut, self._memories, self._pauses = dut, memories, pauses
        self._words: deque[int | None] = deque([None] * READ_LATENCY)

    def drive(self) -> None:
        self._ready = not self._pauses()
        self._dut.act__ready.value = int(self._ready)
        word = self._words.popleft()
        self._dut.act__word_valid.value = int(word is not None)
        self._dut.act__word.value = word or 0

    def sample(self) -> None:
        word = None
        if self._ready and int(self._dut.act__valid.value):
            address = int(self._dut.act__address.value)
            region = address & ((1 << REGION) - 1)
            bank, row = address >> REGION & ((1 << BANK) - 1), address >> REGION + BANK
            lanes = self._memories.arch.pixels
            data = self._memories.act[region, row * lanes + bank]
            word = int.from_bytes(data.tobytes(), "little")
        self._words.append(word)


class Writer:
    """Takes addresses and data, each as it likes, and answers bursts when both are there."""

    def __init__(self, dut: Any, arch: Arch, memory: dict[int, np.ndarray], pauses: Pauses) -> None:
        self._dut, self._memory, self._pauses = dut, memory, pauses
        self._bytes = arch.beat_bytes
        self._addresses = agents.StreamSink(dut, "burst", pauses)
        self._data = agents.StreamSink(dut, "data", pauses)

    def drive(self) -> None:
        self._addresses.drive()
        self._data.drive()
        answer = self._complete() and not self._pauses()
        self._dut.done.value = int(answer)
        if answer:
            self._commit()

    def sample(self) -> None:
        self._addresses.sample()
        self._data.sample()

    def _last(self, beat: int) -> bool:
        return bool(beat >> 9 * self._bytes)

    def _complete(self) -> bool:
        return bool(self._addresses.taken) and any(self._last(beat) for beat in self._data.taken)

    def _commit(self) -> None:
        burst = self._addresses.taken.pop(0)
        address, beats = burst & ((1 << ADDRESS_BITS) - 1), (burst >> ADDRESS_BITS) + 1
        check_burst(address, beats, self._bytes)
        base = max(base for base in self._memory if base <= address)
        for number in range(beats):
            beat = self._data.taken.pop(0)
            assert self._last(beat) == (number == beats - 1)
            strobe = beat >> 8 * self._bytes
            data = (beat & ((1 << 8 * self._bytes) - 1)).to_bytes(self._bytes, "little")
            start = address - base + number * self._bytes
            for i in range(self._bytes):
                if strobe >> i & 1:
                    self._memory[base][start + i] = data[i]


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], pause=[0.0, 0.4])
async def transfers(dut: Any, seed: int, pause: float) -> None:
    arch, rng = agents.arch(), np.random.default_rng(seed)
    memories = random_memories(arch, rng)
    buffers = [rng.integers(0, 256, BUFFER_BYTES, np.uint8) for _ in Base]
    expected = [buffer.copy() for buffer in buffers]
    work = [random_transfer(arch, Opcode.SAVE, rng) for _ in range(25)]
    for instruction in work:
        reference.save(memories, Transfer.of(arch, instruction), expected[instruction["base"]])
    source = agents.StreamSource(dut, "instructions", Pauses(seed, pause))
    source.queue = [payload(instruction, index) for index, instruction in enumerate(work)]
    memory = dict(zip(bind_buffers(dut, rng), buffers, strict=True))
    act = Act(dut, memories, Pauses(seed + 1, pause))
    writer = Writer(dut, arch, memory, Pauses(seed + 2, pause))
    control = Control(dut, Pauses(seed + 3, pause))
    bench = agents.Bench(dut, [source, act, writer, control], INPUTS)
    await bench.reset()
    await bench.run(lambda: len(control.completed) == len(work), LIMIT)
    for base in Base:
        assert np.array_equal(buffers[base], expected[base]), base.name
    check_control(control, work)
    assert int(dut.control__idle.value)
