"""CALC with its memories: filled through the ports of LOAD, read back through that of SAVE."""

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb
import numpy as np

from codesign import isa
from codesign.arch import PARAM_RECORD_BITS, Arch
from codesign.arith import MAGNITUDE_BITS, SHIFT_MAX, SHIFT_MIN
from codesign.isa import TAP_ENTRY, Instruction, Mode, Opcode, Target
from codesign.reference import calc as reference
from codesign.reference.memory import Memories
from hw.calc import Calc
from sim import agents
from sim.agents import Pauses, StreamSource
from sim.benches.transfers import Control, check_control, payload, place

LIMIT = 200_000
LARGEST = (1 << MAGNITUDE_BITS) - 1
HEIGHT, WIDTH = 5, 7
SOURCE_ROW, TARGET_ROW = 40, 100
TAPS = 64
INPUTS = ("control__stop", "save_act__valid", "load_act__valid", "load_memory__valid")


def component(arch: Arch) -> Calc:
    return Calc(arch)


class Loader:
    """Writes whole memories through the ports of LOAD."""

    def __init__(self, dut: Any, memories: Memories) -> None:
        arch = memories.arch
        self._dut = dut
        self._act = deque(
            (place(arch, word, region), int.from_bytes(data.tobytes(), "little"))
            for region in range(arch.regions)
            for word, data in enumerate(memories.act[region])
        )
        self._others = deque(
            (target, address, int.from_bytes(data.tobytes(), "little"))
            for target in Target
            if target is not Target.ACT
            for address, data in enumerate(memories.words(target))
        )

    @property
    def done(self) -> bool:
        return not self._act and not self._others

    def drive(self) -> None:
        self._dut.load_memory__valid.value = int(bool(self._others))
        if self._others:
            target, address, data = self._others.popleft()
            self._dut.load_memory__target.value = int(target)
            self._dut.load_memory__address.value = address
            self._dut.load_memory__data.value = data
        self._dut.load_act__valid.value = int(bool(self._act))
        if self._act:
            address, data = self._act[0]
            self._dut.load_act__address.value = address
            self._dut.load_act__data.value = data

    def sample(self) -> None:
        if self._act and int(self._dut.load_act__ready.value):
            self._act.popleft()


class Reader:
    """Reads words of ACT through the port of SAVE, as often as they are asked for."""

    def __init__(self, dut: Any, arch: Arch, pauses: Pauses) -> None:
        self._dut, self._arch, self._pauses = dut, arch, pauses
        self._offered = False
        self.wanted: deque[tuple[int, int]] = deque()
        self.words: list[int] = []

    def drive(self) -> None:
        if not self._offered and self.wanted and not self._pauses():
            region, word = self.wanted[0]
            self._dut.save_act__address.value = place(self._arch, word, region)
            self._offered = True
        self._dut.save_act__valid.value = int(self._offered)

    def sample(self) -> None:
        if self._offered and int(self._dut.save_act__ready.value):
            self.wanted.popleft()
            self._offered = False
        if int(self._dut.save_act__word_valid.value):
            self.words.append(int(self._dut.save_act__word.value))


def _memories(arch: Arch, rng: np.random.Generator) -> Memories:
    memories = Memories(arch)
    memories.act[...] = rng.integers(0, 256, memories.act.shape, np.uint8)
    weights = rng.integers(-127, 128, (arch.wgt_depth, arch.in_channels, arch.out_channels))
    weights[:, :, 1::2] -= weights[:, :, 0::2] < 0
    words = weights.reshape(arch.wgt_depth, -1).astype(np.int8).view(np.uint8)
    memories.words(Target.WGT)[...] = words
    tables = memories.words(Target.TABLE)
    tables[...] = rng.integers(0, 256, tables.shape, np.uint8)
    records = memories.words(Target.PARAM).view(f"<u{PARAM_RECORD_BITS // 8}")
    for at in np.ndindex(records.shape):
        fields = {
            "bias": int(rng.integers(-30_000, 30_000)),
            "multiplier": int(rng.integers(-LARGEST, LARGEST + 1)),
            "shift": int(rng.integers(27, 35)),
            "twice": int(rng.integers(0, 2)),
        }
        records[at] = isa.pack_parameter(fields)
    entries = memories.words(Target.TAP).view("<u8")
    for at in np.ndindex(entries.shape):
        entries[at] = isa.pack(TAP_ENTRY, _tap(arch, rng))
    return memories


def _tap(arch: Arch, rng: np.random.Generator) -> dict[str, int]:
    dy, dx = (int(v) for v in rng.integers(-2, 3, 2))
    row, bank = divmod(dy * WIDTH + dx, arch.pixels)
    short_y, short_x = (int(v) for v in rng.random(2) < 0.2)
    return {"bank": bank, "row": row, "dy": dy, "dx": dx, "short_y": short_y, "short_x": short_x}


