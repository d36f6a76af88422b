"""ResNet-50 (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1), its
stride in the 3 by 3 convolutions as torch's own models have it.
"""

from __future__ import annotations

import torch
from torch import nn

EXPANSION = 4
"""Output channels of a block over its inner ones."""


class Bottleneck(nn.Module):
    """1 by 1, 3 by 3, 1 by 1, beside an identity or a 1 by 1 where the shape changes."""

    def __init__(self, inputs: int, inner: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * inner
        self.reduce = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.expand = nn.Conv2d(inner, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.reduce(x)))
        y = torch.relu(self.norm2(self.conv(y)))
        return torch.relu(self.norm3(self.expand(y)) + self.shortcut(x))


class ResNet50(nn.Module):
    """Images [B, 3, H, W] -> logits [B, ``classes``]; ``width``: inner channels of the first stage,
    64 in the paper."""

    def __init__(self, width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        blocks, inputs = [], width
        for stage, count in enumerate((3, 4, 6, 3)):
            inner = width << stage
            for block in range(count):
                blocks.append(Bottleneck(inputs, inner, 2 if stage and not block else 1))
                inputs = EXPANSION * inner
        self.blocks = nn.Sequential(*blocks)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.average(self.blocks(self.pool(self.stem(x))))
        logits: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return logits
