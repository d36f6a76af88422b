"""Energy of an inference: static power * time + the sum of (events * energy per event).

A linear model of few terms, in the way of Horowitz ("Computing's energy problem", ISSCC 2014):
multiply-accumulates by what the array does, bytes of each on-chip memory, bytes of DRAM. Where the
coefficients come from, and how far they may be off, stands beside them in ``energy.yaml``. The
program carries its model, so that the host computes the same without this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codesign.isa import Mode

GROUPS: Mapping[str, tuple[str, ...]] = {
    "compute": ("dense_mac", "depthwise_mac", "max_compare", "requantize"),
    "on_chip": ("act_byte", "wgt_byte", "param_byte", "tap_byte", "table_byte"),
    "dram": ("dram_byte",),
}
"""Kinds of events by what a report adds them to."""
MAC_OF = {
    Mode.DENSE: "dense_mac",
    Mode.DEPTHWISE: "depthwise_mac",
    Mode.MAX: "max_compare",
}
"""The array's event in each mode."""
EVENTS = tuple(name for names in GROUPS.values() for name in names)
PARTS = (*GROUPS, "static")
PJ_PER_UJ = 1e6
UJ_PER_J = 1e6
HZ_PER_MHZ = 1e6


@dataclass(frozen=True)
class Coefficients:
    """What events cost on a board.

    Parameters
    ----------
    family:
        Of the part: "xc7", "xcup".
    static_w:
        Watts of the whole board while the accelerator stands still, its clock running.
    energy_pj:
        Picojoules of each of ``EVENTS``.
    uncertainty:
        The true energy lies within a factor of 1 + this, as far as the sources tell.
    origin:
        "literature", with "; static power assumed" where no source tells the board's own, or what
        the coefficients were fitted to.
    """

    family: str
    board: str
    static_w: float
    energy_pj: Mapping[str, float]
    uncertainty: float
    origin: str

    def __post_init__(self) -> None:
        if self.energy_pj.keys() != set(EVENTS):
            raise ValueError(
                f"coefficients of {self.family!r} are for {sorted(self.energy_pj)}; give one for "
                f"each of {', '.join(EVENTS)}"
            )
        for name, value in {"static_w": self.static_w, **self.energy_pj}.items():
            if not value >= 0:
                raise ValueError(f"{name}={value} of {self.family!r}: energy is never negative")


@dataclass(frozen=True)
class Event:
    """Events of a kind in an inference: ``constant``, and so many for each count of the counters.

    ``pj`` is the energy of one, ``group`` what it is added to.
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
class Energy:
    """Modelled energy of one inference (one batch), of the whole board.

    ``uncertainty`` as of ``Coefficients``; ``events`` tells how many of each kind there were.
    """

    total_uj: float
    compute_uj: float
    on_chip_uj: float
    dram_uj: float
    static_uj: float
    uncertainty: float
    events: Mapping[str, float]


@dataclass(frozen=True)
class EnergyModel:
    """A program's energy on a board; ``host.energy`` has its counterpart.

    Parameters
    ----------
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
        """Energy of an inference by its counters (``registers.COUNTERS``)."""
        counts = {event.name: event.count(counters) for event in self.events}
        parts = self._parts(counts, seconds)
        named = {f"{part}_uj": value for part, value in parts.items()}
        return Energy(sum(parts.values()), **named, uncertainty=self.uncertainty, events=counts)

    def layer_uj(self, name: str, seconds: float) -> float:
        """Energy of a layer that took so long, its share of static power included."""
        return sum(self._parts(self.layers.get(name, {}), seconds).values())

    def _parts(self, counts: Mapping[str, float], seconds: float) -> dict[str, float]:
        parts = dict.fromkeys(PARTS, 0.0)
        for event in self.events:
            parts[event.group] += counts.get(event.name, 0.0) * event.pj / PJ_PER_UJ
        parts["static"] = self.static_w * seconds * UJ_PER_J
        return parts

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EnergyModel:
        events = tuple(Event(**event) for event in values["events"])
        return cls(**{**values, "events": events})