def _instruction(arch: Arch, rng: np.random.Generator) -> Instruction:
    """A CALC on a map of HEIGHT by WIDTH from region to region, everything else at random."""
    source, target, residual = (int(region) for region in rng.permutation(arch.regions)[:3])
    mode = Mode(int(rng.integers(0, 3)))
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    pitch_row, pitch_bank = divmod(WIDTH, arch.pixels)
    plane = -(-HEIGHT * WIDTH // arch.pixels)
    first = int(rng.integers(0, HEIGHT))
    values = {
        "wait": int(rng.integers(0, 4)), "signal": int(rng.integers(0, 4)), "fence": 1,
        "mode": int(mode), "residual": int(rng.integers(0, 2)), "table": int(rng.integers(0, 2)),
        "table_id": int(rng.integers(0, arch.tables)),
        "groups": -(-(HEIGHT - first) * WIDTH // arch.pixels),
        "taps": int(rng.integers(1, 12)), "tap_base": int(rng.integers(0, TAPS)),
        "wgt_base": int(rng.integers(0, 200)), "src_region": source,
        "src_bank": int(rng.integers(0, arch.pixels)), "src_row": SOURCE_ROW,
        "grid_width": WIDTH, "in_height": HEIGHT, "in_width": WIDTH, "y_start": first,
        "pad": int(rng.integers(-128, 128)), "out_height": int(rng.integers(1, HEIGHT + 1)),
        "out_width": int(rng.integers(1, WIDTH + 1)),
        "planes": int(rng.integers(1, arch.planes + 1)) if mode == Mode.DENSE else 1,
        "param_base": int(rng.integers(0, 50)), "low": low, "high": high,
        "add_shift": int(rng.integers(SHIFT_MIN, SHIFT_MAX + 1)),
    }  # fmt: skip
    for prefix, region in (("dst", target), ("res", residual)):
        split = int(rng.integers(0, 2)) if WIDTH % arch.drain == 0 else 0  # else MALFORMED
        values |= {
            f"{prefix}_region": region, f"{prefix}_bank": int(rng.integers(0, arch.pixels)),
            f"{prefix}_row": TARGET_ROW, f"{prefix}_pitch_bank": pitch_bank,
            f"{prefix}_pitch_row": pitch_row, f"{prefix}_split": split,
            f"{prefix}_phase_rows": plane, f"{prefix}_plane_rows": 4 * plane,
        }  # fmt: skip
    for name in ("zero_point", "res_zero_point", "out_zero_point"):
        values[name] = int(rng.integers(-128, 128))
    for name in ("acc_multiplier", "res_multiplier"):
        values[name] = int(rng.integers(-LARGEST, LARGEST + 1))
    return isa.make(Opcode.CALC, **values)


def _execute(memories: Memories, instruction: Instruction) -> None:
    taps = memories.taps(instruction["tap_base"], instruction["taps"])
    path = reference.walk(memories.arch, instruction, taps)
    weights = reference.weights(memories, instruction)
    reference.execute(memories, instruction, path, weights)


@cocotb.test()
@cocotb.parametrize(seed=[1, 2, 3], pause=[0.0, 0.3])
async def instructions(dut: Any, seed: int, pause: float) -> None:
    arch, rng = agents.arch(), np.random.default_rng(seed)
    memories = _memories(arch, rng)
    work = [_instruction(arch, rng) for _ in range(30)]
    source = StreamSource(dut, "instructions", Pauses(seed, pause))
    control = Control(dut, Pauses(seed + 1, pause))
    loader = Loader(dut, memories)
    reader = Reader(dut, arch, Pauses(seed + 3, pause))
    bench = agents.Bench(dut, [source, control, loader, reader], INPUTS)
    await bench.reset()
    await bench.run(lambda: loader.done, LIMIT)
    await bench.step(8)  # writes on their way into the memories
    source.queue = [payload(instruction, index) for index, instruction in enumerate(work)]
    reader.wanted.extend((0, word) for word in range(500))  # CALC goes first, whatever SAVE wants
    await bench.run(lambda: len(control.completed) == len(work), LIMIT)
    await bench.run(lambda: len(reader.words) == 500, LIMIT)
    check_control(control, work)
    for instruction in work:
        _execute(memories, instruction)
    await _compare(bench, reader, memories)


async def _compare(bench: agents.Bench, reader: Reader, memories: Memories) -> None:
    """All of ACT, word for word."""
    reader.words.clear()
    words = memories.arch.act_region_words
    reader.wanted.extend((r, word) for r in range(memories.arch.regions) for word in range(words))
    total = len(reader.wanted)
    await bench.run(lambda: len(reader.words) == total, LIMIT)
    size = memories.arch.act_word_bytes
    data = b"".join(word.to_bytes(size, "little") for word in reader.words)
    found = np.frombuffer(data, np.uint8).reshape(memories.act.shape)
    wrong = np.argwhere((found != memories.act).any(axis=2))
    assert not len(wrong), f"{len(wrong)} words differ, the first in (region, word) {wrong[0]}"
