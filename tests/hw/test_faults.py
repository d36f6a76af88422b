"""Soft reset: how long it lasts, and that the array has forgotten everything by then."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from codesign import latency
from codesign.arch import preset
from hw.array import Array
from hw.faults import RunControl

TINY = preset("tiny")
ARCHS = [TINY, TINY.replace(pixels=4, out_channels=8, drain=2)]


@pytest.mark.parametrize("arch", ARCHS)
def test_array_is_silent_when_a_reset_of_the_core_ends(arch) -> None:
    """Its control is not cleared: what entered before the reset has left before its end."""
    array, left = Array(arch), []

    async def testbench(ctx):
        for cycle in range(3 * latency.core_reset(arch)):
            ctx.set(array.valid, cycle < 40)
            ctx.set(array.last, cycle < 40 and cycle % arch.drain_steps == 0)
            if ctx.get(array.out_valid):
                left.append(cycle)
            await ctx.tick()

    simulator = Simulator(array)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert 40 < left[-1] < 40 + latency.core_reset(arch)


def test_core_is_held_for_the_cycles_asked_for() -> None:
    run, held = RunControl(1, reset_cycles=50), 0

    async def testbench(ctx):
        nonlocal held
        ctx.set(run.reset, 1)
        await ctx.tick()
        ctx.set(run.reset, 0)
        for cycle in range(100):
            ctx.set(run.outstanding, cycle < 20)
            held += ctx.get(run.core_reset)
            assert cycle >= 20 or not ctx.get(run.core_reset), "reset of a busy core"
            await ctx.tick()
        assert ctx.get(run.status) == 0

    simulator = Simulator(run)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert held == 50
