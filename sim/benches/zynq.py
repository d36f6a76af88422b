"""The accelerator behind a Zynq-7000's AXI3 ports: a network, bus errors, register bursts."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from codesign.arch import Arch
from codesign.isa import ErrorCode, Opcode
from codesign.registers import OFFSETS, REGISTERS
from hw.axi3 import BEATS
from hw.zynq import Zynq
from sim import agents
from sim.agents import Pauses
from sim.axi_agents import SLVERR, AxiChecker, AxiMemory
from sim.benches import top
from sim.benches.splitter import WriteOrder

FIXED, INCR, WRAP = 0, 1, 2
CONTROL, MEMORY = "gp_", "hp_"
BASE = 0x43C0_0000
"""As a block design places the registers; the bridge looks at the low bits alone."""
LIMIT = 3_000


def component(arch: Arch) -> Zynq:
    return Zynq(arch)


class ControlMaster:
    """Bursts at a control port, one at a time, with random IDs and pauses.

    ``value`` is the last word of a read, ``values`` all of them.
    """

    def __init__(self, dut: Any, seed: int, pause: float) -> None:
        self._dut, self._random = dut, np.random.default_rng(seed)
        self._pauses = Pauses(seed, pause)
        self._request = ""
        self._offered, self._data = False, False
        self._beats: deque[int] = deque()
        self._identity = 0
        self.idle, self.values = True, [0]
        for name in ("lock", "cache", "prot", "qos"):
            for channel in ("ar", "aw"):
                self._signal(channel + name).value = 0
        self._signal("wstrb").value = 0xF
        for channel in ("ar", "aw", "w"):
            self._signal(f"{channel}valid").value = 0

    def _signal(self, name: str) -> Any:
        return getattr(self._dut, CONTROL + name)

    @property
    def value(self) -> int:
        return self.values[-1]

    def read(self, offset: int, beats: int = 1, kind: int = INCR) -> None:
        self._begin("ar", offset, beats, kind)
        self.values = []

    def write(self, offset: int, *values: int) -> None:
        self._begin("aw", offset, len(values), INCR)
        self._beats = deque(values)

    def _begin(self, channel: str, offset: int, beats: int, kind: int) -> None:
        assert self.idle, "an access is still under way"
        self.idle, self._request = False, channel
        self._identity = int(self._random.integers(0, 1 << 12))
        for name, value in (
            ("id", self._identity),
            ("addr", BASE + offset),
            ("len", beats - 1),
            ("size", 2),
            ("burst", kind),
        ):
            self._signal(channel + name).value = value

    def drive(self) -> None:
        if self._request and not self._offered:
            self._offered = not self._pauses()
        for channel in ("ar", "aw"):
            self._signal(f"{channel}valid").value = int(self._offered and channel == self._request)
        if self._beats and not self._data:
            self._data = not self._pauses()
            self._signal("wdata").value = self._beats[0]
            self._signal("wid").value = self._identity
            self._signal("wlast").value = int(len(self._beats) == 1)
        self._signal("wvalid").value = int(self._data)
        self._takes = not self._pauses()
        for channel in ("b", "r"):
            self._signal(f"{channel}ready").value = int(self._takes)

    def sample(self) -> None:
        if self._offered and int(self._signal(f"{self._request}ready").value):
            self._offered, self._request = False, ""
        if self._data and int(self._signal("wready").value):
            self._data = False
            self._beats.popleft()
        for channel in ("b", "r"):
            if self._takes and int(self._signal(f"{channel}valid").value):
                self._answer(channel)

    def _answer(self, channel: str) -> None:
        assert not self.idle
        assert int(self._signal(f"{channel}id").value) == self._identity
        assert int(self._signal(f"{channel}resp").value) == 0
        if channel == "r":
            self.values.append(int(self._signal("rdata").value))
        self.idle = channel == "b" or bool(int(self._signal("rlast").value))


class System(top.System):
    """The same host and the same checks, behind AXI3 and with addresses of 32 bits."""

    def __init__(self, dut: Any, seed: int, pause: float) -> None:
        self._dut = dut
        self.windows = self._buffers(np.random.default_rng(seed))
        for number, window in enumerate(self.windows.values()):
            window.base = (window.base & 0xFFF) + (number + 1 << 26)
        self.memory = AxiMemory(dut, MEMORY, list(self.windows.values()), seed, pause)
        self.checker = AxiChecker(dut, MEMORY)
        self.control = self._master = ControlMaster(dut, seed, pause)
        order = WriteOrder(dut, MEMORY)
        self.bench = agents.Bench(dut, [self.memory, self.checker, order, self.control])


@cocotb.test()
@cocotb.parametrize(seed=[1, 2], pause=[0.0, 0.4])
async def inference(dut: Any, seed: int, pause: float) -> None:
    system = System(dut, seed, pause)
    await system.begin(trace=True)
    for number in range(2):
        await system.infer(seed + number)
    assert system.checker.longest == BEATS
    assert system.memory.idle


@cocotb.test()
async def bus_errors(dut: Any) -> None:
    system = System(dut, seed=5, pause=0.1)
    await system.begin()
    for name, code, opcode in (
        ("INPUT", ErrorCode.AXI_READ, Opcode.LOAD),
        ("OUTPUT", ErrorCode.AXI_WRITE, Opcode.SAVE),
    ):
        system.windows[name].response = SLVERR
        await system.fails(code, top._all(opcode)[0])
        system.windows[name].response = 0
        await system.begin_again()


@cocotb.test()
async def soft_reset_in_a_run(dut: Any) -> None:
    system = System(dut, seed=6, pause=0.3)
    await system.begin()
    await system.start(top.program().infer)
    await system.bench.step(300)
    await system.soft_reset()
    await system.begin_again()


@cocotb.test()
@cocotb.parametrize(seed=[1, 2])
async def bursts_of_registers(dut: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    system = System(dut, seed, 0.3)
    await system.bench.reset("aclk", "aresetn", active=0)
    await system.bench.step(4)
    control, first = system.control, OFFSETS["PROGRAM_BASE_LOW"]

    async def over() -> None:
        await system.bench.run(lambda: control.idle, LIMIT)

    words = [int(w) for w in rng.integers(0, 1 << 32, 4)]
    control.write(first, words[0], words[1] & 0xFF, words[2], words[3] & 0xFF)
    await over()
    low = [word & ~0xF for word in words]
    control.read(first, 4)
    await over()
    assert [value & ~0xF for value in control.values] == [
        low[0], words[1] & 0xF0, low[2], words[3] & 0xF0,
    ]  # fmt: skip
    whole = control.values
    control.read(first + 8, 4, WRAP)
    await over()
    assert control.values == [*whole[2:], *whole[:2]]
    control.read(first + 4, 3, FIXED)
    await over()
    assert control.values == [whole[1]] * 3
    singles = []
    for register in REGISTERS[:BEATS]:
        control.read(register.offset)
        await over()
        singles.append(control.value)
    places = [register.offset for register in REGISTERS[:BEATS]]
    ends = next((i for i in range(1, BEATS) if places[i] != 4 * i), BEATS)
    control.read(0, ends)
    await over()
    assert control.values == singles[:ends]
