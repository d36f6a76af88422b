"""The machine around CALC: programs, tokens, counters, trace, faults, watchdog, soft reset."""

from __future__ import annotations

import random

import pytest

from codesign import isa
from codesign.arch import ISA_VERSION, preset
from codesign.isa import Base, ErrorCode, Opcode, Target, Unit
from codesign.registers import (
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    COUNTERS,
    STATUS_DONE,
    STATUS_ERROR,
    STATUS_RESETTING,
    TRACE_RECORD_BYTES,
)
from tests.hw.machine_bench import BUFFERS, Machine

ARCH = preset("tiny")
WORDS, ROWS = 24, 3
ROW_BYTES = WORDS * ARCH.act_word_bytes
END = isa.make(Opcode.END)
FROM_LOAD, FROM_CALC = 1, 2
"""Bits of ``wait`` in CALC (peers LOAD, SAVE) and SAVE (peers LOAD, CALC)."""
MOVE = {"rows": ROWS, "words": WORDS, "stride": ROW_BYTES, "stride_address": 20, "bank": 1}
LOAD = isa.make(Opcode.LOAD, target=Target.ACT, base=Base.INPUT, signal=1, **MOVE)
CALC = isa.make(Opcode.CALC, groups=40, wait=FROM_LOAD, signal=2)
SAVE = isa.make(Opcode.SAVE, base=Base.OUTPUT, wait=FROM_CALC, **MOVE)
COPY = [LOAD, CALC, SAVE]


def filled(machine: Machine, seed: int) -> bytes:
    """Random input; returns what a copy leaves in the output buffer."""
    image = random.Random(seed).randbytes(ROWS * ROW_BYTES)
    machine.dram.data[BUFFERS["INPUT"] : BUFFERS["INPUT"] + len(image)] = image
    return image


def output(machine: Machine) -> bytes:
    start = BUFFERS["OUTPUT"]
    return bytes(machine.dram.data[start : start + ROWS * ROW_BYTES])


@pytest.mark.parametrize(("stall", "repeats"), [(0.0, 1), (0.3, 12)])
def test_program_copies_and_counters_add_up(stall: float, repeats: int) -> None:
    machine = Machine(ARCH, seed=1, stall=stall)
    image = filled(machine, 2)
    counters = {}

    async def host(ctx):
        await machine.set_up(ctx)
        count = machine.program([*COPY * repeats, END])
        assert await machine.start(ctx, count) == STATUS_DONE
        for name in COUNTERS:
            counters[name] = await machine.counter(ctx, name)
        assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.NONE

    machine.run(host)
    assert output(machine) == image
    beats = repeats * ROWS * ROW_BYTES // 8
    assert counters["READ_BEATS"] == beats + 8 * (2 + 3 * repeats)
    assert counters["WRITE_BEATS"] == beats
    assert counters["CALC_ACTIVE"] == counters["CALC_BUSY"] == 40 * repeats
    busy = sum(
        counters[f"CALC_{cause}"]
        for cause in ("BUSY", "WAIT_TOKEN", "WAIT_FENCE", "WAIT_INSTRUCTION")
    )
    assert busy == counters["CYCLES"] > 0
    for unit in ("LOAD", "SAVE"):
        assert counters[f"{unit}_BUSY"] + counters[f"{unit}_WAIT_TOKEN"] <= counters["CYCLES"]
        assert counters[f"{unit}_WAIT_DRAM"] + counters[f"{unit}_WAIT_PORT"] < counters["CYCLES"]
    assert counters["SAVE_WAIT_TOKEN"] > 40
    assert counters["TRACE_DROPPED"] == 0


def test_second_part_and_counters_cleared() -> None:
    machine = Machine(ARCH, seed=1)
    image = filled(machine, 3)

    async def host(ctx):
        await machine.set_up(ctx)
        short = machine.program([END])
        assert await machine.start(ctx, short) == STATUS_DONE
        quick = await machine.counter(ctx, "CYCLES")
        machine.dram.data[0x400 : 0x400 + 0x400] = machine.dram.data[:0x400]
        count = machine.program([*COPY, END])
        machine.dram.data[0x400:0x800] = machine.dram.data[:0x400]
        machine.dram.data[:0x400] = bytes(0x400)
        await machine.write(ctx, "PART_OFFSET", 0x400)
        assert await machine.start(ctx, count) == STATUS_DONE
        assert await machine.counter(ctx, "CYCLES") > quick + 40
        assert await machine.counter(ctx, "WRITE_BEATS") == ROWS * ROW_BYTES // 8

    machine.run(host)
    assert output(machine) == image


