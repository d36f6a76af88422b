"""Training of small image classifiers: stochastic gradient descent with one cycle of the learning
rate, on shifted and mirrored images.

The schedule is that of L. N. Smith, N. Topin, "Super-Convergence", 2019, as torch's ``OneCycleLR``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from codesign.ir import Shape
from codesign.zoo.data import Augmentation, Images, Labels

_SMALL = 16


@dataclass(frozen=True)
class Recipe:
    """``learning_rate`` is the highest; ``rising`` the share of steps until then."""

    epochs: int
    batch: int
    learning_rate: float
    rising: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.05


@dataclass(frozen=True)
class Epoch:
    """An epoch that is done, counted from 1, and the mean of its losses."""

    number: int
    epochs: int
    loss: float


def train(
    model: nn.Module,
    images: Images,
    labels: Labels,
    recipe: Recipe,
    augmentation: Augmentation,
    seed: int = 0,
    report: Callable[[Epoch], None] = lambda _: None,
) -> None:
    """Train ``model`` in place, and leave it ready for inference.

    ``images`` [K, C, H, W] are normalised.
    """
    _, channels, height, width = images.shape
    with torch.random.fork_rng(), training_threads((channels, height, width)):
        torch.manual_seed(seed)
        _train(
            model, torch.from_numpy(images), torch.from_numpy(labels), recipe, augmentation, report
        )
    model.eval()


@contextlib.contextmanager
def training_threads(shape: Shape) -> Iterator[None]:
    """torch trains on images of (C, H, W): with one thread where they are so small that a second is
    not worth its waiting, which is long where other programs keep it from running."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if max(shape[1:]) <= _SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    augmentation: Augmentation,
    report: Callable[[Epoch], None],
) -> None:
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    per_epoch = max(1, len(images) // recipe.batch)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, recipe.momentum,
        weight_decay=recipe.weight_decay, nesterov=True,
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.epochs * per_epoch, pct_start=recipe.rising
    )
    for epoch in range(recipe.epochs):
        order, total = torch.randperm(len(images)), 0.0
        for step in range(per_epoch):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            logits = model(augmentation(images[chosen]))
            loss = functional.cross_entropy(
                logits, labels[chosen], label_smoothing=recipe.smoothing
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item()
        report(Epoch(epoch + 1, recipe.epochs, total / per_epoch))
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
