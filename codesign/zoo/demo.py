"""The demo's network: small, with every kind of layer that the accelerator treats differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from codesign.zoo.digits import Digits

EPOCHS = 30
WIDTH = 16
_BATCH = 64
_LEARNING_RATE = 4e-3


class DemoNetwork(nn.Module):
    """Digits [B, 1, 8, 8] -> logits [B, 10]; a residual CNN.

    ``width`` is the number of channels at its start; half the default fits the smallest
    architectures.
    """

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.stem = _conv(1, width, 3)
        self.residual = nn.Sequential(_conv(width, width, 3), nn.ReLU(), _conv(width, width, 3))
        self.depthwise = _conv(width, width, 3, groups=width)
        self.pointwise = _conv(width, 2 * width, 1)
        self.strided = _conv(2 * width, 3 * width, 3, stride=2)
        self.last = _conv(3 * width, 3 * width, 3)
        self.pool = nn.MaxPool2d(2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(3 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.residual(x))
        x = functional.relu6(self.depthwise(x))
        x = functional.hardswish(self.pointwise(x))
        x = torch.relu(self.strided(x))
        x = self.pool(torch.relu(self.last(x)))
        logits: torch.Tensor = self.classifier(torch.flatten(self.average(x), 1))
        return logits


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def network() -> tuple[DemoNetwork, torch.Tensor]:
    """The untrained network and an example of its input."""
    return _seeded(WIDTH)


def small_network() -> tuple[DemoNetwork, torch.Tensor]:
    """The same with half the channels: it fits the preset ``tiny``."""
    return _seeded(WIDTH // 2)


def _seeded(width: int) -> tuple[DemoNetwork, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DemoNetwork(width).eval(), torch.zeros(1, 1, 8, 8)


@dataclass(frozen=True)
class Progress:
    """State after an epoch: mean training loss, and accuracy on the augmented training images."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float


def train(
    digits: Digits,
    seed: int = 0,
    epochs: int = EPOCHS,
    report: Callable[[Progress], None] = lambda _: None,
    width: int = WIDTH,
) -> DemoNetwork:
    """Train on the training images, shifted by up to a pixel each way; report after each epoch.

    Adam with a cosine schedule, on one thread: layers this small gain nothing from a second and
    lose much where other programs keep it waiting; and a seed gives the same network again.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(digits, seed, epochs, report, width)
    finally:
        torch.set_num_threads(threads)


def _train(
    digits: Digits, seed: int, epochs: int, report: Callable[[Progress], None], width: int
) -> DemoNetwork:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    model = DemoNetwork(width).train()
    steps = epochs * -(-len(images) // _BATCH)
    optimizer = torch.optim.Adam(model.parameters(), _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        losses, right = 0.0, 0
        order = torch.randperm(len(images), generator=generator)
        for start in range(0, len(images), _BATCH):
            chosen = order[start : start + _BATCH]
            logits = model(_shifted(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses += loss.item() * len(chosen)
            right += int((logits.argmax(1) == labels[chosen]).sum())
        report(Progress(epoch + 1, epochs, losses / len(images), right / len(images)))
    return model.eval()


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by -1, 0 or 1 pixel in y and x; the border's value (background) moves in."""
    padded = functional.pad(images, (1, 1, 1, 1), value=float(images.min()))
    count, _, height, width = images.shape
    dy, dx = torch.randint(0, 3, (2, count, 1), generator=generator)
    lines = (dy + torch.arange(height))[:, :, None]
    columns = (dx + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], 0, lines, columns][:, None]


def logits(model: nn.Module, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The model's logits [B, 10] of images [B, 1, 8, 8]."""
    with torch.no_grad():
        result: npt.NDArray[np.float32] = model(torch.from_numpy(images)).numpy()
    return result
