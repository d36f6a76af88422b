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
        self._taken = self._simulated = self._since = self._simulated_since = 0.0
        self._beside = self._started = 0.0

    def begin(self) -> None:
        """Start from zero."""
        self.batches, self._taken, self._simulated, self._beside = 0, 0.0, 0.0, 0.0
        self.resume()

    def pause(self) -> None:
        self._taken += time.perf_counter() - self._since
        self._simulated += (self._device.simulation_s or 0.0) - self._simulated_since

    def resume(self) -> None:
        self._simulated_since = self._device.simulation_s or 0.0
        self._since = time.perf_counter()

    def started(self) -> None:
        """The accelerator works from now on: what the host does now is beside it."""
        self._started = self._elapsed()

    def ended(self) -> None:
        """The accelerator has come to its end, and the host knows."""
        self._beside += self._elapsed() - self._started

    def overhead_s(self, latency_s: float) -> float:
        """Seconds for each batch beyond the accelerator's own, which take ``latency_s``.

        On hardware the accelerator's time passes within the host's. In a simulation it does not:
        there the time of the simulation is left out, and what the host does beside a run, polling
        too, is taken off as far as a run is long.
        """
        if not self.batches:
            return 0.0
        if self._device.simulation_s is None:
            own = self.batches * latency_s
        else:
            own = self._simulated + min(self._beside, self.batches * latency_s)
        return max(0.0, self._taken - own) / self.batches

    def _elapsed(self) -> float:
        """The host's own time so far, without that of a simulation."""
        simulated = (self._device.simulation_s or 0.0) - self._simulated_since
        return self._taken - self._simulated + time.perf_counter() - self._since - simulated
