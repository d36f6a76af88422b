"""What goes through the accelerator: items of any number of samples, in batches of its own size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from host import steps
from host.inputs import Array, Given
from host.session import Session

Outputs: TypeAlias = "Array | tuple[Array, ...]"


@dataclass
class Item:
    """One call's inputs on their way, and the outputs so far."""

    given: Given
    session: Session
    outputs: list[list[Array]] = field(default_factory=list)
    """Of each batch that has landed the network's outputs."""

    def parts(self) -> Iterator[tuple[bool, list[Array]]]:
        """Batches of the inputs, each with whether it is the last."""
        size, samples = self.session.batch, self.given.samples
        for first in range(0, samples, size):
            part = [array[first : first + size] for array in self.given.arrays]
            yield first + size >= samples, part


@dataclass(frozen=True)
class Flight:
    """A batch on the accelerator."""

    item: Item
    slot: int
    last: bool

    def land(self) -> Outputs | None:
        """Take the outputs; the item's result where this was its last batch."""
        item = self.item
        item.outputs.append(item.session.unpack(self.slot, item.given.real))
        return results(item.session, item.given, item.outputs) if self.last else None


def results(session: Session, given: Given, batches: Sequence[Sequence[Array]]) -> Outputs:
    """The outputs of all samples from those of each batch, the host's steps done on real values."""
    outputs = [
        (column[0] if len(column) == 1 else np.concatenate(column))[: given.samples]
        for column in zip(*batches, strict=True)
    ]
    if given.real and session.manifest.host_steps:
        outputs = [
            steps.apply(session.manifest.host_steps, table.layout.name, values)
            for table, values in zip(session.outputs, outputs, strict=True)
        ]
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
