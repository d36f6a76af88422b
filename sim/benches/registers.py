"""The register file: every register, in any order of address and data, with pauses."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from codesign.arch import ISA_VERSION, Arch
from codesign.registers import (
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    COUNTERS,
    MAGIC,
    OFFSETS,
    REGISTERS,
)
from hw.registers import STATES, VALUES, Registers
from sim import agents
from sim.axi_agents import LiteMaster

LIMIT = 200
PULSES = {"start": CONTROL_START, "reset": CONTROL_RESET, "acknowledge": CONTROL_ACKNOWLEDGE}
INPUTS = ("awprot", "arprot", *(name.lower() for name in STATES))


def component(arch: Arch) -> Registers:
    return Registers(arch)


class Counters:
    """Answers requests for counters after a while with a value that tells counter and half."""

    def __init__(self, dut: Any, seed: int) -> None:
        self._dut, self._random, self._left = dut, np.random.default_rng(seed), 0

    @staticmethod
    def value(counter: int, high: int) -> int:
        return 0x1234_0000 + 2 * counter + high

    def drive(self) -> None:
        self._dut.counter_valid.value = int(self._left == 1)
        if self._left == 1:
            answer = self.value(self._select, self._high)
            self._dut.counter_value.value = answer

    def sample(self) -> None:
        if self._left:
            self._left -= 1
        elif int(self._dut.counter_request.value):
            self._select = int(self._dut.counter_select.value)
            self._high = int(self._dut.counter_high.value)
            self._left = int(self._random.integers(1, 20))


class Pulses:
    """Counts the cycles of each pulse."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.seen = dict.fromkeys(PULSES, 0)

    def drive(self) -> None:
        """Only watches."""

    def sample(self) -> None:
        for name in PULSES:
            self.seen[name] += int(getattr(self._dut, name).value)


class Host:
    def __init__(self, dut: Any, seed: int) -> None:
        self._master = LiteMaster(dut, "", seed, 0.3)
        self.pulses = Pulses(dut)
        self.bench = agents.Bench(dut, [self._master, Counters(dut, seed), self.pulses], INPUTS)

    async def write(self, offset: int, value: int) -> None:
        self._master.write(offset, value)
        await self.bench.run(lambda: self._master.idle, LIMIT)

    async def read(self, offset: int) -> int:
        self._master.read(offset)
        await self.bench.run(lambda: self._master.idle, LIMIT)
        return self._master.value


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def every_register(dut: Any, seed: int) -> None:
    rng, host = np.random.default_rng(seed), Host(dut, seed)
    await host.bench.reset()
    expected: dict[str, int] = {
        "ID": MAGIC,
        "ISA_VERSION": ISA_VERSION,
        "FINGERPRINT": agents.arch().fingerprint,
    }
    for name, width in STATES.items():
        expected[name] = int(rng.integers(0, 1 << width))
        getattr(dut, name.lower()).value = expected[name]
    for register in rng.permutation(np.array(REGISTERS, object)):
        if register.access != "rw":
            continue
        value = int(rng.integers(0, 1 << 32))
        await host.write(register.offset, value)
        base, _, half = register.name.rpartition("_")
        width = VALUES[base if half in ("LOW", "HIGH") else register.name]
        width = {"HIGH": width - 32}.get(half, min(width, 32))
        expected[register.name] = value & ((1 << width) - 1)
    for number, counter in enumerate(COUNTERS):
        for high, half in enumerate(("LOW", "HIGH")):
            expected[f"{counter}_{half}"] = Counters.value(number, high)
    for register in rng.permutation(np.array(REGISTERS, object)):
        assert await host.read(register.offset) == expected.get(register.name, 0), register.name
    assert await host.read(0xFFC) == 0
    for name, width in VALUES.items():
        value = int(getattr(dut, name.lower()).value)
        low = expected[f"{name}_LOW" if width > 32 else name]
        assert value == (low | expected[f"{name}_HIGH"] << 32 if width > 32 else low), name
    assert not any(host.pulses.seen.values())


@cocotb.test()
async def control_pulses_for_one_cycle(dut: Any) -> None:
    host = Host(dut, seed=3)
    await host.bench.reset()
    for name, bit in PULSES.items():
        before = dict(host.pulses.seen)
        await host.write(OFFSETS["CONTROL"], bit)
        await host.bench.step(3)
        assert host.pulses.seen == before | {name: before[name] + 1}
