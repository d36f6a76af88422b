"""Cycles of the machine reference against the RTL, instruction by instruction."""

import numpy as np
import pytest

from codesign.isa import Opcode, Target, Unit
from codesign.reference.device import ReferenceDevice
from codesign.reference.timing import Dram
from codesign.registers import (
    CONTROL_START,
    COUNTERS,
    OFFSETS,
    STATUS_DONE,
    STATUS_ERROR,
    TRACE_RECORD_BYTES,
)
from sim.device import RtlDevice
from tests.reference.assembly import CALC_TO_SAVE, LOAD_TO_CALC
from tests.reference.test_hazards import PIXELS, TINY, copy, copying


def run(device, program, *, traced):
    """Execute a part on a device: counters, and (unit, index, start, end) of the trace."""

    def set_wide(name, value):
        device.write_register(OFFSETS[f"{name}_LOW"], value)

    image = program.image()
    contents = {"PROGRAM": image, "OUTPUT": program.output}
    sizes = {name: len(data) for name, data in contents.items()} | {"TRACE": 4096}
    buffers = {name: device.allocate(size) for name, size in sizes.items()}
    for name, buffer in buffers.items():
        set_wide(f"{name}_BASE", buffer.address)
        set_wide(f"{name}_SIZE", sizes[name])
    buffers["PROGRAM"].array[:] = image
    device.write_register(OFFSETS["TRACE_ENABLE"], int(traced))
    device.write_register(OFFSETS["WATCHDOG"], 10000)
    device.write_register(OFFSETS["PART_COUNT"], len(program.instructions) + 1)
    device.write_register(OFFSETS["CONTROL"], CONTROL_START)
    while not device.read_register(OFFSETS["STATUS"]) & (STATUS_DONE | STATUS_ERROR):
        device.wait()
    assert device.read_register(OFFSETS["STATUS"]) == STATUS_DONE
    counters = {name: device.read_register(OFFSETS[f"{name}_LOW"]) for name in COUNTERS}
    size = device.read_register(OFFSETS["TRACE_COUNT"]) * TRACE_RECORD_BYTES if traced else 0
    records = buffers["TRACE"].array[:size].view("<u4").reshape(-1, 4)
    trace = sorted(
        (int(r[2] & 0xFFFFFF), Unit(int(r[2] >> 24)), int(r[0]), int(r[1])) for r in records
    )
    return counters, trace, buffers["OUTPUT"].array.copy()


def pipeline():
    """Overlapping, fenced and residual CALCs of several lengths, then a SAVE of all results."""
    program = copying()
    residual = {"residual": 1, "res_region": 2, "res_pitch_row": 3, "res_pitch_bank": 1}
    residual |= {"acc_multiplier": 1 << 15, "res_multiplier": 1 << 15, "add_shift": 16}
    program.add(Opcode.CALC, **copy(target=2), **LOAD_TO_CALC[1])
    program.add(Opcode.CALC, **copy(taps=2, dst_row=30))
    program.add(Opcode.CALC, **copy(**residual), fence=1, signal=3)
    program.add(Opcode.CALC, **copy(1, 2, groups=3, out_height=1), fence=1, **CALC_TO_SAVE[0])
    program.save(1, 0, words=10, rows=3, stride_address=3, stride_bank=1, stride=64, wait=2)
    data = np.arange(120, dtype=np.uint8)
    program.load(Target.ACT, data, region=2, word=50, wait=1)
    program.save(2, 0, words=PIXELS, offset=512, wait=2)
    return program


def transfers():
    """LOADs of every kind, more than a queue holds, while CALC writes to the same region."""
    program = copying()
    program.add(Opcode.CALC, **copy(groups=10), **LOAD_TO_CALC[1])
    program.add(Opcode.CALC, **copy(groups=10, taps=2, dst_row=40))
    data = np.arange(1 << 11, dtype=np.uint8)
    for n in range(20):
        program.load(Target.ACT, data[: 240 + 8 * n], region=1, word=300)
    program.load(Target.TABLE, data[:256])
    program.load(Target.WGT, data[:256], word=20, rows=2, words=5, stride=96)
    program.load(Target.ACT, data, region=2, rows=9, words=7, stride=48, stride_address=3)
    return program


@pytest.mark.parametrize("make", [pipeline, transfers])
@pytest.mark.parametrize("dram", [Dram(), Dram(7, 60, 2, 2)], ids=["usual", "other"])
def test_every_instruction_starts_and_ends_in_the_cycle_that_the_rtl_does(make, dram):
    program = make()
    for traced in (True, False):
        predicted = run(ReferenceDevice(TINY, dram=dram), program, traced=traced)
        with RtlDevice(TINY, dram=dram) as device:
            measured = run(device, program, traced=traced)
        assert np.array_equal(predicted[2], measured[2])
        assert predicted[1] == measured[1]
        assert predicted[0] == measured[0]
