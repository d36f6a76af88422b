"""Cycles of the machine reference against the RTL, instruction by instruction."""

import numpy as np
import pytest

from codesign.isa import TOKEN_PEERS, Base, Opcode, Target, Unit
from codesign.reference import memory
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
from tests.reference.assembly import CALC_TO_SAVE, LOAD_TO_CALC, ROOM
from tests.reference.test_hazards import CHANNELS, PIXELS, TINY, copy, copying


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


class Random:
    """LOADs, CALCs and SAVEs of any shape, with tokens between them; most of them race.

    Only region 0 and the words that ``copying`` loads keep their contents.
    """

    BLOB = 1 << 13
    UNITS = (Opcode.LOAD, Opcode.CALC, Opcode.SAVE)

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.program = copying()
        self.blob = ROOM + len(self.program.data)
        self.program.data += bytes(self.BLOB)
        self.tokens = {(Unit.LOAD, Unit.CALC): 1}
        chances = self.rng.dirichlet(np.ones(len(self.UNITS)))
        for number in range(int(self.rng.integers(1, 60))):
            opcode = (
                Opcode.CALC if not number else Opcode(int(self.rng.choice(self.UNITS, p=chances)))
            )
            fields = getattr(self, opcode.name.lower())()
            self.program.add(opcode, **fields | self.token_fields(Unit[opcode.name]))

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def token_fields(self, unit):
        fields = {"wait": 0, "signal": 0}
        for bit, peer in enumerate(TOKEN_PEERS[unit]):
            if self.tokens.get((peer, unit)) and (unit is Unit.CALC or self.number(0, 1)):
                fields["wait"] |= 1 << bit
                self.tokens[peer, unit] -= 1
            if not self.number(0, 3):
                fields["signal"] |= 1 << bit
                self.tokens[unit, peer] = self.tokens.get((unit, peer), 0) + 1
        return fields

    def shape(self, word_bytes, most):
        """Rows and words, and strides and offset that keep them within a buffer of BLOB bytes."""
        rows = 1 if self.number(0, 1) else self.number(2, 12)
        words = self.number(1, 5) if self.number(0, 1) else self.number(1, most)
        stride = -(-words * word_bytes // 16) * 16 + 16 * self.number(0, 2)
        rows = max(1, min(rows, self.BLOB // stride))
        offset = 16 * self.number(0, (self.BLOB - rows * stride) // 16)
        return {"rows": rows, "words": words, "stride": stride, "offset": offset}

    def place(self):
        return {
            "bank": self.number(0, TINY.pixels - 1), "address": self.number(0, 30),
            "stride_bank": self.number(0, TINY.pixels - 1), "stride_address": self.number(0, 8),
        }  # fmt: skip

    def load(self):
        target = Target(self.number(0, len(Target) - 1))
        size = memory.word_bytes(TINY, target)
        most = {Target.ACT: 300, Target.WGT: 64, Target.PARAM: 10, Target.TAP: 100}
        fields = self.shape(size, most.get(target, 200)) | {"target": target, "base": Base.PROGRAM}
        fields["offset"] += self.blob
        if target is Target.ACT:
            return fields | self.place() | {"region": self.number(1, 2)}
        first = {Target.WGT: 20, Target.PARAM: 1, Target.TAP: 8}.get(target, 0)
        return fields | {"address": first}

    def save(self):
        fields = self.shape(CHANNELS, 400) | {"base": Base.OUTPUT}
        return fields | self.place() | {"region": self.number(0, 2)}

    def calc(self):
        target, groups = self.number(1, 2), self.number(1, 30)
        fields = copy(target=target, groups=groups, taps=self.number(1, 4))
        fields |= {"out_height": self.number(0, 12), "out_width": self.number(1, 10)}
        fields |= {"fence": self.number(0, 1), "dst_row": self.number(0, 40)}
        if self.number(0, 1):
            fields |= {"residual": 1, "res_region": 3 - target, "res_pitch_row": 3}
            fields |= {"res_pitch_bank": 1, "add_shift": 16}
        return fields


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_take_the_predicted_cycles(seed):
    """On any steady DRAM, too: fast or slow, with many bursts outstanding or few."""
    program = Random(seed).program
    rng = np.random.default_rng(seed)
    dram = Dram(*(int(v) for v in (*rng.integers(1, 80, 2), *rng.integers(1, 9, 2))))
    for traced in (False, True):
        predicted = run(ReferenceDevice(TINY, dram=dram, check=False), program, traced=traced)
        with RtlDevice(TINY, dram=dram) as device:  # a new one: tokens may be left over
            measured = run(device, program, traced=traced)
        assert predicted[1] == measured[1]
        assert predicted[0] == measured[0]


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
