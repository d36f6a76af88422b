"""Token counters between units: when tokens are given and taken, what their takers then know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from codesign.errors import ProgramError
from codesign.isa import TOKEN_BITS, TOKEN_PEERS, Unit

_Clock = Mapping[Unit, int]


class Tokens:
    """The six counters of one run. The k-th token taken from a counter is the k-th one given."""

    def __init__(self) -> None:
        pairs = [(giver, taker) for giver in TOKEN_PEERS for taker in TOKEN_PEERS[giver]]
        self._given: dict[tuple[Unit, Unit], list[tuple[int, _Clock]]] = {p: [] for p in pairs}
        self._taken: dict[tuple[Unit, Unit], list[int]] = {p: [] for p in pairs}

    def available(self, taker: Unit, wait: int) -> int | None:
        """The cycle from which all tokens of a ``wait`` field are there; None if not known yet."""
        cycle = 0
        for pair in _pairs(taker, wait):
            number = len(self._taken[pair])
            if number >= len(self._given[pair]):
                return None
            cycle = max(cycle, self._given[pair][number][0])
        return cycle

    def take(self, taker: Unit, wait: int, cycle: int) -> Iterator[_Clock]:
        """Take the tokens; what their givers knew."""
        for pair in _pairs(taker, wait):
            self._taken[pair].append(cycle)
            yield self._given[pair][len(self._taken[pair]) - 1][1]

    def give(self, giver: Unit, signal: int, cycle: int, clock: _Clock) -> None:
        """Give the tokens of a ``signal`` field, to be taken from ``cycle`` on."""
        for taker, _ in _pairs(giver, signal):
            self._given[giver, taker].append((cycle, clock))

    def check(self) -> None:
        """Raise ``ProgramError`` if a counter passed its largest value."""
        limit = (1 << TOKEN_BITS) - 1
        for (giver, taker), given in self._given.items():
            cycles = np.array([cycle for cycle, _ in given], np.int64)
            taken = np.searchsorted(np.sort(self._taken[giver, taker]), cycles, side="right")
            held = np.arange(1, len(cycles) + 1) - taken
            if (held > limit).any():
                raise ProgramError(
                    f"the counter of tokens from {giver.name} to {taker.name} reaches "
                    f"{int(held.max())}, above {limit}: let {taker.name} take them earlier"
                )


def _pairs(unit: Unit, mask: int) -> Iterator[tuple[Unit, Unit]]:
    for bit, peer in enumerate(TOKEN_PEERS[unit]):
        if mask >> bit & 1:
            yield peer, unit
