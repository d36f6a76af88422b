"""Bursts of AXI4 cut for AXI3: random ones of both IDs, with pauses and errors."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from hw.axi3 import BEATS, BurstSplitter
from sim import agents
from sim.agents import Pauses
from sim.axi_agents import DECERR, OKAY, SLVERR, AxiChecker, AxiMemory, Window

LIMIT = 20_000
PAGE = 4096
BURSTS = 60
LONGEST = 64
"""Beats; as LOAD and SAVE ask for."""


def component(arch: Arch) -> BurstSplitter:
    return BurstSplitter(arch)


@dataclass
class Burst:
    identity: int
    address: int
    beats: int
    data: list[tuple[int, int]]
    """Of a write: (word, strobe)."""


class Master:
    """Offers bursts at ``s_*`` and keeps the answers, by ID."""

    def __init__(self, dut: Any, seed: int, pause: float, reads: list[Burst], writes: list[Burst]):
        self._dut = dut
        self._pauses = {c: Pauses(seed + 50 + i, pause) for i, c in enumerate("rwab")}
        self._addresses: dict[str, deque[Burst]] = {"ar": deque(reads), "aw": deque(writes)}
        self._beats = deque(
            (word, strobe, int(i + 1 == burst.beats))
            for burst in writes
            for i, (word, strobe) in enumerate(burst.data)
        )
        self._offered = {"ar": False, "aw": False, "w": False}
        self.read: dict[int, list[tuple[int, int, int]]] = {0: [], 1: []}
        self.written: dict[int, list[int]] = {0: [], 1: []}
        for name, value in (("size", 3), ("burst", 1), ("lock", 0), ("cache", 3), ("prot", 0)):
            for channel in self._addresses:
                self._signal(channel + name).value = value
        for channel in self._addresses:
            self._signal(channel + "qos").value = 0

    def _signal(self, name: str) -> Any:
        return getattr(self._dut, f"s_{name}")

    def drive(self) -> None:
        for channel, queue in self._addresses.items():
            if not self._offered[channel] and queue and not self._pauses["a"]():
                burst = queue[0]
                self._signal(channel + "id").value = burst.identity
                self._signal(channel + "addr").value = burst.address
                self._signal(channel + "len").value = burst.beats - 1
                self._offered[channel] = True
            self._signal(channel + "valid").value = int(self._offered[channel])
        if not self._offered["w"] and self._beats and not self._pauses["w"]():
            word, strobe, last = self._beats[0]
            self._signal("wdata").value, self._signal("wstrb").value = word, strobe
            self._signal("wlast").value = last
            self._offered["w"] = True
        self._signal("wvalid").value = int(self._offered["w"])
        self._takes = {"r": not self._pauses["r"](), "b": not self._pauses["b"]()}
        for channel, takes in self._takes.items():
            self._signal(channel + "ready").value = int(takes)

    def sample(self) -> None:
        queues: dict[str, deque[Any]] = {**self._addresses, "w": self._beats}
        for channel, queue in queues.items():
            if self._offered[channel] and int(self._signal(channel + "ready").value):
                self._offered[channel] = False
                queue.popleft()
        if self._takes["r"] and int(self._signal("rvalid").value):
            word, answer, last = (
                int(self._signal(name).value) for name in ("rdata", "rresp", "rlast")
            )
            self.read[int(self._signal("rid").value)].append((word, answer, last))
        if self._takes["b"] and int(self._signal("bvalid").value):
            self.written[int(self._signal("bid").value)].append(int(self._signal("bresp").value))


class WriteOrder:
    """Write data must carry the ID of the piece whose turn it is."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self._dut, self._prefix = dut, prefix
        self._addresses: list[int] = []
        self._data: list[int] = []

    def drive(self) -> None:
        """Only watches."""

    def _moved(self, channel: str) -> bool:
        return all(int(self._value(channel + name)) for name in ("valid", "ready"))

    def _value(self, name: str) -> int:
        return int(getattr(self._dut, self._prefix + name).value)

    def sample(self) -> None:
        if self._moved("aw"):
            self._addresses.append(self._value("awid"))
        if self._moved("w"):
            assert self._addresses[len(self._data)] == self._value("wid")
            if self._value("wlast"):
                self._data.append(self._value("wid"))


