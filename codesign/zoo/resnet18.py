"""ResNet-18 for images of 224 by 224, with random weights: 1.8 G multiply-accumulates.

Topology: K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
"""

from __future__ import annotations

import torch
from torch import nn

from codesign.zoo.random_weights import seeded

SHAPE = (3, 224, 224)
WIDTHS = (64, 128, 256, 512)
"""Channels of each stage of two blocks."""


class Block(nn.Module):
    """Two 3 by 3 convolutions beside an identity, or a strided 1 by 1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A batch of maps."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    """Images [B, 3, H, W] -> logits [B, ``classes``]; ``widths`` as ``WIDTHS``."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, classes: int = 1000) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, widths[0], 7, 2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        blocks, inputs = [], widths[0]
        for stage, outputs in enumerate(widths):
            blocks += [Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        x = self.average(self.blocks(x))
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def resnet18(seed: int = 0) -> tuple[ResNet18, torch.Tensor]:
    """The network with seeded random weights and an example input."""
    return seeded(ResNet18, SHAPE, seed, samples=2)
