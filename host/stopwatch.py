"""How long the host took for the last run, without what others did meanwhile."""

from __future__ import annotations

import time

from host.device import Device


class Stopwatch:
    """Wall-clock time of a run or stream; it stands while the caller's own code works.

    Attributes
    ----------
    batches:
        Batches that have come to their end in this time.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.batches = 0
        self._taken = self._since = self._simulated = 0.0

    def begin(self) -> None:
        """Start from zero."""
        self.batches, self._taken = 0, 0.0
        self._simulated = self._device.simulation_s or 0.0
        self.resume()

    def pause(self) -> None:
        self._taken += time.perf_counter() - self._since

    def resume(self) -> None:
        self._since = time.perf_counter()

    def overhead_s(self, latency_s: float) -> float:
        """Seconds for each batch beyond the accelerator's own, which take ``latency_s``.

        On hardware the accelerator's time passes within the host's; in a simulation the time that
        the simulation took stands in its place.
        """
        if not self.batches:
            return 0.0
        simulated = self._device.simulation_s
        own = self.batches * latency_s if simulated is None else simulated - self._simulated
        return max(0.0, self._taken - own) / self.batches
