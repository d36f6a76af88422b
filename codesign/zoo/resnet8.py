"""ResNet-8 of MLPerf Tiny's image classification, with random weights: 12.5 M multiply-accumulates.

Topology: C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS Datasets and Benchmarks 2021. Strided
layers pad both sides by one (torch's custom), where TensorFlow's 'same' pads the end alone.
"""

from __future__ import annotations

import torch
from torch import nn

from codesign.zoo.random_weights import seeded

SHAPE = (3, 32, 32)


class Stack(nn.Module):
    """Two convolutions, 3 by 3 or of another odd ``kernel``, beside an identity, or a strided 1 by
    1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2)
        self.norm2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A batch of maps."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet8(nn.Module):
    """Images [B, 3, 32, 32] -> logits [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.stacks = nn.Sequential(Stack(16, 16, 1), Stack(16, 32, 2), Stack(32, 64, 2))
        self.pool = nn.AvgPool2d(8)
        self.classifier = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = self.stacks(torch.relu(self.norm(self.conv(x))))
        logits: torch.Tensor = self.classifier(torch.flatten(self.pool(x), 1))
        return logits


def resnet8(seed: int = 0) -> tuple[ResNet8, torch.Tensor]:
    """The network with seeded random weights and an example input."""
    return seeded(ResNet8, SHAPE, seed, samples=16)
