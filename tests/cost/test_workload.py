"""Networks as their cost sees them."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.arch import preset
from codesign.compiler.lower import lower
from codesign.compiler.phases import separate_phases
from codesign.cost.closed_form_calc import tap_counts
from codesign.cost.workload import Workload
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.isa import Mode
from codesign.quant.quantize import quantize_network
from codesign.zoo import demo
from codesign.zoo.resnet8 import resnet8
from tests.compiler.builder import Builder


def test_layers_are_those_that_the_compiler_makes() -> None:
    module, example = resnet8()
    graph = quantize_network(from_module(module, example), example.numpy())
    arch = preset("pynq_z2")
    network = separate_phases(lower(graph, arch), arch)
    workload = Workload.of(graph)
    assert [(at.name, at.op, at.source, at.target, at.macs) for at in workload.layers] == [
        (at.name, at.op, at.source, at.target, at.macs) for at in network.layers
    ]


def test_a_float_network_has_the_workload_of_its_quantised_graph() -> None:
    for module, example in (resnet8(), demo.network()):
        network = from_module(module, example)
        inputs = np.random.default_rng(0).random((4, *example.shape[1:])).astype(np.float32)
        quantised = Workload.of(quantize_network(network, inputs))
        floating = Workload.of_network(simplify(network))
        assert floating.inputs == quantised.inputs
        for one, other in zip(floating.layers, quantised.layers, strict=True):
            for name in ("name", "op", "mode", "source", "target", "residual", "in_channels",
                         "out_channels", "in_size", "out_size", "macs", "reach"):  # fmt: skip
                assert getattr(one, name) == getattr(other, name), (one.name, name)


@pytest.mark.parametrize("grain", [(4, 4), (4, 8), (8, 8), (4, 32), (16, 16)])
def test_taps_of_blocks_of_zeros_are_those_of_the_compiler(grain: tuple[int, int]) -> None:
    arch = preset("pynq_z2").replace(in_channels=grain[0], out_channels=grain[1])
    b = Builder(np.random.default_rng(7))
    x = b.conv(b.input((20, 6, 6)), 44, density=0.4)
    x = b.conv(x, 44, groups=44)
    graph = b.graph(b.conv(x, 88, groups=4, density=0.7))
    network = lower(graph, arch, folding=False)
    for layer, found in zip(network.layers, Workload.of(graph).layers, strict=True):
        expected = [len(block.taps) for block in layer.blocks]
        (part,) = found.parts
        if found.mode is Mode.DENSE:
            assert tap_counts(part, found.mode, *grain).tolist() == expected
        else:
            assert part.nonzero is None
            assert {len(part.offsets)} == set(expected)


def test_channels_of_a_group_change_together() -> None:
    module, example = resnet8()
    workload = Workload.of_network(simplify(from_module(module, example)))
    stem, _, joined = workload.layers[:3]
    changed = workload.with_channels({joined.target: np.array([8, 12])})
    assert np.array_equal(changed.layers[0].out_channels, [8, 12])
    assert np.array_equal(changed.layers[1].in_channels, [8, 12])
    assert np.array_equal(changed.layers[1].macs, np.array([8, 12]) * 16 * 9 * 32 * 32)
    assert changed.rows == 2
    assert changed.take(np.array([1])).layers[0].out_channels == 12
    with pytest.raises(ValueError, match="contradict"):
        workload.with_channels({joined.target: 8, stem.target: 12})
    with pytest.raises(ValueError, match="cannot change"):
        workload.with_channels({workload.inputs[0]: 4})
    with pytest.raises(ValueError, match="has no tensor 'nothing'"):
        workload.with_channels({"nothing": 4})
    with pytest.raises(ValueError, match="must be positive"):
        workload.with_channels({joined.target: 0})


def test_a_flattened_map_keeps_its_channels_together() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.conv(b.input((3, 6, 6)), 8)
    flat = b.flatten(x)
    workload = Workload.of(b.graph(b.linear(flat, 10)))
    changed = workload.with_channels({flat: 4 * 36})
    assert changed.layers[0].out_channels == changed.layers[1].in_channels == 4
    with pytest.raises(ValueError, match="multiple of 36"):
        workload.with_channels({flat: 100})


def test_sparsity_is_for_dense_layers() -> None:
    b = Builder(np.random.default_rng(0))
    x = b.conv(b.input((8, 6, 6)), 8)
    workload = Workload.of(b.graph(b.conv(x, 8, groups=8)))
    dense, depthwise = (at.name for at in workload.layers)
    assert workload.with_sparsity({dense: 0.5}).layers[0].sparsity == 0.5
    with pytest.raises(ValueError, match="is no dense layer"):
        workload.with_sparsity({depthwise: 0.5})
    with pytest.raises(ValueError, match=r"outside 0..1"):
        workload.with_sparsity({dense: 1.5})
