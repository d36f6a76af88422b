"""Networks and data of the zoo are what they claim to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from codesign import ir
from codesign.quant.accuracy import accuracy, run_graph
from codesign.quant.torch_module import quantize_module
from codesign.zoo import demo, digits, layers, mobilenet_v2, resnet8, resnet18


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    return digits.load(seed=1)


def test_digits_are_split_and_normalised(data: digits.Digits) -> None:
    assert data.train_images.shape == (1437, 1, 8, 8)
    assert data.test_images.shape == (360, 1, 8, 8)
    assert data.train_images.dtype == np.float32
    assert abs(float(data.train_images.mean())) < 1e-4
    assert float(data.train_images.std()) == pytest.approx(1.0, abs=1e-4)
    assert np.bincount(data.test_labels, minlength=10).min() >= 34
    np.testing.assert_array_equal(data.test_labels, digits.load(seed=1).test_labels)
    assert (data.test_labels != digits.load(seed=2).test_labels).any()


def test_short_training_learns_repeats_and_reports(data: digits.Digits) -> None:
    reports: list[demo.Progress] = []
    threads = torch.get_num_threads()
    model = demo.train(data, seed=3, epochs=3, report=reports.append)
    assert torch.get_num_threads() == threads
    assert [(r.epoch, r.epochs) for r in reports] == [(1, 3), (2, 3), (3, 3)]
    assert reports[2].loss < reports[0].loss
    result = demo.logits(model, data.test_images)
    assert accuracy(result, data.test_labels) > 0.85
    again = demo.train(data, seed=3, epochs=3)
    np.testing.assert_allclose(demo.logits(again, data.test_images), result, 1e-3, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("width", [demo.WIDTH, demo.WIDTH // 2])
def test_full_training_keeps_its_accuracy_in_int8(data: digits.Digits, width: int) -> None:
    model = demo.train(data, width=width)
    real = accuracy(demo.logits(model, data.test_images), data.test_labels)
    graph = quantize_module(model, data.train_images[:256])
    assert real >= 0.97
    assert accuracy(run_graph(graph, data.test_images), data.test_labels) >= real - 0.01


@pytest.mark.parametrize("make", [demo.network, demo.small_network])
def test_demo_network_has_every_kind_of_operation(
    make: Callable[[], tuple[demo.DemoNetwork, torch.Tensor]],
) -> None:
    model, example = make()
    graph = quantize_module(model, np.random.default_rng(0).random((4, 1, 8, 8), np.float32))
    assert {type(op) for op in graph.ops} == {
        ir.Conv2d, ir.Add, ir.Table, ir.MaxPool2d, ir.AvgPool2d,
    }  # fmt: skip
    convolutions = [op for op in graph.ops if isinstance(op, ir.Conv2d)]
    assert any(op.groups > 1 for op in convolutions)
    assert any(op.window.stride == (2, 2) for op in convolutions)
    assert example.shape == (1, 1, 8, 8)


def test_resnet8_is_mlperf_tinys() -> None:
    model, example = resnet8.resnet8()
    graph = quantize_module(model, example.numpy())
    assert sum(ir.macs(graph, op) for op in graph.ops) == 12_501_632
    names = [op.name for op in graph.ops]
    assert len([op for op in graph.ops if isinstance(op, ir.Conv2d)]) == 10
    assert names[0] == "conv"
    assert names[-1] == "classifier"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "macs", "convolutions"),
    [(resnet18.resnet18, 1_814_073_344, 21), (mobilenet_v2.mobilenet_v2, 300_774_272, 53)],
)
def test_large_networks_are_the_papers(
    make: Callable[[], tuple[torch.nn.Module, torch.Tensor]], macs: int, convolutions: int
) -> None:
    model, example = make()
    graph = quantize_module(model, example.numpy())
    assert sum(ir.macs(graph, op) for op in graph.ops) == macs
    assert len([op for op in graph.ops if isinstance(op, ir.Conv2d)]) == convolutions
    assert graph.tensors[graph.outputs[0]].shape == (1000, 1, 1)


def test_resnet8_follows_its_floats() -> None:
    model, _ = resnet8.resnet8()
    images = torch.randn(8, *resnet8.SHAPE, generator=torch.Generator().manual_seed(4))
    graph = quantize_module(model, images.numpy())
    with torch.no_grad():
        expected = model(images).numpy()
    error = np.abs(run_graph(graph, images.numpy())[:, :, 0, 0] - expected)
    assert error.max() < 5 * graph.tensors[graph.outputs[0]].scale


def test_resnet8_leaves_torchs_random_state_alone() -> None:
    torch.manual_seed(9)
    expected = torch.randn(1)
    torch.manual_seed(9)
    first = resnet8.resnet8(seed=1)[0].state_dict()
    assert torch.equal(torch.randn(1), expected)
    second = resnet8.resnet8(seed=1)[0].state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


MACS = {
    layers.conv3x3: 9 * 64 * 64 * 256,
    layers.conv1x1: 64 * 64 * 256,
    layers.conv3x3s2: 9 * 32 * 64 * 256,
    layers.depthwise3x3: 9 * 64 * 256,
}


@pytest.mark.parametrize("layer", MACS, ids=lambda layer: layer.__name__)
def test_layers(layer: Callable[[], layers.Layer]) -> None:
    module, example = layer()
    graph = quantize_module(module, example.numpy())
    assert [ir.macs(graph, op) for op in graph.ops] == [MACS[layer]]