def test_tokens_that_a_run_leaves_do_not_reach_the_next() -> None:
    machine = Machine(ARCH, seed=1)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "WATCHDOG", 200)
        count = machine.program([LOAD, END])
        assert await machine.start(ctx, count) == STATUS_DONE
        count = machine.program([isa.make(Opcode.CALC, groups=1, wait=FROM_LOAD), END])
        assert await machine.start(ctx, count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.WATCHDOG

    machine.run(host)


def test_interrupt_follows_done_and_acknowledge() -> None:
    machine = Machine(ARCH)

    async def host(ctx):
        await machine.set_up(ctx)
        count = machine.program([END])
        assert await machine.start(ctx, count) == STATUS_DONE
        assert ctx.get(machine.top.interrupt) == 0
        await machine.write(ctx, "INTERRUPT_ENABLE", 1)
        await ctx.tick().repeat(3)
        assert ctx.get(machine.top.interrupt) == 1
        await machine.write(ctx, "CONTROL", CONTROL_ACKNOWLEDGE)
        await ctx.tick().repeat(3)
        assert ctx.get(machine.top.interrupt) == 0
        assert await machine.read(ctx, "STATUS") == 0

    machine.run(host)


BAD_BEGIN = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=ARCH.fingerprint ^ 1)
GOOD_BEGIN = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=ARCH.fingerprint)
ZERO = bytes(isa.INSTRUCTION_BYTES)
STRAY = bytearray(isa.encode(LOAD))
STRAY[40] = 1
FAULTS = {
    "opcode": ([*COPY, ZERO, END], ErrorCode.ILLEGAL_OPCODE, 4),
    "unknown": ([LOAD, bytes([9, *ZERO[1:]]), END], ErrorCode.ILLEGAL_OPCODE, 2),
    "stray-bits": ([LOAD, bytes(STRAY), END], ErrorCode.MALFORMED, 2),
    "stray-end": ([LOAD, bytes([5, 1, *ZERO[2:]])], ErrorCode.MALFORMED, 2),
    "no-end": (COPY, ErrorCode.MALFORMED, 3),
    "early-end": ([LOAD, END, LOAD], ErrorCode.MALFORMED, 2),
    "second-begin": ([LOAD, GOOD_BEGIN, END], ErrorCode.MALFORMED, 2),
    "calc": ([LOAD, isa.make(Opcode.CALC), END], ErrorCode.MALFORMED, 2),
    "load": ([isa.make(Opcode.LOAD, rows=1), END], ErrorCode.MALFORMED, 1),
    "save": ([isa.make(Opcode.SAVE, words=1), END], ErrorCode.MALFORMED, 1),
    "buffer": (
        [isa.make(Opcode.LOAD, rows=1, words=1, base=Base.INPUT, offset=0x2000), END],
        ErrorCode.ADDRESS_RANGE, 1,
    ),
    "memory": (
        [isa.make(Opcode.SAVE, rows=1, words=9, address=255), END],
        ErrorCode.ADDRESS_RANGE, 1,
    ),
}  # fmt: skip


async def recover(machine: Machine, ctx, image: bytes) -> None:
    """Soft reset, then a run that must be good; what the host wrote is still there."""
    await machine.write(ctx, "CONTROL", CONTROL_RESET)
    while await machine.read(ctx, "STATUS") & STATUS_RESETTING:
        pass
    assert machine.dram.outstanding == 0
    assert await machine.read(ctx, "STATUS") == 0
    assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.NONE
    assert await machine.read(ctx, "OUTPUT_BASE_LOW") == BUFFERS["OUTPUT"]
    machine.dram.errors = set()
    machine.dram.data[BUFFERS["OUTPUT"] : BUFFERS["OUTPUT"] + 0x1000] = bytes(0x1000)
    count = machine.program([*COPY * 2, END])
    await machine.write(ctx, "PART_OFFSET", 0)
    assert await machine.start(ctx, count) == STATUS_DONE
    assert output(machine) == image


