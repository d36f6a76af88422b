"""Random weights whose activations keep the spread that they have in a trained network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)


def seeded(
    make: Callable[[], _Module], shape: tuple[int, int, int], seed: int, samples: int
) -> tuple[_Module, torch.Tensor]:
    """The network that ``make`` returns, ready for inference, with an example input [1, *shape].

    Its batch normalisations have random factors and hold the statistics of ``samples`` random
    inputs. torch's own random state stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of the one batch that follows
            nn.init.uniform_(module.weight, 0.5, 1.5, generator)
            nn.init.uniform_(module.bias, -0.2, 0.2, generator)
    with torch.no_grad():
        model.train()(torch.randn(samples, *shape, generator=generator))
    return model.eval(), torch.randn(1, *shape, generator=generator)
