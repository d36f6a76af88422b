"""Row tiles and the order of passes."""

import itertools

import numpy as np
import pytest

from codesign.compiler.layout import plan
from codesign.compiler.lower import lower
from codesign.compiler.phases import separate_phases
from codesign.compiler.tile import line_unit, tiles
from tests.compiler.builder import Builder
from tests.compiler.networks import ARCHS, TINY


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 3), (16, 16), (31, 32), (40, 7)])
def test_tiles_cover_the_lines_and_what_they_read(arch, stride, size):
    b = Builder(np.random.default_rng(0))
    y = b.conv(b.input((4, *size)), 8, (5, 3), (stride, stride), (2, 1, 1, 1))
    network = separate_phases(lower(b.graph(y), arch), arch)
    storages = plan(network, arch)
    (layer,) = network.layers
    source = storages[layer.source]
    for loading, saving in ((True, False), (False, True), (True, True)):
        found = tiles(network, arch, storages, layer, loading=loading, saving=saving)
        assert found[0].first == 0
        assert found[-1].last == network.shapes[y][1]
        assert found[-1].source_last == source.lines
        for before, after in itertools.pairwise(found):
            assert before.last == after.first
            assert before.source_last <= after.source_last
            assert before.source_last % line_unit(arch, source) == 0 or (
                before.source_last == source.lines
            )
            if saving:
                assert before.last % line_unit(arch, storages[y]) == 0
        for tile in found:
            below = max(tap.oy // stride for block in layer.blocks for tap in block.taps)
            assert tile.source_last >= min(source.lines, tile.last + below)


def test_a_layer_that_is_being_loaded_starts_before_all_is_there():
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.conv(b.input((4, 32, 32)), 8))
    network = lower(graph, TINY)
    (layer,) = network.layers
    found = tiles(network, TINY, plan(network, TINY), layer, loading=True, saving=False)
    assert len(found) > 1
    assert found[0].source_last < 16
