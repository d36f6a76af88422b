"""The trace: what retires is in memory or counted as dropped, and nothing else is written."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from codesign.isa import Unit
from codesign.registers import ADDRESS_BITS, TRACE_RECORD_BYTES
from hw.interfaces import INDEX_BITS
from hw.trace import Trace
from sim import agents
from sim.agents import Pauses, StreamSink

BASE, RECORDS = 0x12_3456_7FF0, 100
INPUTS = ("clear", "stop", "error", "done", *(f"retired__{unit:d}" for unit in Unit))


def component(arch: Arch) -> Trace:
    return Trace(arch)


class Units:
    """Complete instructions at random; keep the records that this should leave."""

    def __init__(self, dut: Any, seed: int, rate: float) -> None:
        self._dut, self._random, self._rate = dut, np.random.default_rng(seed), rate
        self._now = 0
        self.active = True
        self.dropped = 0
        self.records: set[tuple[int, int, int, int]] = set()

    def drive(self) -> None:
        self._dut.now.value = self._now
        for unit in Unit:
            event = self.active and self._random.random() < self._rate
            port = getattr(self._dut, f"retired__{unit:d}")
            port.value = 0
            if event:
                start = int(self._random.integers(0, self._now + 1))
                index = int(self._random.integers(0, 1 << INDEX_BITS))
                port.value = 1 | index << 1 | start << 1 + INDEX_BITS
                self.records.add((start, self._now, index | unit << INDEX_BITS, 0))

    def sample(self) -> None:
        self.dropped += int(self._dut.dropped.value)
        self._now += 1


class Writer:
    """Takes bursts and their beats, and answers each after a while."""

    def __init__(self, dut: Any, arch: Arch, pauses: Pauses) -> None:
        self._dut, self._bytes, self._pauses = dut, arch.beat_bytes, pauses
        self._bursts, self._data = StreamSink(dut, "burst", pauses), StreamSink(dut, "data", pauses)
        self._answers: deque[int] = deque()
        self.memory = bytearray(RECORDS * TRACE_RECORD_BYTES)

    def drive(self) -> None:
        self._bursts.drive()
        self._data.drive()
        beats = TRACE_RECORD_BYTES // self._bytes
        complete = bool(self._bursts.taken) and len(self._data.taken) >= beats
        answer = complete and not self._pauses()
        self._dut.done.value = int(answer)
        if answer:
            self._commit(self._bursts.taken.pop(0), beats)

    def _commit(self, burst: int, beats: int) -> None:
        address = burst & ((1 << ADDRESS_BITS) - 1)
        assert burst >> ADDRESS_BITS == beats - 1
        assert address % TRACE_RECORD_BYTES == 0
        data = b""
        for number in range(beats):
            beat = self._data.taken.pop(0)
            ones, last = (1 << self._bytes) - 1, int(number == beats - 1)
            assert beat >> 8 * self._bytes == ones | last << self._bytes
            data += (beat & ((1 << 8 * self._bytes) - 1)).to_bytes(self._bytes, "little")
        start = address - BASE
        assert 0 <= start < len(self.memory)
        self.memory[start : start + TRACE_RECORD_BYTES] = data

    def sample(self) -> None:
        self._bursts.sample()
        self._data.sample()


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], rate=[0.002, 0.1], pause=[0.0, 0.5])
async def records(dut: Any, seed: int, rate: float, pause: float) -> None:
    units = Units(dut, seed, rate)
    writer = Writer(dut, agents.arch(), Pauses(seed, pause))
    bench = agents.Bench(dut, [units, writer], INPUTS)
    dut.enable.value, dut.base.value = 1, BASE
    dut.size.value = RECORDS * TRACE_RECORD_BYTES
    await bench.reset()
    await bench.step(2000)
    units.active = False
    await bench.run(lambda: bool(int(dut.flushed.value)), 2000)
    await bench.step(2)
    count = int(dut.count.value)
    assert count + units.dropped == len(units.records)
    # Every unit takes several cycles for an instruction: 0.1 is more than there ever is.
    assert count == RECORDS if rate == 0.1 else not units.dropped
    table = np.frombuffer(writer.memory, "<u4").reshape(-1, 4)
    written = {tuple(row) for row in table[:count].tolist()}
    assert len(written) == count
    assert written <= units.records
    assert not table[count:].any()


@cocotb.test()
async def nothing_unless_enabled(dut: Any) -> None:
    units = Units(dut, 3, 0.05)
    writer = Writer(dut, agents.arch(), Pauses(3, 0.0))
    bench = agents.Bench(dut, [units, writer], INPUTS)
    dut.enable.value, dut.base.value, dut.size.value = 0, BASE, RECORDS * TRACE_RECORD_BYTES
    await bench.reset()
    await bench.step(500)
    assert int(dut.count.value) == 0
    assert int(dut.flushed.value)
    assert not units.dropped