def bursts(rng: np.random.Generator, base: int, size: int, write: bool) -> list[Burst]:
    """Random bursts that lie in a window and cross no page."""
    made = []
    for _ in range(BURSTS):
        lengths = [1, 2, BEATS, BEATS + 1, LONGEST, int(rng.integers(1, LONGEST + 1))]
        beats = int(rng.choice(lengths))
        page = int(rng.integers(0, size // PAGE)) * PAGE
        address = base + page + 8 * int(rng.integers(0, PAGE // 8 - beats + 1))
        words = [
            (int(rng.integers(0, 1 << 63)), int(rng.integers(0, 256))) for _ in range(beats * write)
        ]
        made.append(Burst(int(rng.integers(0, 2)), address, beats, words))
    return made


def windows(rng: np.random.Generator, base: int, pages: int) -> list[Window]:
    """Memory whose pieces of half a kilobyte answer with errors here and there."""
    step = 512
    return [
        Window(
            base + step * i,
            rng.integers(0, 256, step, np.uint8),
            int(rng.choice([OKAY, OKAY, OKAY, OKAY, OKAY, SLVERR, DECERR])),
        )
        for i in range(pages * PAGE // step)
    ]


def answer(memory: list[Window], address: int) -> tuple[int, bytes]:
    window = next(w for w in memory if address in w)
    start = address - window.base
    return window.response, window.data[start : start + 8].tobytes()


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3], pause=[0.0, 0.3, 0.7])
async def random_bursts(dut: Any, seed: int, pause: float) -> None:
    rng = np.random.default_rng(seed)
    source, target = windows(rng, 0x1000_0000, 4), windows(rng, 0x3000_0000, 4)
    reads = bursts(rng, 0x1000_0000, 4 * PAGE, write=False)
    writes = bursts(rng, 0x3000_0000, 4 * PAGE, write=True)
    expected_data = {window.base: window.data.copy() for window in target}
    for burst in writes:
        for i, (word, strobe) in enumerate(burst.data):
            window = next(w for w in target if burst.address + 8 * i in w)
            start = burst.address + 8 * i - window.base
            for lane in range(8):
                if strobe >> lane & 1 and window.response == OKAY:
                    expected_data[window.base][start + lane] = word >> 8 * lane & 0xFF
    master = Master(dut, seed, pause, reads, writes)
    memory = AxiMemory(dut, "m_", source + target, seed, pause)
    checker = AxiChecker(dut, "m_")
    bench = agents.Bench(dut, [master, memory, checker, WriteOrder(dut, "m_")])
    await bench.reset()
    beats = sum(burst.beats for burst in reads)

    def over() -> bool:
        got = sum(map(len, master.read.values()))
        return got == beats and sum(map(len, master.written.values())) == len(writes)

    await bench.run(over, LIMIT)
    await bench.step(50)
    assert over()
    assert checker.longest == BEATS
    for identity in (0, 1):
        own = [burst for burst in reads if burst.identity == identity]
        assert master.read[identity] == [beat for burst in own for beat in _expected(burst, source)]
        own = [burst for burst in writes if burst.identity == identity]
        assert master.written[identity] == [_worst(burst, target) for burst in own]
    for window in target:
        assert np.array_equal(window.data, expected_data[window.base])


def _expected(burst: Burst, memory: list[Window]) -> list[tuple[int, int, int]]:
    beats = []
    for i in range(burst.beats):
        response, data = answer(memory, burst.address + 8 * i)
        word = int.from_bytes(data if response == OKAY else b"\xa5" * 8, "little")
        beats.append((word, response, int(i + 1 == burst.beats)))
    return beats


def _worst(burst: Burst, memory: list[Window]) -> int:
    return max(answer(memory, burst.address + 8 * i)[0] for i in range(burst.beats))