def fails_then_recovers(machine: Machine, program, code: int, index: int, count=None) -> None:
    image = filled(machine, 5)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "INTERRUPT_ENABLE", 1)
        placed = machine.program(program)
        assert await machine.start(ctx, placed if count is None else count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == code
        assert await machine.read(ctx, "ERROR_INDEX") == index
        assert ctx.get(machine.top.interrupt) == 1
        await recover(machine, ctx, image)

    machine.run(host)


@pytest.mark.parametrize(("program", "code", "index"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_stops_with_code_and_index(program, code: int, index: int) -> None:
    fails_then_recovers(Machine(ARCH, seed=6, stall=0.2), program, code, index)


@pytest.mark.parametrize(
    ("address", "code", "index"),
    [
        (64 * 2 + 8, ErrorCode.AXI_READ, 2),
        (BUFFERS["INPUT"] + ROW_BYTES + 16, ErrorCode.AXI_READ, 1),
        (BUFFERS["OUTPUT"] + ROW_BYTES, ErrorCode.AXI_WRITE, 3),
    ],
)
def test_bus_error_names_its_instruction(address: int, code: int, index: int) -> None:
    machine = Machine(ARCH, seed=6, stall=0.2)
    machine.dram.errors = {address}
    fails_then_recovers(machine, [*COPY, END], code, index)


@pytest.mark.parametrize(
    ("count", "code"), [(0, ErrorCode.MALFORMED), (1 << 24, ErrorCode.MALFORMED),
                        (129, ErrorCode.ADDRESS_RANGE)],
)  # fmt: skip
def test_count_of_the_part_is_checked(count: int, code: int) -> None:
    fails_then_recovers(Machine(ARCH), [END], code, 0, count)


def test_program_for_another_architecture() -> None:
    machine = Machine(ARCH)
    image = filled(machine, 5)

    async def host(ctx):
        await machine.set_up(ctx)
        count = machine.program([BAD_BEGIN, *COPY, END], begin=False)
        assert await machine.start(ctx, count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.ARCH_MISMATCH
        assert await machine.read(ctx, "ERROR_INDEX") == 0
        await recover(machine, ctx, image)

    machine.run(host)


def test_watchdog_ends_a_deadlock_with_the_oldest_instruction() -> None:
    machine = Machine(ARCH)
    image = filled(machine, 5)
    stuck = isa.make(Opcode.CALC, groups=1, wait=2)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "WATCHDOG", 100)
        count = machine.program([LOAD, stuck, SAVE, LOAD, END])
        assert await machine.start(ctx, count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.WATCHDOG
        assert await machine.read(ctx, "ERROR_INDEX") == 2
        await recover(machine, ctx, image)

    machine.run(host)


def records(machine: Machine, count: int) -> list[tuple[int, int, int, int]]:
    start = BUFFERS["TRACE"]
    found = []
    for i in range(count):
        place = start + i * TRACE_RECORD_BYTES
        record = machine.dram.data[place : place + TRACE_RECORD_BYTES]
        assert record[12:] == bytes(4)
        found.append((
            int.from_bytes(record[8:11], "little"), record[11],
            int.from_bytes(record[:4], "little"), int.from_bytes(record[4:8], "little"),
        ))  # fmt: skip
    return found


def test_trace_has_a_record_for_every_instruction() -> None:
    machine = Machine(ARCH, seed=4, stall=0.2)
    filled(machine, 5)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "TRACE_ENABLE", 1)
        assert await machine.start(ctx, machine.program([*COPY, END])) == STATUS_DONE
        count = machine.program([*COPY * 2, END])
        assert await machine.start(ctx, count) == STATUS_DONE
        assert await machine.read(ctx, "TRACE_COUNT") == count
        cycles = await machine.counter(ctx, "CYCLES")
        found = sorted(records(machine, count))
        assert [index for index, *_ in found] == list(range(count))
        assert found[0][2] == 0
        order = [Unit.FETCH, *[Unit.LOAD, Unit.CALC, Unit.SAVE] * 2, Unit.FETCH]
        assert [unit for _, unit, *_ in found] == order
        for index, unit, start, end in found:
            assert start < end <= cycles
            if unit == Unit.CALC:
                assert end - start == 41
            if unit == Unit.SAVE:
                assert start >= found[index - 1][3]

    machine.run(host)


@pytest.mark.parametrize(
    ("name", "value", "code", "index"),
    [
        ("TRACE_BASE_LOW", BUFFERS["TRACE"] + 8, ErrorCode.MALFORMED, 0),
        ("INPUT_BASE_LOW", BUFFERS["INPUT"] + 8, ErrorCode.MALFORMED, 1),
    ],
)
def test_buffers_that_cannot_be(name: str, value: int, code: int, index: int) -> None:
    machine = Machine(ARCH, seed=4)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "TRACE_ENABLE", 1)
        await machine.write(ctx, name, value)
        count = machine.program([LOAD, END])
        assert await machine.start(ctx, count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == code
        assert await machine.read(ctx, "ERROR_INDEX") == index

    machine.run(host)


@pytest.mark.parametrize("beyond", [0, 16])
def test_buffer_that_ends_beyond_the_last_address(beyond: int) -> None:
    machine = Machine(ARCH, seed=4)
    size = (1 << 40) - BUFFERS["INPUT"] + beyond

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "INPUT_SIZE_LOW", size & 0xFFFFFFFF)
        await machine.write(ctx, "INPUT_SIZE_HIGH", size >> 32)
        status = await machine.start(ctx, machine.program([LOAD, END]))
        assert status == (STATUS_ERROR if beyond else STATUS_DONE)
        code = ErrorCode.ADDRESS_RANGE if beyond else ErrorCode.NONE
        assert await machine.read(ctx, "ERROR_CODE") == code
        assert await machine.read(ctx, "ERROR_INDEX") == (1 if beyond else 0)

    machine.run(host)


def test_trace_stays_within_its_buffer() -> None:
    machine = Machine(ARCH, seed=4)
    filled(machine, 5)

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "TRACE_ENABLE", 1)
        await machine.write(ctx, "TRACE_SIZE_LOW", 3 * TRACE_RECORD_BYTES)
        count = machine.program([*COPY, END])
        assert await machine.start(ctx, count) == STATUS_DONE
        assert await machine.read(ctx, "TRACE_COUNT") == 3
        assert await machine.counter(ctx, "TRACE_DROPPED") == count - 3

    machine.run(host)
    beyond = BUFFERS["TRACE"] + 3 * TRACE_RECORD_BYTES
    assert not any(machine.dram.data[beyond : beyond + 64])


def test_trace_records_lost_for_want_of_room_are_counted() -> None:
    machine = Machine(ARCH, latency=300)
    calcs = 40

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "TRACE_ENABLE", 1)
        count = machine.program([isa.make(Opcode.CALC, groups=1)] * calcs + [END])
        assert await machine.start(ctx, count) == STATUS_DONE
        written = await machine.read(ctx, "TRACE_COUNT")
        dropped = await machine.counter(ctx, "TRACE_DROPPED")
        assert dropped > 0
        assert written + dropped == count
        indices = [index for index, *_ in records(machine, written)]
        assert indices == sorted(set(indices))

    machine.run(host)


