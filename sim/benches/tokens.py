"""Token counters: units give and take at random, never more than there is."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from codesign.isa import TOKEN_PEERS, Unit
from hw.tokens import Tokens
from sim import agents

MOST = 200
INPUTS = ("clear", *(f"{port}__{unit:d}" for port in ("give", "take") for unit in TOKEN_PEERS))


def component(arch: Arch) -> Tokens:
    return Tokens()


class Units:
    """All units at once, and the counters that they should see: [taker, giver]."""

    def __init__(self, dut: Any, seed: int) -> None:
        self._dut, self._random = dut, np.random.default_rng(seed)
        self._counts = {
            (taker, giver): 0 for taker, peers in TOKEN_PEERS.items() for giver in peers
        }
        self.taken = 0

    def _port(self, name: str, unit: Unit) -> Any:
        return getattr(self._dut, f"{name}__{unit:d}")

    def drive(self) -> None:
        self._gives, self._takes = [], []
        for unit, peers in TOKEN_PEERS.items():
            give = take = 0
            for bit, peer in enumerate(peers):
                if self._random.random() < 0.4 and self._counts[peer, unit] < MOST:
                    give |= 1 << bit
                    self._gives.append((peer, unit))
                if self._random.random() < 0.5 and self._counts[unit, peer]:
                    take |= 1 << bit
                    self._takes.append((unit, peer))
            self._port("give", unit).value = give
            self._port("take", unit).value = take

    def sample(self) -> None:
        for unit, peers in TOKEN_PEERS.items():
            available = int(self._port("available", unit).value)
            for bit, peer in enumerate(peers):
                assert available >> bit & 1 == (self._counts[unit, peer] > 0), (unit, peer)
        for key in self._gives:
            self._counts[key] += 1
        for key in self._takes:
            self._counts[key] -= 1
        self.taken += len(self._takes)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def counters(dut: Any, seed: int) -> None:
    units = Units(dut, seed)
    bench = agents.Bench(dut, [units], INPUTS)
    await bench.reset()
    await bench.step(3000)
    assert units.taken > 1000
