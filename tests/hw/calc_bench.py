"""Runs CALC instructions in Amaranth's simulator, beside the machine reference."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from codesign import isa, latency
from codesign.arch import Arch
from codesign.arith import MAGNITUDE_BITS
from codesign.isa import Instruction, Mode, Opcode, Target
from codesign.reference import calc as reference
from codesign.reference.memory import Memories
from hw.calc import Calc

PERIOD = 1e-8
LARGEST = (1 << MAGNITUDE_BITS) - 1
GIVE_UP = 20_000
"""Cycles after which a run is taken to hang."""


def random_memories(arch: Arch, rng: np.random.Generator) -> Memories:
    """All memories full of legal values; taps are left to the cases."""
    memories = Memories(arch)
    memories.act[:] = rng.integers(0, 256, memories.act.shape)
    w = rng.integers(-127, 128, (arch.wgt_depth, arch.in_channels, arch.out_channels))
    w[:, :, 1::2] -= w[:, :, 0::2] < 0
    memories.words(Target.WGT)[:] = w.reshape(arch.wgt_depth, -1).astype(np.int8).view(np.uint8)
    records = memories.words(Target.PARAM).view("<u8")
    for index in np.ndindex(records.shape):
        values = {
            "bias": int(rng.integers(-20_000, 20_000)),
            "multiplier": int(rng.integers(LARGEST // 2, LARGEST)) * int(rng.choice([-1, 1])),
            "shift": int(rng.integers(29, 34)),
            "twice": int(rng.integers(0, 2)),
        }
        records[index] = isa.pack_parameter(values)
    memories.words(Target.TABLE)[:] = rng.integers(0, 256, memories.words(Target.TABLE).shape)
    return memories


def write_taps(memories: Memories, first: int, taps: Sequence[dict[str, int]]) -> None:
    """Tap entries; fields that are not given are zero."""
    words = memories.words(Target.TAP).view("<u8")
    for t, tap in enumerate(taps):
        complete = {f.name: 0 for f in isa.TAP_ENTRY} | tap
        words[first + t, 0] = isa.pack(isa.TAP_ENTRY, complete)


@dataclass
class Outcome:
    """A run: when each instruction was transferred, started and ended, and ACT at the end."""

    transfers: list[int] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    gives: dict[int, int] = field(default_factory=dict)
    faults: list[tuple[int, int]] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)
    cycles: int = 0
    act: np.ndarray | None = None


class Bench:
    """One simulation of ``Calc`` whose memories begin as given.

    Parameters
    ----------
    arrivals:
        Cycle from which the queue offers each instruction; all at once if left out.
    tokens:
        For both peers the cycles in which they give a token.
    reset_at:
        Cycle in which CALC is reset; all instructions are offered again, once, from then on.
    """

    def __init__(
        self,
        arch: Arch,
        memories: Memories,
        instructions: Sequence[Instruction],
        arrivals: Sequence[int] | None = None,
        tokens: tuple[Sequence[int], Sequence[int]] = ((), ()),
        reset_at: int | None = None,
    ) -> None:
        self._reset_at, self._reset = reset_at, Signal()
        self.arch, self.instructions = arch, list(instructions)
        self.arrivals = list(arrivals or [0] * len(instructions))
        self.tokens = tokens
        self._memories = memories
        self.calc = Calc(arch)

    def run(self) -> Outcome:
        outcome = Outcome()
        simulator = Simulator(ResetInserter(self._reset)(self.calc))
        simulator.add_clock(PERIOD)

        async def testbench(ctx):
            self._fill(ctx)
            await self._drive(ctx, outcome)
            outcome.act = self._dump(ctx)

        simulator.add_testbench(testbench)
        simulator.run()
        return outcome

    def _blocks(self):
        """(memory, words as integers) of everything but ACT and the tables."""
        memories = self.calc.memories
        for target, block in (
            (Target.TAP, memories.taps),
            (Target.WGT, memories.weights),
            (Target.PARAM, memories.params),
        ):
            words = self._memories.words(target)
            for (first, size), memory in zip(block.pieces, block.memories, strict=True):
                yield memory, words[first : first + size]

    def _fill(self, ctx):
        for memory, words in self._blocks():
            mask = (1 << len(memory.data[0])) - 1
            for i, word in enumerate(words):
                ctx.set(memory.data[i], int.from_bytes(word.tobytes(), "little") & mask)
        P = self.arch.pixels
        for region, banks in enumerate(self.calc.act.banks):
            for bank, memory in enumerate(banks):
                for row, word in enumerate(self._memories.act[region, bank::P]):
                    ctx.set(memory.data[row], int.from_bytes(word.tobytes(), "little"))

    def _dump(self, ctx) -> np.ndarray:
        act = np.zeros_like(self._memories.act)
        P, size = self.arch.pixels, self.arch.act_word_bytes
        for region, banks in enumerate(self.calc.act.banks):
            for bank, memory in enumerate(banks):
                words = [ctx.get(memory.data[row]) for row in range(self.arch.act_depth)]
                data = b"".join(word.to_bytes(size, "little") for word in words)
                act[region, bank::P] = np.frombuffer(data, np.uint8).reshape(-1, size)
        return act

    async def _load_tables(self, ctx):
        port = self.calc.load_memory
        ctx.set(port.valid, 1)
        ctx.set(port.target, Target.TABLE)
        for address, word in enumerate(self._memories.words(Target.TABLE)):
            ctx.set(port.address, address)
            ctx.set(port.data, int(word[0]))
            await ctx.tick()
        ctx.set(port.valid, 0)
        await ctx.tick().repeat(4)

    async def _drive(self, ctx, outcome: Outcome):
        if any(i["table"] for i in self.instructions):
            await self._load_tables(ctx)
        port, control = self.calc.instructions, self.calc.control
        next_one, held = 0, [0, 0]
        for cycle in range(GIVE_UP):
            ctx.set(control.now, cycle)
            ctx.set(self._reset, cycle == self._reset_at)
            if cycle == self._reset_at:
                next_one = 0
                outcome.transfers.clear()
                await ctx.tick()
                continue
            offered = next_one < len(self.instructions) and self.arrivals[next_one] <= cycle
            ctx.set(port.valid, offered)
            if offered:
                word = int.from_bytes(isa.encode(self.instructions[next_one]), "little")
                ctx.set(port.payload, {"word": word, "index": 100 + next_one})
            for peer in range(2):
                held[peer] += sum(given == cycle - 1 for given in self.tokens[peer])
            ctx.set(control.available, sum((held[peer] > 0) << peer for peer in range(2)))
            taken = ctx.get(control.take)
            for peer in range(2):
                held[peer] -= taken >> peer & 1
            if offered and ctx.get(port.ready):
                outcome.transfers.append(cycle)
                next_one += 1
            self._observe(ctx, cycle, outcome)
            idle = ctx.get(control.idle) and next_one == len(self.instructions)
            if (idle and cycle > outcome.transfers[-1]) or outcome.faults:
                outcome.cycles = cycle
                await ctx.tick().repeat(4)
                return
            await ctx.tick()
        raise AssertionError(f"no end after {GIVE_UP} cycles: {outcome}")

    def _observe(self, ctx, cycle: int, outcome: Outcome):
        control = self.calc.control
        if ctx.get(control.retired):
            index = ctx.get(control.retired_index) - 100
            outcome.starts[index] = ctx.get(control.retired_start)
            outcome.ends[index] = cycle
            outcome.gives[index] = ctx.get(control.give)
        elif ctx.get(control.give):
            raise AssertionError("a token without a completion")
        if ctx.get(control.fault):
            outcome.faults.append((ctx.get(control.fault_code), ctx.get(control.fault_index) - 100))
        for name in ("busy", "active", "wait_token", "wait_fence", "wait_instruction"):
            level = ctx.get(getattr(self.calc.status, name))
            outcome.levels[name] = outcome.levels.get(name, 0) + level


def expected_act(memories: Memories, instructions: Sequence[Instruction]) -> np.ndarray:
    """ACT after the instructions, by the machine reference, one after the other."""
    arch = memories.arch
    for i in instructions:
        path = reference.walk(arch, i, memories.taps(i["tap_base"], i["taps"]))
        reference.execute(memories, i, path, reference.weights(memories, i))
    return memories.act


def schedule(
    arch: Arch,
    instructions: Sequence[Instruction],
    arrivals: Sequence[int] | None = None,
    tokens: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Outcome:
    """Transfers, starts and ends as ``latency.calc_finish`` tells them."""
    outcome = Outcome()
    start = slots = finish = -latency.CALC_ACCEPT
    left = [sorted(given) for given in tokens]
    for index, i in enumerate(instructions):
        arrival = arrivals[index] if arrivals else 0
        transfer = max(arrival, start + latency.CALC_ACCEPT)
        at = max(transfer + latency.CALC_DECODE, slots + latency.CALC_GAP)
        if i["fence"]:
            at = max(at, finish + latency.CALC_FENCE)
        for peer in range(2):
            if i["wait"] >> peer & 1:
                at = max(at, left[peer].pop(0) + 1)
        start = at
        slots = start + i["groups"] * latency.calc_interval(arch, i["taps"])
        finish = start + latency.calc_finish(arch, i["groups"], i["taps"])
        outcome.transfers.append(transfer)
        outcome.starts[index] = start
        outcome.ends[index] = finish + latency.CALC_RETIRE
        outcome.gives[index] = i["signal"]
    return outcome


@dataclass(frozen=True)
class Layer:
    """A convolution-like CALC on maps that lie at fixed places; ``instruction`` encodes it.

    ``source`` and ``destination`` are (region, first pixel), ``size`` height and width of the
    source map, ``pitch`` that of the source and hence the grid's width.
    """

    mode: Mode
    size: tuple[int, int]
    pitch: int
    kernel: tuple[int, int]
    pads: tuple[int, int]
    source: tuple[int, int] = (0, 0)
    destination: tuple[int, int] = (1, 0)
    blocks: int = 1
    block_rows: int = 40
    fields: dict[str, int] = field(default_factory=dict)

    def taps(self, arch: Arch) -> list[dict[str, int]]:
        """Every kernel position of every input block."""
        entries = []
        for block in range(self.blocks):
            for ky, kx in np.ndindex(*self.kernel):
                dy, dx = int(ky) - self.pads[0], int(kx) - self.pads[1]
                row, bank = divmod(dy * self.pitch + dx, arch.pixels)
                row += block * self.block_rows
                entries.append({"bank": bank, "row": row, "dy": dy, "dx": dx})
        return entries

    def instruction(self, arch: Arch, tap_base: int = 0, **changes: int) -> Instruction:
        P, taps = arch.pixels, len(self.taps(arch))
        height = self.size[0] + 2 * self.pads[0] - self.kernel[0] + 1
        width = self.size[1] + 2 * self.pads[1] - self.kernel[1] + 1
        values = {
            "mode": int(self.mode),
            "groups": -(-height * self.pitch // P),
            "taps": taps,
            "tap_base": tap_base,
            "src_region": self.source[0],
            "src_bank": self.source[1] % P,
            "src_row": self.source[1] // P,
            "grid_width": self.pitch,
            "in_height": self.size[0],
            "in_width": self.size[1],
            "pad": -128 if self.mode == Mode.MAX else 3,
            "out_height": height,
            "out_width": width,
            "planes": arch.planes if self.mode == Mode.DENSE else 1,
            "dst_region": self.destination[0],
            "dst_bank": self.destination[1] % P,
            "dst_row": self.destination[1] // P,
            "dst_pitch_bank": width % P,
            "dst_pitch_row": width // P,
            "dst_plane_rows": self.block_rows,
            "zero_point": 5,
            "low": -128,
            "high": 127,
        }
        return isa.make(Opcode.CALC, **(values | self.fields | changes))
