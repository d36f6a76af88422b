"""A network of one's own for `codesign compile mine:network`."""

import sys

import numpy as np
import torch
from torch import nn


def network() -> tuple[nn.Module, torch.Tensor]:
    """The model and an example of its input."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.ReLU6(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    )
    return model.eval(), torch.randn(1, 3, 16, 16)


if __name__ == "__main__":
    np.save(sys.argv[1], np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32))
