"""What drives and watches a component's ports in cocotb, one step per clock cycle.

Every cycle has two phases: agents set the component's inputs, then, when its outputs have settled,
look at what the coming clock edge will transfer. Simulators disagree about what is seen *at* an
edge; in the middle of the cycle there is nothing to disagree about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from codesign.arch import Arch
from sim.cocotb_runner import ARCHS

PERIOD_NS = 10


class Agent(Protocol):
    """Something that takes part in every cycle."""

    def drive(self) -> None:
        """Set inputs of the component for this cycle."""

    def sample(self) -> None:
        """Look at the settled ports of this cycle."""


def arch() -> Arch:
    """The architecture that the simulated component was made for."""
    return ARCHS[str(cocotb.plusargs["arch"])]


class Bench:
    """Runs clock, reset and agents.

    ``cycle`` counts from the end of the reset. All inputs of the component that ``idle`` names are
    zero at first.
    """

    def __init__(self, dut: Any, agents: Sequence[Agent], idle: Iterable[str] = ()) -> None:
        self._dut = dut
        self._agents = agents
        self._idle = tuple(idle)
        self.cycle = 0

    async def reset(self, clock: str = "clk", reset: str = "rst", active: int = 1) -> None:
        """Start the clock and hold the reset for a few cycles."""
        self._clock, line = getattr(self._dut, clock), getattr(self._dut, reset)
        for name in self._idle:
            getattr(self._dut, name).value = 0
        line.value = active
        Clock(self._clock, PERIOD_NS, unit="ns").start()
        for _ in range(4):
            await FallingEdge(self._clock)
        line.value = 1 - active

    async def run(self, until: Callable[[], bool], limit: int) -> None:
        """Step all agents until a condition holds.

        Raises
        ------
        AssertionError
            It does not hold within ``limit`` cycles.
        """
        for _ in range(limit):
            for agent in self._agents:
                agent.drive()
            await ReadOnly()
            for agent in self._agents:
                agent.sample()
            self.cycle += 1
            await FallingEdge(self._clock)
            if until():
                return
        raise AssertionError(f"not finished after {limit} cycles")

    async def step(self, cycles: int) -> None:
        """Step all agents for a number of cycles."""
        end = self.cycle + cycles
        await self.run(lambda: self.cycle >= end, cycles)


class Pauses:
    """Random pauses with a seed: true with a probability, each cycle anew."""

    def __init__(self, seed: int, probability: float) -> None:
        self._random = np.random.default_rng(seed)
        self._probability = probability

    def __call__(self) -> bool:
        return bool(self._random.random() < self._probability)


class StreamSource:
    """Offers payloads one after another at a stream port; waits between them as it pauses."""

    def __init__(self, dut: Any, prefix: str, pauses: Pauses) -> None:
        self._valid = getattr(dut, f"{prefix}__valid")
        self._ready = getattr(dut, f"{prefix}__ready")
        self._payload = getattr(dut, f"{prefix}__payload")
        self._pauses = pauses
        self._offered = False
        self.queue: list[int] = []
        self._valid.value = 0

    def drive(self) -> None:
        if not self._offered and self.queue and not self._pauses():
            self._payload.value = self.queue[0]
            self._offered = True
        self._valid.value = int(self._offered)

    def sample(self) -> None:
        if self._offered and int(self._ready.value):
            del self.queue[0]
            self._offered = False


class StreamSink:
    """Takes payloads from a stream port, except when it pauses."""

    def __init__(self, dut: Any, prefix: str, pauses: Pauses) -> None:
        self._valid = getattr(dut, f"{prefix}__valid")
        self._ready = getattr(dut, f"{prefix}__ready")
        self._payload = getattr(dut, f"{prefix}__payload")
        self._pauses = pauses
        self.taken: list[int] = []
        self._ready.value = 0

    def drive(self) -> None:
        self._takes = not self._pauses()
        self._ready.value = int(self._takes)

    def sample(self) -> None:
        if self._takes and int(self._valid.value):
            self.taken.append(int(self._payload.value))
