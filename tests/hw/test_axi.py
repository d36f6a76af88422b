"""The arbiters of the master port, where other tests do not reach."""

from __future__ import annotations

import pytest
from amaranth.sim import Simulator

from codesign.arch import preset
from hw.axi import ReadArbiter, WriteArbiter

ARCH = preset("tiny")


@pytest.mark.parametrize(
    ("arbiter", "late"),
    [(ReadArbiter(ARCH), ("rvalid", "rlast")), (WriteArbiter(ARCH), ("bvalid",))],
)
def test_answers_from_before_a_reset_leave_nothing_outstanding(arbiter, late) -> None:
    async def testbench(ctx):
        for name in late:
            ctx.set(getattr(arbiter, name), 1)
        await ctx.tick()
        for name in late:
            ctx.set(getattr(arbiter, name), 0)
        for _ in range(6):
            assert not ctx.get(arbiter.busy)
            await ctx.tick()

    simulator = Simulator(arbiter)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
