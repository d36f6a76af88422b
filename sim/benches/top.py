"""The whole accelerator at its AXI ports: a network with random stalls, and what stops it."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from typing import Any, Protocol

import cocotb
import numpy as np

from codesign import isa
from codesign.arch import Arch
from codesign.artifact import Part, Program
from codesign.compiler import compile as compile_graph
from codesign.isa import INSTRUCTION_BYTES, TOKEN_PEERS, ErrorCode, Opcode, Unit
from codesign.registers import (
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    MAGIC,
    OFFSETS,
    STATUS_DONE,
    STATUS_ERROR,
    STATUS_RESETTING,
    TRACE_RECORD_BYTES,
)
from host.manifest import MapLayout
from host.maps import MapTable, MapView
from hw.build import Chip
from sim import agents
from sim.axi_agents import DECERR, SLVERR, AxiChecker, AxiMemory, LiteMaster, Window
from sim.benches import network

LIMIT = 60_000
"""Cycles within which every run must have ended."""
WATCHDOG = 2_000
INPUTS = ("s_axi_awprot", "s_axi_arprot")


class RegisterMaster(Protocol):
    """What accesses registers, one at a time; ``value`` is the last word read."""

    @property
    def idle(self) -> bool: ...
    @property
    def value(self) -> int: ...
    def read(self, offset: int, /) -> None: ...
    def write(self, offset: int, value: int, /) -> None: ...
    def drive(self) -> None: ...
    def sample(self) -> None: ...


def component(arch: Arch) -> Chip:
    return Chip(arch)


@cache
def program() -> Program:
    return compile_graph(network.graph(), agents.arch())


class System:
    """The accelerator, its memory with random pauses, and a host that writes its registers."""

    def __init__(self, dut: Any, seed: int, pause: float) -> None:
        self._dut = dut
        self.windows = self._buffers(np.random.default_rng(seed))
        memory = AxiMemory(dut, "m_axi_", list(self.windows.values()), seed, pause)
        self.memory = memory
        self.checker = AxiChecker(dut, "m_axi_")
        self._master: RegisterMaster = LiteMaster(dut, "s_axi_", seed, pause)
        self.bench = agents.Bench(dut, [memory, self.checker, self._master], INPUTS)

    def _buffers(self, rng: np.random.Generator) -> dict[str, Window]:
        """Buffers at any multiples of 16: bursts meet 4 KiB boundaries anywhere."""
        made = program()
        sizes = {
            "PROGRAM": len(made.image),
            "INPUT": made.input_bytes,
            "OUTPUT": made.output_bytes,
            "TRACE": TRACE_RECORD_BYTES * made.infer.count,
        }
        windows = {}
        for i, (name, size) in enumerate(sizes.items()):
            base = (i + 1 << 32) + 16 * int(rng.integers(0, 256))
            windows[name] = Window(base, np.zeros(size + 16, np.uint8))
        windows["PROGRAM"].data[: len(made.image)] = np.frombuffer(made.image, np.uint8)
        return windows

    async def begin(self, trace: bool = False) -> None:
        """Reset, bind the buffers, run the setup."""
        await self.bench.reset("aclk", "aresetn", active=0)
        await self.bench.step(4)
        assert await self.read("ID") == MAGIC
        for name, window in self.windows.items():
            size = len(window.data) - 16
            for suffix, value in (("BASE", window.base), ("SIZE", size)):
                await self.write(f"{name}_{suffix}_LOW", value & 0xFFFFFFFF)
                await self.write(f"{name}_{suffix}_HIGH", value >> 32)
        await self.write("WATCHDOG", WATCHDOG)
        await self.write("INTERRUPT_ENABLE", 1)
        await self.write("TRACE_ENABLE", int(trace))
        assert await self.run(program().setup) == STATUS_DONE

    async def write(self, name: str, value: int) -> None:
        self._master.write(OFFSETS[name], value)
        await self.bench.run(lambda: self._master.idle, LIMIT)

    async def read(self, name: str) -> int:
        self._master.read(OFFSETS[name])
        await self.bench.run(lambda: self._master.idle, LIMIT)
        return self._master.value

    async def start(self, part: Part) -> None:
        await self.write("PART_OFFSET", part.offset)
        await self.write("PART_COUNT", part.count)
        await self.write("CONTROL", CONTROL_START)

    async def run(self, part: Part) -> int:
        """Run a part to its interrupt; the status that it left, acknowledged."""
        await self.start(part)
        await self.bench.run(lambda: bool(int(self._dut.interrupt.value)), LIMIT)
        status = await self.read("STATUS")
        await self.write("CONTROL", CONTROL_ACKNOWLEDGE)
        return status

    async def soft_reset(self) -> None:
        await self.write("CONTROL", CONTROL_RESET)
        while await self.read("STATUS") & STATUS_RESETTING:
            await self.bench.step(10)
        assert self.memory.idle
        assert await self.read("STATUS") == 0

    async def infer(self, seed: int) -> None:
        """One inference; its result must be the graph's."""
        made = program()
        x = network.inputs(made.graph.batch, seed)
        _view(made, "inputs", self.windows["INPUT"]).pack(x)
        self.windows["OUTPUT"].data[:] = 0
        assert await self.run(made.infer) == STATUS_DONE
        result = _view(made, "outputs", self.windows["OUTPUT"]).read()
        assert np.array_equal(result, network.expected(x))

    async def fails(
        self, code: ErrorCode, index: int | None = None, part: Part | None = None
    ) -> None:
        """A run that stops with that code (at that instruction); afterwards all is well again."""
        assert await self.run(part or program().infer) & STATUS_ERROR
        assert await self.read("ERROR_CODE") == code
        if index is not None:
            assert await self.read("ERROR_INDEX") == index
        await self.soft_reset()

    async def begin_again(self) -> None:
        """After a reset, setup and inference work as ever."""
        assert await self.run(program().setup) == STATUS_DONE
        await self.infer(seed=11)


