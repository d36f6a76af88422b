"""Single layers with seeded random weights: what the ``array`` benchmark measures.

Each function returns the layer and an example of its input.
"""

from __future__ import annotations

import torch
from torch import nn

Layer = tuple[nn.Module, torch.Tensor]


def conv3x3() -> Layer:
    """64 -> 64 channels on 16 by 16, padding 1."""
    return _layer(64, 64, 3, 16)


def conv1x1() -> Layer:
    """64 -> 64 channels on 16 by 16."""
    return _layer(64, 64, 1, 16)


def conv3x3s2() -> Layer:
    """32 -> 64 channels on 32 by 32, stride 2, padding 1."""
    return _layer(32, 64, 3, 32, stride=2)


def depthwise3x3() -> Layer:
    """64 channels on 16 by 16, padding 1."""
    return _layer(64, 64, 3, 16, groups=64)


def _layer(
    inputs: int, outputs: int, kernel: int, size: int, stride: int = 1, groups: int = 1
) -> Layer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
        return layer.eval(), torch.randn(1, inputs, size, size)
