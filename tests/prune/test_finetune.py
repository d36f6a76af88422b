"""Networks that can be trained again, and their fine-tuning."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import prune_blocks, sparse_layers
from codesign.prune.channels import prune_channels
from codesign.prune.finetune import finetune, softened
from codesign.prune.groups import channel_groups
from codesign.prune.trainable import Trainable
from codesign.quant.accuracy import accuracy
from codesign.quant.execute import run
from codesign.zoo import explorable, training
from codesign.zoo.data import Data
from codesign.zoo.demo import small_network
from codesign.zoo.resnet8 import resnet8

RECIPE = training.Recipe(epochs=4, batch=32, learning_rate=0.1)


@functools.cache
def teacher() -> tuple[net.Network, Data]:
    data = explorable.digits_data()
    model, example = explorable.digits()
    training.train(model, data.train_images, data.train_labels, RECIPE, data.augmentation)
    return simplify(from_module(model, example)), data


def right(network: net.Network, data: Data) -> float:
    (out,) = network.outputs
    return accuracy(run(network, data.test_images)[out], data.test_labels)


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize("make", [resnet8, small_network])
def test_a_trainable_computes_what_the_network_does(make, simple: bool) -> None:
    network = from_module(*make())
    network = simplify(network) if simple else network
    images = np.random.default_rng(0).normal(size=(3, *network.shapes[network.inputs[0]]))
    images = images.astype(np.float32)
    expected = run(network, images)[network.outputs[0]]
    trainable = Trainable(network)
    found = trainable(torch.from_numpy(images))
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    back = run(trainable.network(), images)[network.outputs[0]]
    np.testing.assert_array_equal(back, expected)


def test_gradients_are_those_of_the_function() -> None:
    """Central differences of the loss, along the gradient of all parameters; hard-swish is known by
    its values alone."""
    torch.manual_seed(0)
    network = simplify(from_module(*small_network()))
    assert any(isinstance(op, net.Unary) for op in network.ops)
    trainable = Trainable(network)
    x = torch.randn(8, 1, 8, 8)
    weights = torch.randn(8, 10, 1, 1)

    def loss() -> torch.Tensor:
        return (trainable(x) * weights).sum()

    loss().backward()
    parameters = list(trainable.parameters())
    gradients = [p.grad.clone() for p in parameters]
    assert all(g.abs().sum() > 0 for g in gradients)
    power = sum(float((g**2).sum()) for g in gradients)
    step = 1e-3 / power**0.5
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, g in zip(parameters, gradients, strict=True):
                p += sign * step * g
            values.append(float(loss()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(power, rel=0.03)


def test_fine_tuning_wins_accuracy_back() -> None:
    whole, data = teacher()
    groups = {group.name: 0.25 for group in channel_groups(whole) if group.prunable}
    pruned = prune_blocks(
        prune_channels(whole, groups), dict.fromkeys(sparse_layers(whole), 0.3), 4, 4
    )
    losses: list[float] = []
    tuned = finetune(
        pruned, whole, data, steps=60, batch=32, learning_rate=4e-3,
        report=lambda step, loss: losses.append(loss),
    )  # fmt: skip
    assert right(tuned, data) > right(pruned, data) + 0.2
    assert len(losses) == 60
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    for op, before in zip(tuned.ops, pruned.ops, strict=True):
        if isinstance(op, net.Conv2d):
            assert isinstance(before, net.Conv2d)
            np.testing.assert_array_equal(op.weight == 0, before.weight == 0)
            assert not np.array_equal(op.weight, before.weight)


def test_the_teacher_is_followed_not_the_labels() -> None:
    """With distillation alone, wrong labels do no harm; without it they do."""
    whole, data = teacher()
    wrong = dataclasses.replace(data, train_labels=(data.train_labels + 1) % 10)
    pruned = prune_channels(whole, {"stacks.1.conv1": 0.25})
    followed, misled = (
        finetune(pruned, whole, wrong, steps=40, batch=32, distillation=share)
        for share in (1.0, 0.0)
    )
    assert right(followed, data) > right(misled, data) + 0.2


def test_the_seed_is_the_result() -> None:
    whole, data = teacher()
    first, second, other = (
        finetune(whole, whole, data, steps=3, batch=8, seed=seed).ops[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.weight, second.weight)
    assert not np.array_equal(first.weight, other.weight)
    state = torch.random.get_rng_state()
    finetune(whole, whole, data, steps=1, batch=8)
    assert torch.equal(state, torch.random.get_rng_state())


def test_no_step_is_no_change() -> None:
    whole, data = teacher()
    assert finetune(whole, whole, data, steps=0) is whole


def test_a_softened_divergence_is_least_for_equal_logits() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 10)
    assert softened(logits, logits, 4.0) == pytest.approx(0, abs=1e-4)
    assert softened(logits + 3, logits, 4.0) == pytest.approx(0, abs=1e-4)
    assert softened(-logits, logits, 4.0) > 0.1


def test_impossible_numbers_are_refused() -> None:
    whole, data = teacher()
    with pytest.raises(ValueError, match="steps -1, batch 128"):
        finetune(whole, whole, data, steps=-1)
    with pytest.raises(ValueError, match="learning rate 0"):
        finetune(whole, whole, data, steps=1, learning_rate=0)
    with pytest.raises(ValueError, match=r"distillation 1\.5 is outside 0\.\.1"):
        finetune(whole, whole, data, steps=1, distillation=1.5)
