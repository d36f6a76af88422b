"""The PE array: groups of taps in all modes back to back, every sum against numpy."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from codesign import latency
from codesign.arch import Arch
from codesign.arith import INT8_MAX, INT8_MIN, WEIGHT_MAX, WEIGHT_MIN, wrap
from codesign.isa import Mode
from hw.array import Array
from sim import agents

INPUTS = ("acts", "weights", "mode", "slice", "valid", "first", "last")


def component(arch: Arch) -> Array:
    return Array(arch)


class Taps:
    """Drives groups of random taps and keeps what must come out, and when."""

    def __init__(self, dut: Any, arch: Arch, seed: int, groups: int, extreme: bool) -> None:
        self._dut, self._arch, self._extreme = dut, arch, extreme
        self._random = np.random.default_rng(seed)
        self._cycle = 0
        self._schedule: dict[int, dict[str, int]] = {}
        self._acts: dict[int, np.ndarray] = {}
        self.expected: dict[int, list[int]] = {}
        start = 0
        for _ in range(groups):
            start = self._group(start)
        self.cycles = start + latency.array(arch) + arch.drain_steps + 4

    def _values(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        if self._extreme:
            return self._random.choice([low, high], shape)
        return self._random.integers(low, high + 1, shape)

    def _group(self, start: int) -> int:
        """Schedule one group; the cycle in which the next may start."""
        arch, random = self._arch, self._random
        mode = Mode(int(random.integers(0, 3)))
        taps = int(random.integers(1, 12))
        # A group's last tap comes at least drain_steps after that of the one before.
        start += max(0, arch.drain_steps - taps) + int(random.integers(0, 3))
        acts = self._values(INT8_MIN, INT8_MAX, (taps, arch.pixels, arch.in_channels))
        dense = self._values(WEIGHT_MIN, WEIGHT_MAX, (taps, arch.in_channels, arch.out_channels))
        for t in range(taps):
            part = int(random.integers(0, arch.out_channels))
            self._schedule[start + t] = {
                "weights": self._word(mode, dense[t], part),
                "mode": int(mode),
                "slice": part,
                "first": int(t == 0),
                "last": int(t == taps - 1),
            }
            self._acts[start + t] = acts[t]
        self._expect(start + taps - 1, self._sums(mode, acts, dense))
        return start + taps

    def _word(self, mode: Mode, weights: np.ndarray, part: int) -> int:
        arch = self._arch
        data = self._random.integers(0, 256, arch.wgt_word_bytes, np.uint8)
        if mode == Mode.DENSE:
            packed = weights.copy()
            packed[:, 1::2] -= weights[:, 0::2] < 0
            data = packed.astype(np.int8).view(np.uint8).ravel()
        elif mode == Mode.DEPTHWISE:
            channels = arch.in_channels
            own = weights[:, 0].astype(np.int8).view(np.uint8)
            data[part * channels : (part + 1) * channels] = own
        return int.from_bytes(data.tobytes(), "little")

    def _sums(self, mode: Mode, acts: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if mode == Mode.DENSE:
            return wrap(np.einsum("tpm,tmn->pn", acts, weights), self._arch.acc_bits)
        sums = np.zeros((self._arch.pixels, self._arch.out_channels), np.int64)
        if mode == Mode.MAX:
            sums[:, : self._arch.in_channels] = acts.max(axis=0)
        else:
            own = np.einsum("tpm,tm->pm", acts, weights[:, :, 0])
            sums[:, : self._arch.in_channels] = wrap(own, self._arch.acc_bits)
        return sums

    def _expect(self, last: int, sums: np.ndarray) -> None:
        arch = self._arch
        channels = arch.in_channels
        for j in range(arch.pixels // arch.drain):
            for c in range(arch.planes):
                lanes = slice(j * arch.drain, (j + 1) * arch.drain)
                block = sums[lanes, c * channels : (c + 1) * channels]
                cycle = last + latency.array(arch) + j * arch.planes + c
                self.expected[cycle] = block.ravel().tolist()

    def drive(self) -> None:
        now, arch = self._cycle, self._arch
        control = self._schedule.get(now)
        self._dut.valid.value = int(control is not None)
        for name, value in (control or {}).items():
            getattr(self._dut, name).value = value
        acts = self._random.integers(0, 256, (arch.pixels, arch.in_channels), np.uint8)
        for p in range(arch.pixels):
            own = self._acts.get(now - p // arch.drain * arch.planes)
            if own is not None:
                acts[p] = own[p].astype(np.int8).view(np.uint8)
        self._dut.acts.value = int.from_bytes(acts.tobytes(), "little")

    def sample(self) -> None:
        expected = self.expected.get(self._cycle)
        assert int(self._dut.out_valid.value) == (expected is not None), f"cycle {self._cycle}"
        if expected is not None:
            bits, word = self._arch.acc_bits, int(self._dut.sums.value)
            fields = [(word >> bits * i) & ((1 << bits) - 1) for i in range(len(expected))]
            assert wrap(np.array(fields), bits).tolist() == expected, f"cycle {self._cycle}"
        self._cycle += 1


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], extreme=[False, True])
async def sums(dut: Any, seed: int, extreme: bool) -> None:
    taps = Taps(dut, agents.arch(), seed, groups=60, extreme=extreme)
    bench = agents.Bench(dut, [taps], INPUTS)
    await bench.reset()
    await bench.step(taps.cycles)
