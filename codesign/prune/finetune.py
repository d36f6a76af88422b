"""Short fine-tuning of a pruned network, with the unpruned one as its teacher.

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015: the pruned
network learns the teacher's softened outputs beside the labels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from codesign.frontend import network as net
from codesign.prune.trainable import Trainable
from codesign.zoo.data import Data
from codesign.zoo.training import training_threads


def finetune(
    network: net.Network,
    teacher: net.Network,
    data: Data,
    *,
    steps: int,
    seed: int = 0,
    learning_rate: float = 1e-3,
    temperature: float = 4.0,
    distillation: float = 0.9,
    batch: int = 128,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> net.Network:
    """``network`` with weights trained on the training images; those that are zero stay zero.

    Parameters
    ----------
    network, teacher:
        A pruned network and the one that it comes from; with one output, logits, each.
    steps:
        Batches of ``batch`` images; none returns the network as it is.
    learning_rate:
        Of Adam, at the first step; it falls to 0 along a cosine.
    temperature:
        By which both networks' logits are divided before they are compared.
    distillation:
        Share of the teacher in the loss, in [0, 1]; the rest is the labels'.
    report:
        Called after each step with its number, from 1, and its loss.

    Raises
    ------
    ValueError
        A number that is none of these.
    """
    if steps < 0 or batch < 1 or learning_rate <= 0 or temperature <= 0:
        raise ValueError(
            f"steps {steps}, batch {batch}, learning rate {learning_rate} and temperature "
            f"{temperature} must be positive (steps may be 0)"
        )
    if not 0 <= distillation <= 1:
        raise ValueError(f"distillation {distillation} is outside 0..1: it is a share of the loss")
    if not steps:
        return network
    student, master = Trainable(network).train(), Trainable(teacher).eval()
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    optimizer = torch.optim.Adam(student.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.random.fork_rng(), training_threads(data.shape):
        torch.manual_seed(seed)
        for step in range(steps):
            chosen = torch.randint(0, len(images), (batch,))
            x = data.augmentation(images[chosen])
            with torch.no_grad():
                wanted = master(x).flatten(1)
            found = student(x).flatten(1)
            loss = (1 - distillation) * functional.cross_entropy(found, labels[chosen])
            loss = loss + distillation * softened(found, wanted, temperature)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            report(step + 1, loss.item())
    return student.network()


def softened(found: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Kullback-Leibler divergence of logits [B, classes] from the teacher's, at a temperature,
    times its square: gradients then do not shrink as it grows."""
    divergence = functional.kl_div(
        functional.log_softmax(found / temperature, 1),
        functional.log_softmax(wanted / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2
