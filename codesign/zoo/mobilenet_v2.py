"""MobileNetV2 for images of 224 by 224, with random weights: 301 M multiply-accumulates.

Topology: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
table 2.
"""

from __future__ import annotations

import torch
from torch import nn

from codesign.zoo.random_weights import seeded

SHAPE = (3, 224, 224)
BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block."""


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class Bottleneck(nn.Module):
    """1 by 1 to ``expansion`` times the channels, 3 by 3 depthwise, 1 by 1 without activation."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        layers = [_unit(inputs, hidden, 1)] if expansion > 1 else []
        layers += [
            _unit(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A batch of maps."""
        y: torch.Tensor = self.layers(x)
        return y + x if self.residual else y


class MobileNetV2(nn.Module):
    """Images [B, 3, H, W] -> logits [B, ``classes``]; ``width`` multiplies all channels."""

    def __init__(self, width: float = 1.0, classes: int = 1000) -> None:
        super().__init__()
        inputs, features = int(32 * width), int(1280 * width)
        layers = [_unit(3, inputs, 3, stride=2)]
        for expansion, channels, count, stride in BOTTLENECKS:
            outputs = int(channels * width)
            for block in range(count):
                layers.append(Bottleneck(inputs, outputs, expansion, 1 if block else stride))
                inputs = outputs
        self.layers = nn.Sequential(*layers, _unit(inputs, features, 1))
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        x = self.average(self.layers(x))
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits


def mobilenet_v2(seed: int = 0) -> tuple[MobileNetV2, torch.Tensor]:
    """The network with seeded random weights and an example input."""
    return seeded(MobileNetV2, SHAPE, seed, samples=2)