def _view(made: Program, side: str, window: Window) -> MapView:
    table = MapTable(MapLayout(**asdict(getattr(made, side)[0])), len(window.data))
    view = MapView(table, window.data)
    if side == "inputs":
        view.clear()
    return view


def _instruction(index: int) -> isa.Instruction:
    """An instruction of part ``infer``."""
    first = program().infer.offset + INSTRUCTION_BYTES * index
    return isa.decode(program().image[first : first + INSTRUCTION_BYTES])


def _all(opcode: Opcode) -> list[int]:
    """Indices in part ``infer`` of the instructions with that opcode."""
    return [i for i in range(program().infer.count) if _instruction(i).opcode == opcode]


class Patched:
    """For a while, an instruction of part ``infer`` that differs in some fields."""

    def __init__(self, system: System, index: int, **values: int) -> None:
        self._data = system.windows["PROGRAM"].data
        first = program().infer.offset + INSTRUCTION_BYTES * index
        self._place = slice(first, first + INSTRUCTION_BYTES)
        self._before = self._data[self._place].copy()
        old = isa.decode(self._before.tobytes())
        self._after = isa.encode(replace(old, values={**old.values, **values}))

    def __enter__(self) -> None:
        self._data[self._place] = np.frombuffer(self._after, np.uint8)

    def __exit__(self, *_: object) -> None:
        self._data[self._place] = self._before


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3], pause=[0.0, 0.2, 0.6])
async def inference(dut: Any, seed: int, pause: float) -> None:
    system = System(dut, seed, pause)
    await system.begin()
    for number in range(2):
        await system.infer(seed + number)
    assert await system.read("CYCLES_LOW") > 0
    assert system.checker.longest > 8
    assert system.memory.idle


@cocotb.test()
async def trace_records(dut: Any) -> None:
    system = System(dut, seed=4, pause=0.1)
    await system.begin(trace=True)
    await system.infer(1)
    count = await system.read("TRACE_COUNT")
    records = system.windows["TRACE"].data[: count * TRACE_RECORD_BYTES].view("<u4").reshape(-1, 4)
    indices = sorted((records[:, 2] & 0xFFFFFF).tolist())
    assert indices == list(range(program().infer.count))
    assert (records[:, 0] <= records[:, 1]).all()


