"""Post-processing: random sums and configurations every cycle, every word against ``arith``."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from codesign import arith, isa, latency
from codesign.arch import TABLE_ENTRIES, Arch
from codesign.isa import Opcode
from hw.post import CONFIG_FIELDS, Post
from sim import agents

FIELDS = {field.name: field for field in isa.LAYOUTS[Opcode.CALC]}
CONFIG = tuple(FIELDS[name] for name in CONFIG_FIELDS)
INPUTS = ("sums", "params", "config", "residual", "table_write")


def component(arch: Arch) -> Post:
    return Post(arch)


class Steps:
    """Writes the tables, then offers random steps; compares the words that come out."""

    def __init__(self, dut: Any, arch: Arch, seed: int, steps: int) -> None:
        self._dut, self._arch = dut, arch
        self._random = np.random.default_rng(seed)
        self._cycle = 0
        self._tables = self._random.integers(-128, 128, (arch.tables, TABLE_ENTRIES))
        self._first = self._tables.size
        self._residuals: dict[int, int] = {}
        self._expected: dict[int, list[int]] = {}
        self._steps = steps
        self.compared = 0

    @property
    def cycles(self) -> int:
        return self._first + self._steps + latency.post(self._arch) + 2

    def _config(self) -> dict[str, int]:
        values = {field.name: self._any(field) for field in CONFIG}
        values["low"], values["high"] = sorted((values["low"], values["high"]))
        values["table_id"] %= self._arch.tables
        values["add_shift"] = self._shift()
        return values

    def _shift(self, twice: int = 0) -> int:
        least = arith.TWICE_SHIFT_MIN if twice else arith.SHIFT_MIN
        return int(self._random.integers(least, arith.SHIFT_MAX + 1))

    def _any(self, field: isa.Field) -> int:
        """A value of the field: an end of its range every now and then."""
        low, high = field.range
        if self._random.random() < 0.1:
            return int(self._random.choice([low, high]))
        return int(self._random.integers(low, high + 1))

    def drive(self) -> None:
        if self._cycle < self._first:
            layout = self._dut.table_write
            address = self._cycle
            width = (self._first - 1).bit_length()
            data = int(self._tables.ravel()[address]) & 0xFF
            layout.value = 1 | address << 1 | data << 1 + width
        elif self._cycle < self._first + self._steps:
            self._dut.table_write.value = 0
            self._step()
        self._dut.residual.value = self._residuals.pop(self._cycle, 0)

    def _step(self) -> None:
        arch, random = self._arch, self._random
        lanes, bits = arch.drain * arch.in_channels, arch.acc_bits
        magnitude = int(random.integers(1, bits))
        sums = random.integers(-(1 << magnitude - 1), 1 << magnitude - 1, lanes)
        records = [
            {field.name: self._any(field) for field in isa.PARAM_RECORD}
            for _ in range(arch.in_channels)
        ]
        for record in records:
            record["shift"] = self._shift(record["twice"])
        residual = random.integers(-128, 128, lanes)
        config = self._config()
        self._dut.sums.value = _packed(sums, bits)
        words = [isa.pack_parameter(record) for record in records]
        self._dut.params.value = sum(word << 64 * i for i, word in enumerate(words))
        self._dut.config.value = isa.pack(CONFIG, config)
        self._residuals[self._cycle + latency.residual()] = _packed(residual, 8)
        done = self._cycle + latency.post(arch)
        self._expected[done] = self._result(sums, records, config, residual).tolist()

    def _result(
        self,
        sums: np.ndarray,
        records: list[dict[str, int]],
        config: dict[str, int],
        residual: np.ndarray,
    ) -> np.ndarray:
        own = {
            name: np.array([record[name] for record in records] * self._arch.drain)
            for name in records[0]
        }
        v = arith.wrap(sums + own["bias"], 32)
        q = arith.requantize(
            v, own["multiplier"], own["shift"], config["zero_point"], own["twice"] == 1
        )
        low, high = config["low"], config["high"]
        if config["residual"]:
            q = arith.saturate(q, arith.INT8_MIN, arith.INT8_MAX)
            q = arith.add_requantized(
                q, config["zero_point"], config["acc_multiplier"],
                residual, config["res_zero_point"], config["res_multiplier"],
                config["add_shift"], config["out_zero_point"],
            )  # fmt: skip
        q = arith.saturate(q, low, high)
        return self._tables[config["table_id"]][q + 128] if config["table"] else q

    def sample(self) -> None:
        expected = self._expected.pop(self._cycle, None)
        if expected is not None:
            data = int(self._dut.words.value).to_bytes(len(expected), "little")
            words = np.frombuffer(data, np.int8).tolist()
            assert words == expected, f"cycle {self._cycle}"
            self.compared += 1
        self._cycle += 1


def _packed(values: np.ndarray, bits: int) -> int:
    return sum((int(value) & ((1 << bits) - 1)) << bits * i for i, value in enumerate(values))


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def words(dut: Any, seed: int) -> None:
    steps = Steps(dut, agents.arch(), seed, steps=2000)
    bench = agents.Bench(dut, [steps], INPUTS)
    await bench.reset()
    await bench.step(steps.cycles)
    assert steps.compared == 2000
