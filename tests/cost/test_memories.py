"""Block memories and LUT memories in closed form, against what Yosys made of the same shapes."""

import json
from pathlib import Path

import numpy as np
import pytest

from codesign.arch import preset
from codesign.cost import memories
from codesign.cost.archs import Archs

MEASURED = Path(__file__).parents[2] / "benchmarks/resources/memories.jsonl"
LINES = [json.loads(line) for line in MEASURED.read_text().splitlines()]


@pytest.mark.parametrize("family", ["xc7", "xcup"])
def test_every_shape_is_mapped_as_yosys_maps_it(family: str) -> None:
    lines = [line for line in LINES if line["family"] == family]
    width, depth = (np.array([line[name] for line in lines]) for name in ("width", "depth"))
    told = memories.mapped(width, depth, family)
    assert len(lines) > 200
    np.testing.assert_array_equal(told.ramb36, [line["ramb36"] for line in lines])
    np.testing.assert_array_equal(told.lut, [line["lut"] for line in lines])


def test_pieces_are_those_of_the_hardware() -> None:
    depths = np.array([2, 512, 513, 1024, 4608, 7 * 512])
    assert memories.pieces(depths).tolist() == [1, 1, 1, 1, 2, 3]
    whole = memories.in_pieces(np.array([512]), np.array([4608]), "xc7")
    parts = memories.mapped(np.array([512, 512]), np.array([4096, 512]), "xc7")
    assert whole.ramb36 == parts.ramb36.sum()


def test_activations_leave_block_memory_for_ultraram() -> None:
    archs = Archs.of([preset("zcu104").replace(act_depth=depth) for depth in (2048, 4096, 8192)])
    blocks = memories.activations(archs, "xcup", np.array([False] * 3))
    ultra = memories.activations(archs, "xcup", np.array([True] * 3))
    assert (blocks.uram == 0).all()
    assert (blocks.ramb36 > 0).all()
    assert ultra.uram.tolist() == [72, 72, 144]
    assert (ultra.ramb36 == 0).all()
