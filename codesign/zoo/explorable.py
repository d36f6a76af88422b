"""Networks with parameters to explore, their data and their training: what the examples of
``codesign explore`` name.

``resnet`` is for CIFAR-10 (``codesign.zoo.cifar10.load``), and with its defaults MLPerf Tiny's
ResNet-8; ``digits`` is for scikit-learn's digits (``digits_data``), and trained in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from codesign.zoo import digits as digit_images
from codesign.zoo import pretrained, training
from codesign.zoo.data import Augmentation, Data, Images, Labels
from codesign.zoo.resnet8 import Stack
from codesign.zoo.training import Epoch, Recipe

CIFAR10 = Recipe(epochs=30, batch=128, learning_rate=0.2)
DIGITS = Recipe(epochs=16, batch=32, learning_rate=0.1)
DIGITS_VALIDATION = 300


class ResNet(nn.Module):
    """Images [B, channels, resolution, resolution] -> logits [B, classes].

    ``stages`` of ``blocks`` residual stacks each; every stage after the first halves the map and
    doubles the channels, of which the first has ``width``. Kernels are ``kernel`` by ``kernel``.
    """

    def __init__(
        self,
        width: int = 16,
        blocks: int = 1,
        kernel: int = 3,
        resolution: int = 32,
        stages: int = 3,
        channels: int = 3,
        classes: int = 10,
    ) -> None:
        if min(width, blocks, stages, channels, classes) < 1:
            raise ValueError("width, blocks, stages, channels and classes must be at least 1")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} must be odd: a stack keeps its map's size")
        if resolution < 1 or resolution % (1 << stages - 1):
            raise ValueError(
                f"resolution {resolution} must be a multiple of {1 << stages - 1}: "
                f"{stages} stages halve it {stages - 1} times"
            )
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        stacks, inputs = [], width
        for stage in range(stages):
            for block in range(blocks):
                outputs, stride = width << stage, 2 if stage and not block else 1
                stacks.append(Stack(inputs, outputs, stride, kernel))
                inputs = outputs
        self.stacks = nn.Sequential(*stacks)
        self.pool = nn.AvgPool2d(resolution >> stages - 1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = self.stacks(torch.relu(self.norm(self.conv(x))))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(x), 1))
        return logits


def resnet(
    width: int = 16, blocks: int = 1, kernel: int = 3, resolution: int = 32, seed: int = 0
) -> tuple[ResNet, torch.Tensor]:
    """An untrained ResNet for CIFAR-10 and an example of its input; ``train_resnet`` trains it."""
    return _seeded(ResNet, (width, blocks, kernel, resolution), (3, resolution, resolution), seed)


def digits(
    width: int = 8, blocks: int = 1, kernel: int = 3, resolution: int = 8, seed: int = 0
) -> tuple[ResNet, torch.Tensor]:
    """An untrained ResNet of two stages for digits and an example of its input; ``train_digits``
    trains it."""
    return _seeded(
        ResNet, (width, blocks, kernel, resolution, 2, 1), (1, resolution, resolution), seed
    )


def digits_data(seed: int = 0) -> Data:
    """scikit-learn's digits in three parts, every digit in each in equal shares."""
    found = digit_images.load(seed)
    train, aside, train_labels, aside_labels = train_test_split(
        found.train_images, found.train_labels, test_size=DIGITS_VALIDATION, random_state=seed,
        stratify=found.train_labels,
    )  # fmt: skip
    return Data(
        train, train_labels, aside, aside_labels, found.test_images, found.test_labels,
        Augmentation(shift=1),
    )  # fmt: skip


def train_digits(model: nn.Module, data: Data, seed: int = 0) -> nn.Module:
    """``model``, trained on the training images, or with the weights of an earlier such training
    from the user's cache."""
    return _trained(model, data.train_images, data.train_labels, DIGITS, data.augmentation, seed)


def train_resnet(
    model: nn.Module,
    data: Data,
    seed: int = 0,
    report: Callable[[Epoch], None] = lambda _: None,
) -> nn.Module:
    """``model``, trained on training and validation images, or with the weights of an earlier such
    training from the user's cache: on two cores it takes half an hour.

    The network that all choices begin from has seen all 50,000 images, as published ones have;
    accuracies on the validation images are therefore a little too good, all of them alike. Choices
    are compared by them; results are those of the test images.
    """
    images = np.concatenate([data.train_images, data.validation_images])
    labels = np.concatenate([data.train_labels, data.validation_labels])
    return _trained(model, images, labels, CIFAR10, data.augmentation, seed, report)


def _trained(
    model: nn.Module,
    images: Images,
    labels: Labels,
    recipe: Recipe,
    augmentation: Augmentation,
    seed: int,
    report: Callable[[Epoch], None] = lambda _: None,
) -> nn.Module:
    path = pretrained.place(pretrained.key(model, images, labels, recipe, augmentation, seed))
    pretrained.cached(
        model,
        path,
        lambda: training.train(model, images, labels, recipe, augmentation, seed, report),
    )
    return model


def _seeded(
    make: Callable[..., ResNet], arguments: tuple[int, ...], shape: tuple[int, int, int], seed: int
) -> tuple[ResNet, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(*arguments).eval(), torch.zeros(1, *shape)
