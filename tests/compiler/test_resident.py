"""Weights, parameters, taps and tables as they lie in memory."""

import numpy as np
import pytest

from codesign.compiler.layout import plan
from codesign.compiler.lower import lower
from codesign.compiler.resident import pack_resident, weight_words
from codesign.isa import Mode, Target
from codesign.reference.memory import Memories
from tests.compiler.builder import Builder
from tests.compiler.networks import ARCHS, ROOMY


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("groups", [1, 6])
def test_the_machine_finds_the_weights(arch, groups):
    b = Builder(np.random.default_rng(0))
    graph = b.graph(b.conv(b.input((6, 5, 5)), 6, (5, 5), groups=groups))
    network = lower(graph, arch)
    (layer,) = network.layers
    resident = pack_resident(network, arch, plan(network, arch))
    memories = Memories(arch)
    data = np.frombuffer(resident.contents[Target.WGT], np.uint8)
    words = memories.words(Target.WGT)
    words[: data.size // words.shape[1]] = data.reshape(-1, words.shape[1])
    for number, block in enumerate(layer.blocks):
        first = resident.addresses[layer.name, number].wgt
        read = memories.depthwise_weights if groups > 1 else memories.dense_weights
        np.testing.assert_array_equal(read(first, len(block.taps)), block.weights)


def test_max_pooling_has_no_weights():
    b = Builder(np.random.default_rng(0))
    network = lower(b.graph(b.max_pool(b.input((6, 5, 5)), (2, 2), (1, 1))), ROOMY)
    (layer,) = network.layers
    assert layer.mode is Mode.MAX
    assert weight_words(ROOMY, layer.mode, layer.blocks[0]) == b""


def test_equal_contents_are_stored_once():
    b = Builder(np.random.default_rng(0))
    x = b.input((16, 6, 6))
    pools = [b.max_pool(x, (3, 3), (1, 1), (1, 1, 1, 1)) for _ in range(2)]
    network = lower(b.graph(*pools), ROOMY)
    resident = pack_resident(network, ROOMY, plan(network, ROOMY))
    assert len(resident.contents[Target.TAP]) == 9 * 8
    assert len(resident.contents[Target.PARAM]) == ROOMY.param_word_bytes
