"""What the benches of LOAD and SAVE share: random transfers, tokens, completions."""

from __future__ import annotations

from typing import Any

import numpy as np

from codesign import isa
from codesign.arch import Arch
from codesign.isa import Base, Instruction, Opcode, Target
from codesign.reference.memory import Memories, depth, word_bytes
from codesign.registers import ADDRESS_BITS
from hw.interfaces import INDEX_BITS
from sim.agents import Pauses

BUFFER_BYTES = 1 << 14
PAGE = 4096
_ALIGNMENT = 16


def random_memories(arch: Arch, rng: np.random.Generator) -> Memories:
    """On-chip memories with random contents."""
    memories = Memories(arch)
    memories.act[...] = rng.integers(0, 256, memories.act.shape, np.uint8)
    return memories


def bind_buffers(dut: Any, rng: np.random.Generator) -> list[int]:
    """Addresses of the four buffers, any multiples of 16, at the port ``buffers``."""
    bases = [(i + 1 << 34) + _ALIGNMENT * int(rng.integers(0, 1 << 12)) for i in range(len(Base))]
    word = 0
    for i, base in enumerate(bases):
        word |= (base | BUFFER_BYTES << ADDRESS_BITS) << 2 * ADDRESS_BITS * i
    dut.buffers.value = word
    return bases


def random_transfer(arch: Arch, opcode: Opcode, rng: np.random.Generator) -> Instruction:
    """A transfer that fits its memory and its buffer."""
    target = Target(int(rng.integers(0, len(Target)))) if opcode is Opcode.LOAD else Target.ACT
    room = depth(arch, target)
    rows = int(rng.integers(1, 5))
    words = int(rng.integers(1, min(200, room // 2)))
    step = int(rng.integers(0, max(1, (room - words) // rows)))
    first = int(rng.integers(0, room - words - (rows - 1) * step + 1))
    row_bytes = -(-words * word_bytes(arch, target) // _ALIGNMENT) * _ALIGNMENT
    stride = row_bytes + _ALIGNMENT * int(rng.integers(0, 4))
    last = BUFFER_BYTES - rows * stride
    if last < 0:
        return random_transfer(arch, opcode, rng)
    values = {
        "wait": int(rng.integers(0, 4)),
        "signal": int(rng.integers(0, 4)),
        "base": int(rng.integers(0, len(Base))),
        "offset": _ALIGNMENT * int(rng.integers(0, last // _ALIGNMENT + 1)),
        "stride": stride,
        "rows": rows,
        "words": words,
        "address": first,
        "stride_address": step,
    }
    if target is Target.ACT:
        lanes = arch.pixels
        values |= {
            "region": int(rng.integers(0, arch.regions)),
            "address": first // lanes,
            "bank": first % lanes,
            "stride_address": step // lanes,
            "stride_bank": step % lanes,
        }
    if opcode is Opcode.LOAD:
        values["target"] = int(target)
    return isa.make(opcode, **values)


def payload(instruction: Instruction, index: int) -> int:
    """What the port ``instructions`` carries."""
    word = int.from_bytes(isa.encode(instruction), "little")
    return word | index << 8 * isa.INSTRUCTION_BYTES


def place(arch: Arch, word: int, region: int) -> int:
    """``hw.interfaces.ActAddress`` of a word of ACT."""
    row, bank = divmod(word, arch.pixels)
    return region | bank << isa.REGION | row << isa.REGION + isa.BANK


class Control:
    """A unit's port ``control``: counts time, shows tokens, keeps what the unit took and gave."""

    def __init__(self, dut: Any, pauses: Pauses) -> None:
        self._dut = dut
        self._pauses = pauses
        self._now = 0
        self.taken: list[int] = []
        self.completed: list[tuple[int, int]] = []
        """Index and given tokens of each completion."""

    def drive(self) -> None:
        self._dut.control__now.value = self._now
        self._dut.control__available.value = 0 if self._pauses() else 3

    def sample(self) -> None:
        assert not int(self._dut.control__fault.value), f"fault in cycle {self._now}"
        take = int(self._dut.control__take.value)
        if take:
            self.taken.append(take)
        give, retired = int(self._dut.control__give.value), int(self._dut.control__retired.value)
        assert retired or not give
        if retired:
            start = int(self._dut.control__retired_start.value)
            assert start < self._now
            index = int(self._dut.control__retired_index.value)
            assert index < 1 << INDEX_BITS
            self.completed.append((index, give))
        self._now += 1


def check_control(control: Control, work: list[Instruction]) -> None:
    """Every instruction took its tokens and completed in order, giving its own."""
    assert control.taken == [i["wait"] for i in work if i["wait"]]
    assert control.completed == [(index, i["signal"]) for index, i in enumerate(work)]


def check_burst(address: int, beats: int, beat_bytes: int) -> None:
    """Aligned, and within 4 KiB."""
    assert address % beat_bytes == 0
    assert address // PAGE == (address + beats * beat_bytes - 1) // PAGE