@cocotb.test()
@cocotb.parametrize(response=[SLVERR, DECERR])
async def bus_errors(dut: Any, response: int) -> None:
    system = System(dut, seed=response, pause=0.1)
    await system.begin()
    for name, code, opcode in (
        ("INPUT", ErrorCode.AXI_READ, Opcode.LOAD),
        ("OUTPUT", ErrorCode.AXI_WRITE, Opcode.SAVE),
    ):
        system.windows[name].response = response
        await system.fails(code, _all(opcode)[0])
        system.windows[name].response = 0
        await system.begin_again()


@cocotb.test()
async def refused_programs(dut: Any) -> None:
    system = System(dut, seed=6, pause=0.1)
    await system.begin()
    arch, load, calc = agents.arch(), _all(Opcode.LOAD)[0], _all(Opcode.CALC)[0]
    cases: list[tuple[int, dict[str, int], ErrorCode]] = [
        (0, {"fingerprint": arch.fingerprint ^ 1}, ErrorCode.ARCH_MISMATCH),
        (0, {"isa_version": 200}, ErrorCode.ARCH_MISMATCH),
        (load, {"rows": 0}, ErrorCode.MALFORMED),
        (load, {"region": arch.regions}, ErrorCode.MALFORMED),
        (load, {"offset": 1 << 20}, ErrorCode.ADDRESS_RANGE),
        (load, {"address": arch.act_depth}, ErrorCode.ADDRESS_RANGE),
        (calc, {"groups": 0}, ErrorCode.MALFORMED),
        (calc, {"mode": 3}, ErrorCode.MALFORMED),
        (calc, {"tap_base": arch.tap_depth}, ErrorCode.ADDRESS_RANGE),
        (_all(Opcode.SAVE)[0], {"offset": 1 << 20}, ErrorCode.ADDRESS_RANGE),
    ]
    for index, values, code in cases:
        with Patched(system, index, **values):
            await system.fails(code, index)
        await system.begin_again()
    whole = program().infer
    await system.fails(ErrorCode.MALFORMED, part=Part(whole.offset, whole.count - 1))
    await system.fails(ErrorCode.MALFORMED, 0, Part(whole.offset + 16, whole.count))
    await system.fails(ErrorCode.ADDRESS_RANGE, 0, Part(whole.offset, whole.count + 1000))
    await system.begin_again()


@cocotb.test()
async def illegal_opcode(dut: Any) -> None:
    system = System(dut, seed=7, pause=0.1)
    await system.begin()
    index = 2
    place = program().infer.offset + INSTRUCTION_BYTES * index
    data = system.windows["PROGRAM"].data
    before, data[place] = int(data[place]), 0
    await system.fails(ErrorCode.ILLEGAL_OPCODE, index)
    data[place] = before
    await system.begin_again()


@cocotb.test()
async def token_deadlock(dut: Any) -> None:
    system = System(dut, seed=8, pause=0.1)
    await system.begin()
    to_save = 1 << TOKEN_PEERS[Unit.CALC].index(Unit.SAVE)
    from_calc = 1 << TOKEN_PEERS[Unit.SAVE].index(Unit.CALC)
    giver = [i for i in _all(Opcode.CALC) if _instruction(i)["signal"] & to_save][-1]
    save = [i for i in _all(Opcode.SAVE) if _instruction(i)["wait"] & from_calc][-1]
    with Patched(system, giver, signal=0):
        await system.fails(ErrorCode.WATCHDOG, save)
    await system.begin_again()


@cocotb.test()
@cocotb.parametrize(cycles=[1, 37, 300, 900])
async def soft_reset_in_a_run(dut: Any, cycles: int) -> None:
    system = System(dut, seed=9 + cycles, pause=0.3)
    await system.begin()
    await system.start(program().infer)
    await system.bench.step(cycles)
    await system.soft_reset()
    await system.begin_again()
