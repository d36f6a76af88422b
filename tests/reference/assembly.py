"""Small programs by hand: instructions and data side by side in one buffer."""

import numpy as np

from codesign import isa
from codesign.arch import ISA_VERSION
from codesign.isa import Base, Opcode, Target
from codesign.reference import memory
from codesign.reference.machine import Machine

LOAD_TO_CALC = {"signal": 1}, {"wait": 1}
CALC_TO_SAVE = {"signal": 2}, {"wait": 2}
CALC_TO_LOAD = {"signal": 1}, {"wait": 1}
"""Fields of giver and taker (``isa.TOKEN_PEERS``)."""
ROOM = 1 << 16
"""Bytes of the program buffer before the data."""


class Assembly:
    """A program under construction, with the buffers that it will run on."""

    def __init__(self, arch, out_bytes=1 << 16):
        self.arch = arch
        self.instructions = [self.begin()]
        self.data = bytearray()
        self.output = np.zeros(out_bytes, np.uint8)

    def begin(self, **changes):
        values = {"isa_version": ISA_VERSION, "fingerprint": self.arch.fingerprint} | changes
        return isa.make(Opcode.BEGIN, **values)

    def add(self, opcode, **values):
        """Append an instruction; its index."""
        self.instructions.append(isa.make(opcode, **values))
        return len(self.instructions) - 1

    def load(self, target, data, word=0, region=0, **values):
        """A LOAD of all of ``data`` (bytes) to consecutive words."""
        data = np.ascontiguousarray(data).view(np.uint8).ravel()
        size = memory.word_bytes(self.arch, target)
        offset = ROOM + len(self.data)
        self.data += data.tobytes() + bytes(-len(data) % 16)
        lanes = self.arch.pixels if target == Target.ACT else 1
        fields = {"target": target, "base": Base.PROGRAM, "offset": offset, "rows": 1}
        fields |= {"words": len(data) // size, "region": region}
        fields |= {"bank": word % lanes, "address": word // lanes}
        return self.add(Opcode.LOAD, **fields | values)

    def save(self, region, word, **values):
        """A SAVE of pixels from ``word`` on to the output buffer."""
        fields = {"base": Base.OUTPUT, "rows": 1}
        fields |= {"region": region, "bank": word % self.arch.pixels}
        fields["address"] = word // self.arch.pixels
        return self.add(Opcode.SAVE, **fields | values)

    def image(self):
        """The program buffer: instructions, END, data."""
        code = b"".join(isa.encode(i) for i in (*self.instructions, isa.make(Opcode.END)))
        assert len(code) <= ROOM
        return np.frombuffer(bytearray(code.ljust(ROOM, b"\0") + self.data), np.uint8)

    def machine(self, **options):
        """A machine with the program in its DRAM."""
        buffers = {Base.PROGRAM: self.image(), Base.OUTPUT: self.output}
        return Machine(self.arch, buffers, **options)

    def run(self, machine=None, **options):
        """Execute on a machine, a new one by default: (machine, Run)."""
        machine = machine or self.machine(**options)
        return machine, machine.run(0, len(self.instructions) + 1)


def tap_words(taps):
    """Tap entries, each a dict of fields, as they lie in DRAM."""
    zero = {field.name: 0 for field in isa.TAP_ENTRY}
    return np.array([isa.pack(isa.TAP_ENTRY, zero | tap) for tap in taps], "<u8")


def param_words(bias, multiplier, shift, twice=None):
    """Parameter records of flat sequences, as they lie in DRAM."""
    twice = [0] * len(bias) if twice is None else twice
    records = zip(bias, multiplier, shift, twice, strict=True)
    names = [field.name for field in isa.PARAM_RECORD]
    packed = [
        isa.pack(isa.PARAM_RECORD, dict(zip(names, map(int, r), strict=True))) for r in records
    ]
    return np.array(packed, "<u8")


def pack_dense(w):
    """Weight words of w[t][m][n] (docs/machine.md, WGT)."""
    packed = w.astype(np.int64)
    packed[:, :, 1::2] -= w[:, :, 0::2] < 0
    return packed.astype(np.int8)
