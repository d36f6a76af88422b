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

from codesign.zoo.data import Images, Labels

_SMALL = 16


@dataclass(frozen=True)
class Recipe:
    """``learning_rate`` is the highest; ``rising`` the share of steps until then. ``shift``: pixels
    that a batch is moved by at most, either way; ``mirrored``: whether half the batches are."""

    epochs: int
    batch: int
    learning_rate: float
    rising: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    smoothing: float = 0.05
    shift: int = 4
    mirrored: bool = True


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
    seed: int = 0,
    report: Callable[[Epoch], None] = lambda _: None,
) -> None:
    """Train ``model`` in place, and leave it ready for inference.

    ``images`` [K, C, H, W] are normalised; what a shift uncovers is 0. Images of 16 pixels and less
    are trained on by one thread, for which a second is not worth its waiting.
    """
    small = max(images.shape[2:]) <= _SMALL
    with torch.random.fork_rng(), threads(1 if small else torch.get_num_threads()):
        torch.manual_seed(seed)
        _train(model, torch.from_numpy(images), torch.from_numpy(labels), recipe, report)
    model.eval()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def augmented(images: torch.Tensor, shift: int, mirrored: bool) -> torch.Tensor:
    """A batch moved by up to ``shift`` pixels each way, all alike, and mirrored every other time;
    by torch's global random state."""
    height, width = images.shape[2:]
    if shift:
        padded = functional.pad(images, (shift, shift, shift, shift))
        y, x = torch.randint(0, 2 * shift + 1, (2,)).tolist()
        images = padded[:, :, y : y + height, x : x + width]
    if mirrored and torch.rand(()) < 0.5:
        images = images.flip(3)
    return images.contiguous(memory_format=torch.channels_last)


def _train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
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
            logits = model(augmented(images[chosen], recipe.shift, recipe.mirrored))
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
