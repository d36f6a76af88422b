"""The activation memories under random traffic on all ports, against arrays with exact times."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from codesign import latency
from codesign.arch import preset
from hw.act import Act
from hw.memories import BlockMemory, pieces

PERIOD = 1e-8
CYCLES = 400
TINY = preset("tiny").replace(act_depth=16)
ARCHS = {
    "tiny": TINY,
    "two at a time": TINY.replace(pixels=4, drain=2),
    "whole drain": TINY.replace(pixels=5, drain=5),
}


class Traffic:
    """What each port does in each cycle; regions are one-hot sets, 0 for none.

    Results go to rows 0..7, LOAD writes rows 8..11 and SAVE reads rows 12..15 of any region.
    """

    def __init__(self, arch, seed) -> None:
        rng = np.random.default_rng(seed)
        P, D, R = arch.pixels, arch.drain, arch.regions
        shape = (CYCLES + 2, D)
        self.source = rng.integers(0, R + 1, CYCLES + 2) - 1
        self.source_rows = rng.integers(0, 12, (CYCLES + 2, P))
        self.residual = rng.integers(0, R + 1, CYCLES + 2) - 1
        self.residual[self.residual == self.source] = -1
        self.result = rng.integers(0, R + 1, CYCLES + 2) - 1
        self.result[rng.random(CYCLES + 2) < 0.3] = 0
        order = np.array([rng.permutation(P)[:D] for _ in range(2 * (CYCLES + 2))])
        self.residual_banks, self.result_banks = order.reshape(2, *shape)
        self.residual_rows = rng.integers(0, 12, shape)
        self.result_rows = rng.integers(0, 8, shape)
        self.result_valid = rng.random(shape) < 0.8
        self.result_words = rng.integers(0, 1 << 32, shape)
        n = CYCLES
        self.loads = [
            (int(region), int(bank), int(row), int(word))
            for region, bank, row, word in zip(
                np.repeat(rng.integers(0, R, n // 5 + 1), 5)[:n],
                rng.integers(0, P, n),
                rng.integers(8, 12, n),
                rng.integers(0, 1 << 32, n),
                strict=True,
            )
        ]
        self.saves = [
            (int(region), int(bank), int(row))
            for region, bank, row in zip(
                rng.integers(0, R, n), rng.integers(0, P, n), rng.integers(12, 16, n), strict=True
            )
        ]
        self.pauses = rng.random((2, CYCLES + 2)) < 0.2


def one_hot(region) -> int:
    return 0 if region < 0 else 1 << int(region)


class Run:
    """Drives ``Act`` with the traffic and keeps a copy of its memories in step."""

    def __init__(self, arch, seed) -> None:
        self.arch, self.traffic = arch, Traffic(arch, seed)
        self.act = Act(arch)
        rng = np.random.default_rng(seed + 1)
        self.memory = rng.integers(0, 1 << 32, (arch.regions, arch.pixels, arch.act_depth))
        self.writes: list[tuple[int, tuple[int, int, int], int]] = []
        self.expected: dict[tuple[str, int], list[int]] = {}
        self.seen: dict[tuple[str, int], list[int]] = {}
        self.saved: list[int] = []
        self.loaded = self.requested = self.waits = 0
        self.contended = 0

    def run(self) -> None:
        simulator = Simulator(self.act)
        simulator.add_clock(PERIOD)
        simulator.add_testbench(self._testbench)
        simulator.run()

    async def _testbench(self, ctx):
        for (region, bank, row), word in np.ndenumerate(self.memory):
            ctx.set(self.act.banks[region][bank].data[row], int(word))
        for cycle in range(CYCLES):
            self._calc(ctx, cycle)
            self._load(ctx, cycle)
            self._save(ctx, cycle)
            self._apply(cycle)
            self._expect(cycle)
            self._observe(ctx, cycle)
            await ctx.tick()
        self._quiet(ctx)
        for cycle in range(CYCLES, CYCLES + 10):
            self._apply(cycle)
            self._observe(ctx, cycle)
            await ctx.tick()
        for (region, bank, row), word in np.ndenumerate(self.memory):
            assert ctx.get(self.act.banks[region][bank].data[row]) == word

    def _quiet(self, ctx):
        act = self.act
        for port in (act.source_regions, act.residual_regions, act.result_regions):
            ctx.set(port, 0)
        ctx.set(act.load.valid, 0)
        ctx.set(act.save.valid, 0)

    def _calc(self, ctx, cycle):
        act, t = self.act, self.traffic
        ctx.set(act.source_regions, one_hot(t.source[cycle]))
        ctx.set(act.residual_regions, one_hot(t.residual[cycle]))
        ctx.set(act.result_regions, one_hot(t.result[cycle]))
        ctx.set(act.result_claims, one_hot(t.result[cycle + 2]))
        for bank in range(self.arch.pixels):
            ctx.set(act.source_rows[bank], int(t.source_rows[cycle, bank]))
        for d in range(self.arch.drain):
            place = {"valid": 1, "bank": int(t.residual_banks[cycle, d])}
            ctx.set(act.residual[d], place | {"row": int(t.residual_rows[cycle, d])})
            place = {"valid": int(t.result_valid[cycle, d]), "bank": int(t.result_banks[cycle, d])}
            ctx.set(act.result[d], place | {"row": int(t.result_rows[cycle, d])})
            ctx.set(act.result_words[d], int(t.result_words[cycle, d]))
            if t.result[cycle] >= 0 and t.result_valid[cycle, d]:
                key = (t.result[cycle], t.result_banks[cycle, d], t.result_rows[cycle, d])
                self.writes.append((cycle + 1, key, int(t.result_words[cycle, d])))

    def _load(self, ctx, cycle):
        """The region is there one cycle before ``valid``."""
        port, t = self.act.load, self.traffic
        region, bank, row, word = t.loads[self.loaded]
        new = self.loaded == 0 or t.loads[self.loaded - 1][0] != region
        ready_to_go = not (new and self._load_region != region)
        valid = cycle > 1 and ready_to_go and not t.pauses[0, cycle]
        self._load_region = region
        ctx.set(port.address, {"region": region, "bank": bank, "row": row})
        ctx.set(port.data, word)
        ctx.set(port.valid, valid)
        ready = ctx.get(port.ready)
        assert ctx.get(self.act.load_wait) == (valid and not ready)
        if valid and ready:
            self.writes.append((cycle + 2, (region, bank, row), word))
            self.loaded += 1
        self.contended += valid and not ready

    _load_region = -1

    def _save(self, ctx, cycle):
        port, t = self.act.save, self.traffic
        region, bank, row = t.saves[self.requested]
        valid = not t.pauses[1, cycle]
        ctx.set(port.address, {"region": region, "bank": bank, "row": row})
        ctx.set(port.valid, valid)
        ready = ctx.get(port.ready)
        assert ctx.get(self.act.save_wait) == (valid and not ready)
        self.requested += valid and ready
        self.waits += valid and not ready

    def _apply(self, cycle):
        """Writes whose cycle at the memory is over are seen by requests of this cycle."""
        for _, key, word in [w for w in self.writes if w[0] == cycle]:
            self.memory[key] = word

    def _expect(self, cycle):
        t = self.traffic
        if t.source[cycle] >= 0:
            words = [
                int(self.memory[t.source[cycle], bank, t.source_rows[cycle, bank]])
                for bank in range(self.arch.pixels)
            ]
            self.expected["source", cycle + latency.ACT_WORD] = words
        if t.residual[cycle] >= 0:
            places = zip(t.residual_banks[cycle], t.residual_rows[cycle], strict=True)
            words = [int(self.memory[t.residual[cycle], bank, row]) for bank, row in places]
            self.expected["residual", cycle + latency.ACT_WORD + 1] = words

    def _observe(self, ctx, cycle):
        act = self.act
        for name, port in (("source", act.source_words), ("residual", act.residual_words)):
            if (name, cycle) in self.expected:
                self.seen[name, cycle] = [ctx.get(word) for word in port]
        if ctx.get(act.save.word_valid):
            self.saved.append(ctx.get(act.save.word))


@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS.keys())
def test_random_traffic(arch):
    run = Run(arch, seed=5)
    run.run()
    assert run.seen == run.expected
    wanted = [int(run.memory[place]) for place in run.traffic.saves[: run.requested]]
    assert run.saved == wanted
    assert run.loaded > CYCLES // 4
    assert run.requested > CYCLES // 4
    assert run.contended > 20
    assert run.waits > 20


def test_uncontended_load_and_save_take_a_word_every_cycle():
    act = Act(TINY)
    words = []

    async def testbench(ctx):
        ctx.set(act.load.address.region, 1)
        await ctx.tick().repeat(2)
        ctx.set(act.load.valid, 1)
        for row in range(16):
            ctx.set(act.load.address.row, row)
            ctx.set(act.load.data, 1000 + row)
            assert ctx.get(act.load.ready)
            await ctx.tick()
        ctx.set(act.load.valid, 0)
        ctx.set(act.save.valid, 1)
        ctx.set(act.save.address.region, 1)
        for cycle in range(40):
            ctx.set(act.save.valid, cycle < 16)
            ctx.set(act.save.address.row, cycle % 16)
            assert ctx.get(act.save.ready)
            if ctx.get(act.save.word_valid):
                words.append((cycle, ctx.get(act.save.word)))
            await ctx.tick()

    simulator = Simulator(act)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()
    first = words[0][0]
    assert words == [(first + row, 1000 + row) for row in range(16)]


@pytest.mark.parametrize("depth", [2, 300, 512, 600, 1024, 4608, 3000])
def test_pieces_cover_the_depth_in_powers_of_two(depth):
    end = 0
    for first, size in pieces(depth):
        assert first == end
        assert depth <= 512 or (size & (size - 1) == 0 and first % size == 0)
        end += size
    assert depth <= end < depth + 512


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("depth", [20, 1536])
def test_block_memory(depth, split):
    memory = BlockMemory(16, depth, split)
    assert memory.read_latency == 2 + (split and depth > 512)
    rng = np.random.default_rng(7)
    addresses = [0, depth - 1, *rng.integers(0, depth, 60).tolist()]
    if depth > 512:
        addresses += [1023, 1024, 1535]
    words = []

    async def testbench(ctx):
        ctx.set(memory.write_enable, 1)
        for address in addresses:
            ctx.set(memory.write_address, address)
            ctx.set(memory.write_data, address * 7 & 0xFFFF)
            await ctx.tick()
        ctx.set(memory.write_enable, 0)
        for cycle in range(len(addresses) + memory.read_latency):
            ctx.set(memory.read_address, addresses[min(cycle, len(addresses) - 1)])
            if cycle >= memory.read_latency:
                words.append(ctx.get(memory.read_data))
            await ctx.tick()

    simulator = Simulator(memory)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()
    assert words == [address * 7 & 0xFFFF for address in addresses]
