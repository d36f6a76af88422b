"""What an inference costs in energy: from a meter where there is one, else from counted events.

The model is linear: energy = static power * time + sum of (events * energy per event). A program
carries it, made by ``codesign.cost``; how many events there were follows from the accelerator's
counters and from what the program does in every inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

GROUPS = ("compute", "on_chip", "dram", "static")
"""What a report splits energy into; an event belongs to one of the first three."""
_UJ_PER_PJ = 1e-6
_UJ_PER_J = 1e6


@dataclass(frozen=True)
class Event:
    """Something that costs energy each time: ``constant`` of them in every inference, and so many
    for each count of the accelerator's counters.

    Parameters
    ----------
    name, group:
        Such as "dense_mac", "compute".
    pj:
        Energy of one, in picojoules.
    """

    name: str
    group: str
    pj: float
    constant: float
    counters: Mapping[str, float]

    def count(self, counters: Mapping[str, int]) -> float:
        """Events of an inference with these counters."""
        return self.constant + sum(each * counters[name] for name, each in self.counters.items())


@dataclass(frozen=True)
class EnergyModel:
    """A program's energy on a board.

    Parameters
    ----------
    family, board:
        Whose coefficients these are.
    origin:
        "literature", with "; static power assumed" where no source tells the board's own, or what
        they were fitted to.
    uncertainty:
        The true energy lies within a factor of 1 + this, as far as the coefficients' sources tell.
    static_w:
        Watts of the board while the accelerator stands still.
    layers:
        Layer -> event -> how many of it the layer takes.
    """

    family: str
    board: str
    origin: str
    uncertainty: float
    static_w: float
    events: tuple[Event, ...]
    layers: Mapping[str, Mapping[str, float]]

    def estimate(self, counters: Mapping[str, int], seconds: float) -> Energy:
        """Energy of one inference by its counters."""
        counts = {event.name: event.count(counters) for event in self.events}
        parts = self._parts(counts, seconds)
        total = sum(parts.values())
        return Energy(
            "modelled", total, **_named(parts), seconds=seconds, uncertainty=self.uncertainty,
            origin=self.origin, events=counts,
        )  # fmt: skip

    def measured(self, joules: float, counters: Mapping[str, int], seconds: float) -> Energy:
        """A measured total, split as the model splits its own: a meter sees only the sum."""
        modelled = self.estimate(counters, seconds)
        total = joules * _UJ_PER_J
        share = total / modelled.total_uj if modelled.total_uj else 0.0
        parts = {group: share * getattr(modelled, f"{group}_uj") for group in GROUPS}
        return Energy(
            "measured", total, **_named(parts), seconds=seconds, uncertainty=0.0,
            origin="a meter; the split is the model's", events=modelled.events,
        )  # fmt: skip

    def layer_uj(self, name: str, seconds: float) -> float:
        """Modelled energy of a layer that took so long, its share of static power included."""
        return sum(self._parts(self.layers.get(name, {}), seconds).values())

    def _parts(self, counts: Mapping[str, float], seconds: float) -> dict[str, float]:
        """Microjoules by group."""
        parts = dict.fromkeys(GROUPS, 0.0)
        for event in self.events:
            parts[event.group] += counts.get(event.name, 0.0) * event.pj * _UJ_PER_PJ
        parts["static"] = self.static_w * seconds * _UJ_PER_J
        return parts


@dataclass(frozen=True)
class Energy:
    """Energy of one inference (one batch) of the whole board.

    Parameters
    ----------
    source:
        "measured" or "modelled".
    seconds:
        What it was spent in: the accelerator's own time, or where a meter ran the host's, its work
        included.
    uncertainty:
        As of the model; 0 where the total was measured.
    events:
        Event -> how many there were.
    """

    source: str
    total_uj: float
    compute_uj: float
    on_chip_uj: float
    dram_uj: float
    static_uj: float
    seconds: float
    uncertainty: float
    origin: str
    events: Mapping[str, float]

    @property
    def watts(self) -> float:
        """Mean power in this time."""
        return self.total_uj / _UJ_PER_J / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "watts": self.watts}

    def __str__(self) -> str:
        split = ", ".join(
            f"{group.replace('_', '-')} {getattr(self, f'{group}_uj'):,.1f}" for group in GROUPS
        )
        about = f", within a factor of {1 + self.uncertainty:g}" if self.uncertainty else ""
        return (
            f"{self.total_uj:,.1f} uJ {self.source}{about} ({split}; {self.watts:.2f} W; "
            f"{self.origin})"
        )


def _named(parts: Mapping[str, float]) -> dict[str, Any]:
    return {f"{group}_uj": part for group, part in parts.items()}
