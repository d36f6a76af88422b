"""What goes through the accelerator: items of any number of samples, in batches of its own size."""

from __future__ import annotations

from collections.abc import Iterator
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

    def result(self) -> Outputs:
        """The outputs of all samples, the host's steps done on real values."""
        samples, session = self.given.samples, self.session
        results = [
            (column[0] if len(column) == 1 else np.concatenate(column))[:samples]
            for column in zip(*self.outputs, strict=True)
        ]
        if self.given.real and session.manifest.host_steps:
            results = [
                steps.apply(session.manifest.host_steps, table.layout.name, values)
                for table, values in zip(session.outputs, results, strict=True)
            ]
        return results[0] if len(results) == 1 else tuple(results)


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
        return item.result() if self.last else None
