"""The closed forms against the machine reference."""

import numpy as np
import pytest

from codesign import latency
from codesign.arch import preset
from codesign.compiler import compile
from codesign.cost.cycles import (
    calc_slots,
    fetch_cycles,
    load_cycles,
    load_latency,
    pipeline_cycles,
    save_cycles,
)
from codesign.isa import Unit
from tests.compiler.builder import Builder
from tests.compiler.execution import check


def trace(shape, arch):
    """The records of a pointwise layer of one block, by unit."""
    b = Builder(np.random.default_rng(0))
    x = b.input(shape)
    graph = b.graph(b.conv(x, arch.out_channels, (1, 1), padding=(0,) * 4))
    run = check(compile(graph, arch), np.random.default_rng(1))
    return {unit: [at for at in run.trace if at.unit is unit] for unit in Unit}


@pytest.mark.parametrize("name", ["tiny", "pynq_z2"])
def test_a_calc_ends_a_pipeline_behind_its_slots(name):
    arch = preset(name)
    at = trace((4 * arch.in_channels, 4, 4), arch)[Unit.CALC][0]
    groups = -(-16 // arch.pixels)
    slots = calc_slots(arch, groups, 4)
    taken = at.end - at.start - latency.CALC_RETIRE
    assert slots < taken <= slots + pipeline_cycles(arch)


@pytest.mark.parametrize("name", ["tiny", "pynq_z2"])
def test_transfers_take_about_as_long_as_told(name):
    arch = preset(name)
    units = trace((arch.in_channels, 12, 12), arch)
    load = units[Unit.LOAD][0]
    instructions = fetch_cycles(arch, 2 + sum(len(records) for records in units.values()))
    rows, words = 1, 144
    loads = len(units[Unit.LOAD])
    last = max(at.end for at in units[Unit.LOAD])
    told = load_latency() + load_cycles(arch, rows, words) + (loads - 1) * 8
    assert abs(last - load.start - told) <= instructions + 8
    save = units[Unit.SAVE][-1]
    lines = 144 // len(units[Unit.SAVE])
    assert abs(save.end - save.start - save_cycles(arch, 1, lines)) <= 0.5 * (save.end - save.start)
