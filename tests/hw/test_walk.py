"""Address walkers against the formulas of docs/machine.md."""

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator

from codesign.arch import preset
from hw.walk import GridWalker, MapWalker

PERIOD = 1e-8
STEPS = 60
TINY = preset("tiny")
ARCHS = {
    "tiny": TINY,
    "pynq_z2": preset("pynq_z2"),
    "five pixels, whole drain": TINY.replace(pixels=5, drain=5),
    "two planes": TINY.replace(pixels=4, drain=2, out_channels=8),
    "four pixels, whole drain": TINY.replace(pixels=4, drain=4),
    "one lane": TINY.replace(pixels=1),
    "nine by three, four planes": TINY.replace(pixels=9, drain=3, out_channels=16),
}


class Walkers(Component):
    """A map walker behind a grid walker, its configuration constant."""

    def __init__(self, arch) -> None:
        self.grid, self.map = GridWalker(arch), MapWalker(arch)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.grid, m.submodules.map = self.grid, self.map
        for flag in ("y", "x", "loaded", "moved", "wrapped", "odd_y", "odd_x"):
            m.d.comb += getattr(self.map, flag).eq(getattr(self.grid, flag))
        return m


def walk(arch, values, idle):
    """(y, x) and (bank, row) of each drain step, the walker stepping after each last block.

    ``idle`` cycles pass between lane blocks.
    """
    walkers = Walkers(arch)
    grid, places = [], []
    D, k = arch.drain, arch.planes

    async def testbench(ctx):
        w, f = walkers.grid, walkers.map
        ctx.set(w.y_start, values["y_start"])
        ctx.set(w.span, values["width"] - D)
        ctx.set(f.banks, {key: values[key] for key in ("bank", "pitch_bank", "split")})
        ctx.set(f.rows, {key: values[key] for key in ("row", "pitch_row")})
        ctx.set(f.phase_rows, values["phase_rows"])
        ctx.set(f.plane_rows, values["plane_rows"])
        ctx.set(w.load, 1)
        await ctx.tick()
        ctx.set(w.load, 0)
        due = []
        for cycle in range(STEPS * (k + idle) + MapWalker.PLACE + 1):
            block = cycle % (k + idle)
            active = block < k and cycle < STEPS * (k + idle)
            ctx.set(w.step, active and block == k - 1)
            ctx.set(f.first_block, block == 0)
            if active:
                grid.append([(ctx.get(w.y[d]), ctx.get(w.x[d])) for d in range(D)])
                due.append(cycle + MapWalker.PLACE)
            if cycle in due:
                places.append([(ctx.get(f.bank[d]), ctx.get(f.row[d])) for d in range(D)])
            await ctx.tick()

    simulator = Simulator(walkers)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()
    return grid, places


def expected(arch, values):
    """The same, by the formulas."""
    grid, places = [], []
    P, D = arch.pixels, arch.drain
    pitch = values["pitch_bank"] + values["pitch_row"] * P
    first = values["bank"] + values["row"] * P
    for step in range(STEPS):
        for block in range(arch.planes):
            pixels = [divmod(step * D + d, values["width"]) for d in range(D)]
            pixels = [(values["y_start"] + y, x) for y, x in pixels]
            words = []
            for y, x in pixels:
                if values["split"]:
                    word = ((y >> 1) - (values["y_start"] >> 1)) * pitch + (x >> 1)
                    word += (x & 1) * arch.phase_skew
                    word += (2 * (y & 1) + (x & 1)) * values["phase_rows"] * P
                else:
                    word = (y - values["y_start"]) * pitch + x
                word += first + block * values["plane_rows"] * P
                words.append((word % P, word // P % arch.act_depth))
            grid.append(pixels)
            places.append(words)
    return grid, places


@pytest.mark.parametrize("idle", [0, 3])
@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS.keys())
def test_walkers_follow_any_map(arch, idle):
    rng = np.random.default_rng(3)
    P, D = arch.pixels, arch.drain
    for width in (D, D + 1, 2 * D + 3, 5 * D, 40):
        values = {
            "y_start": int(rng.integers(50)),
            "width": width,
            "bank": int(rng.integers(P)),
            "row": int(rng.integers(arch.act_depth)),
            "pitch_bank": int(rng.integers(P)),
            "pitch_row": int(rng.integers(5)),
            "phase_rows": int(rng.integers(1, 50)),
            "plane_rows": int(rng.integers(1, 90)),
        }
        for split in (0, 1) if width % D == 0 else (0,):
            case = values | {"split": split}
            assert walk(arch, case, idle) == expected(arch, case)


def test_load_wins_over_a_step():
    walker = GridWalker(TINY)
    seen = []

    async def testbench(ctx):
        ctx.set(walker.span, 10)
        ctx.set(walker.y_start, 7)
        ctx.set(walker.load, 1)
        ctx.set(walker.step, 1)
        await ctx.tick()
        seen.append((ctx.get(walker.y[0]), ctx.get(walker.x[0]), ctx.get(walker.moved)))

    simulator = Simulator(walker)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == [(7, 0, 0)]


@pytest.mark.parametrize("name", ["tiny", "two planes"])
def test_lines_beyond_every_map_stay_there(name):
    """A grid may go on below line 4095; none of its pixels is written there."""
    arch, lines = ARCHS[name], []
    walker = GridWalker(arch)
    D = arch.drain

    async def testbench(ctx):
        ctx.set(walker.y_start, 4094)
        ctx.set(walker.span, 0)
        ctx.set(walker.load, 1)
        await ctx.tick()
        ctx.set(walker.load, 0)
        ctx.set(walker.step, 1)
        for _ in range(2 * 4096):
            lines.append([ctx.get(walker.y[d]) for d in range(D)])
            await ctx.tick()

    simulator = Simulator(walker)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(testbench)
    simulator.run()
    assert lines[:3] == [[4094] * D, [4095] * D, [4096] * D]
    assert all(y >= 4096 for later in lines[3:] for y in later)
