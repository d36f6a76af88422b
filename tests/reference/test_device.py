"""The machine reference behind its registers."""

import numpy as np
import pytest

from codesign.errors import ProgramError
from codesign.isa import ErrorCode, Opcode
from codesign.reference.device import ReferenceDevice
from codesign.registers import (
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    MAGIC,
    OFFSETS,
    STATUS_BUSY,
    STATUS_DONE,
    STATUS_ERROR,
    WATCHDOG_CYCLES,
)
from tests.reference.assembly import CALC_TO_SAVE, LOAD_TO_CALC
from tests.reference.test_hazards import PIXELS, TINY, copy, copying


class Bench:
    """A device with a program bound to it."""

    def __init__(self, program):
        self.device = ReferenceDevice(TINY)
        image = program.image()
        self.output = self.bind("OUTPUT", 1024)
        self.bind("PROGRAM", len(image)).array[:] = image
        self.write("PART_COUNT", len(program.instructions) + 1)

    def bind(self, name, size):
        buffer = self.device.allocate(size)
        self.write(f"{name}_BASE_LOW", buffer.address)
        self.write(f"{name}_SIZE_LOW", size)
        return buffer

    def read(self, name):
        return self.device.read_register(OFFSETS[name])

    def write(self, name, value):
        self.device.write_register(OFFSETS[name], value)

    def start(self):
        self.write("CONTROL", CONTROL_START)
        assert self.read("STATUS") == STATUS_BUSY
        self.device.wait()
        return self.read("STATUS")


def saving():
    program = copying()
    program.add(Opcode.CALC, **copy(), wait=LOAD_TO_CALC[1]["wait"], **CALC_TO_SAVE[0])
    program.save(1, 0, words=PIXELS, **CALC_TO_SAVE[1])
    return program


def test_runs_and_counts():
    bench = Bench(saving())
    assert (bench.read("ID"), bench.read("FINGERPRINT")) == (MAGIC, TINY.fingerprint)
    assert bench.start() == STATUS_DONE
    words = bench.device.machine.memories.act[0, :PIXELS].ravel()
    assert np.array_equal(bench.output.array[: words.size], words)
    assert bench.read("CYCLES_LOW") > bench.read("CALC_BUSY_LOW") > 0
    assert bench.read("TRACE_COUNT") == 0
    bench.write("CONTROL", CONTROL_ACKNOWLEDGE)
    assert bench.read("STATUS") == 0
    bench.device.wait()
    assert bench.read("STATUS") == 0


def test_trace_fills_its_buffer_and_counts_what_is_lost():
    program = saving()
    bench = Bench(program)
    buffer = bench.bind("TRACE", 64)
    bench.write("TRACE_ENABLE", 1)
    bench.start()
    assert bench.read("TRACE_COUNT") == 4
    assert bench.read("TRACE_DROPPED_LOW") == len(program.instructions) + 1 - 4
    records = buffer.array.view("<u4").reshape(4, 4)
    assert (records[:, 2] & 0xFFFFFF).tolist() == [0, 1, 2, 3]
    assert (np.diff(records[:, 1].astype(int)) > 0).all()


@pytest.mark.parametrize("name", ["TRACE", "PROGRAM", "OUTPUT"])
def test_buffers_must_begin_at_multiples_of_16(name):
    bench = Bench(saving())
    bench.bind("TRACE", 64)
    bench.write("TRACE_ENABLE", 1)
    bench.write(f"{name}_SIZE_LOW", bench.read(f"{name}_SIZE_LOW") - 8)
    bench.write(f"{name}_BASE_LOW", bench.read(f"{name}_BASE_LOW") + 8)
    assert bench.start() == STATUS_ERROR
    assert bench.read("ERROR_CODE") == ErrorCode.MALFORMED
    assert (bench.read("ERROR_INDEX") == 0) == (name != "OUTPUT")


def test_errors_last_until_a_soft_reset():
    program = saving()
    program.instructions[3] = program.begin()
    bench = Bench(program)
    assert bench.start() == STATUS_ERROR
    assert (bench.read("ERROR_CODE"), bench.read("ERROR_INDEX")) == (ErrorCode.MALFORMED, 3)
    bench.write("CONTROL", CONTROL_START)
    assert bench.read("STATUS") == STATUS_ERROR
    bench.write("CONTROL", CONTROL_RESET)
    assert (bench.read("STATUS"), bench.read("ERROR_CODE"), bench.read("ERROR_INDEX")) == (0, 0, 0)
    assert bench.start() == STATUS_ERROR


def test_a_program_left_to_chance_raises():
    program = copying()
    program.add(Opcode.CALC, **copy())
    with pytest.raises(ProgramError, match="let a token order the two"):
        Bench(program).start()


def test_registers_refuse_what_hardware_cannot_address():
    bench = Bench(saving())
    with pytest.raises(ValueError, match="offset 2 is not a multiple of 4"):
        bench.device.read_register(2)
    with pytest.raises(ValueError, match="-1 does not fit 32 bits"):
        bench.write("WATCHDOG", -1)
    assert bench.read("WATCHDOG") == WATCHDOG_CYCLES
    bench.write("ID", 5)
    assert bench.read("ID") == MAGIC
    assert bench.read("CONTROL") == 0
    assert bench.device.read_register(0xFFC) == 0
    with pytest.raises(ValueError, match="a buffer of 0 bytes"):
        bench.device.allocate(0)


def test_a_buffer_that_was_freed_is_refused():
    bench = Bench(saving())
    bench.output.free()
    bench.write("CONTROL", CONTROL_START)
    with pytest.raises(ValueError, match="OUTPUT_BASE=0x1000 with 1024 bytes lies in no allocated"):
        bench.device.wait()
