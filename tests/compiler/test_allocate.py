"""Places of maps: alive together means apart."""

import numpy as np
import pytest

from codesign.compiler.allocate import Prefetch, allocate, apart, lives
from codesign.compiler.layout import plan
from codesign.compiler.lower import lower
from codesign.compiler.phases import separate_phases
from codesign.compiler.tile import passes
from codesign.errors import CapacityError
from tests.compiler.builder import Builder
from tests.compiler.networks import ROOMY, TINY, random_network, resnet8


def prepare(graph, arch, prefetch, chunk=1):
    network = separate_phases(lower(graph, arch), arch)
    storages = plan(network, arch)
    order = passes(network, chunk)
    lifetimes = lives(network, order, prefetch)
    pairs = list(apart(network, order, lifetimes))
    return network, storages, order, lifetimes, pairs


@pytest.mark.parametrize("prefetch", Prefetch)
@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("number", range(12))
def test_maps_alive_together_share_no_row(number, chunk, prefetch):
    arch = ROOMY
    network, storages, order, lifetimes, pairs = prepare(
        random_network(number), arch, prefetch, chunk
    )
    places = allocate(network, arch, storages, lifetimes, pairs)
    for step, at in enumerate(order):
        taken = set()
        for name, life in lifetimes.of.items():
            if life.first <= step <= life.last:
                first = places[name].row
                rows = range(first, first + storages[name[0]].rows)
                assert rows.stop <= arch.act_depth
                rows = {(places[name].region, row) for row in rows}
                assert not taken & rows
                taken |= rows
        names = [(name, at.sample) for name in at.layer.reads]
        regions = [places.get(name, places.get((name[0], None))).region for name in names]
        assert len(set(regions)) == len(regions)


def test_next_input_is_loaded_while_the_sample_before_is_computed():
    b = Builder(np.random.default_rng(0), batch=2)
    y = b.conv(b.conv(b.input((3, 6, 6)), 4), 4)
    loads = {
        prefetch: prepare(b.graph(y), TINY, prefetch)[3].loads["t0", 1] for prefetch in Prefetch
    }
    assert loads == {Prefetch.NONE: 2, Prefetch.BEHIND: 1, Prefetch.BESIDE: 0}


def test_resnet8_reuses_memory():
    arch = TINY.replace(pixels=6, in_channels=8, out_channels=8, act_depth=600)
    network, storages, _, lifetimes, pairs = prepare(
        resnet8(np.random.default_rng(0)), arch, Prefetch.NONE
    )
    assert sum(storages[name].rows for name, _ in lifetimes.of) > 3 * arch.act_depth
    allocate(network, arch, storages, lifetimes, pairs)
    with pytest.raises(CapacityError, match=r"map 't\d+' of \(16, 32, 32\) needs \d+ rows of 6"):
        allocate(network, arch.replace(act_depth=300), storages, lifetimes, pairs)