def test_bus_error_of_a_trace_record_names_its_instruction() -> None:
    machine = Machine(ARCH)
    image = filled(machine, 5)
    machine.dram.errors = {BUFFERS["TRACE"] + 2 * TRACE_RECORD_BYTES}

    async def host(ctx):
        await machine.set_up(ctx)
        await machine.write(ctx, "TRACE_ENABLE", 1)
        count = machine.program([*COPY, END])
        assert await machine.start(ctx, count) == STATUS_ERROR
        assert await machine.read(ctx, "ERROR_CODE") == ErrorCode.AXI_WRITE
        assert await machine.read(ctx, "ERROR_INDEX") == 2
        await recover(machine, ctx, image)

    machine.run(host)


def test_soft_reset_in_the_middle_of_a_run() -> None:
    machine = Machine(ARCH, seed=9, stall=0.3, latency=60)
    image = filled(machine, 5)

    async def host(ctx):
        await machine.set_up(ctx)
        count = machine.program([*COPY * 6, END])
        for pause in (20, 90, 200, 330):
            await machine.write(ctx, "PART_COUNT", count)
            await machine.write(ctx, "CONTROL", 1)
            await ctx.tick().repeat(pause)
            await machine.write(ctx, "CONTROL", CONTROL_RESET)
            while await machine.read(ctx, "STATUS") & STATUS_RESETTING:
                pass
            assert machine.dram.outstanding == 0
        await recover(machine, ctx, image)

    machine.run(host)
