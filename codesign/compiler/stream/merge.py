"""One order of instructions from the orders of three units.

CALCs and SAVEs keep their order. A LOAD may go as soon as what it overwrites is no longer needed
and what it reads is in DRAM: of those that may go the most urgent goes first, by a simulation with
the closed forms of ``codesign.cost``. Steps are then sorted by the cycle in which they start.
"""

from __future__ import annotations

import heapq

from codesign.arch import Arch
from codesign.compiler.stream.tasks import StreamStep, Task, Tasks
from codesign.cost.cycles import fetch_cycles, load_latency, pipeline_cycles


def merged(arch: Arch, tasks: Tasks) -> tuple[StreamStep, ...]:
    """All steps, in an order in which they could run one by one."""
    return _Merge(arch, tasks).run()


class _Merge:
    def __init__(self, arch: Arch, tasks: Tasks) -> None:
        self.tasks = tasks
        self.fetch, self.latency = fetch_cycles(arch, 1), load_latency()
        self.pipeline = pipeline_cycles(arch)
        self.calc_end = [0] * len(tasks.calcs)
        self.save_end: list[int] = []
        self.starts: list[tuple[int, int, int, StreamStep]] = []
        self.load_free = self.calc_free = self.save_free = 0
        self.missing = [0] * len(tasks.calcs)
        self.arrival = [0] * len(tasks.calcs)
        self.waiting: dict[tuple[bool, int], list[int]] = {}
        """LOADs that wait for a CALC (False) or SAVE (True) of which the time is not known."""
        self.coming: list[tuple[int, int]] = []
        """LOADs by the cycle from which on they may go."""
        self.urgent: list[tuple[int, int]] = []
        """LOADs that may go, by the CALC that needs them."""

    def run(self) -> tuple[StreamStep, ...]:
        for number, load in enumerate(self.tasks.loads):
            self.missing[load.deadline] += 1
            self._release(number)
        for number in range(len(self.tasks.calcs)):
            while self.missing[number]:
                self._load()
            self._calc(number)
        return tuple(step for *_, step in sorted(self.starts, key=lambda at: at[:3]))

    def _start(self, unit: int, cycle: int, task: Task) -> None:
        self.starts.append((cycle, unit, len(self.starts), task.step))

    def _release(self, number: int) -> None:
        """Let a LOAD go when it may, or when that is known."""
        load = self.tasks.loads[number]
        if load.after_calc >= 0 and not self.calc_end[load.after_calc]:
            self.waiting.setdefault((False, load.after_calc), []).append(number)
        elif load.after_save >= len(self.save_end):
            self.waiting.setdefault((True, load.after_save), []).append(number)
        else:
            ready = self.calc_end[load.after_calc] if load.after_calc >= 0 else 0
            if load.after_save >= 0:
                ready = max(ready, self.save_end[load.after_save])
            heapq.heappush(self.coming, (ready, number))

    def _load(self) -> None:
        """The next LOAD: of those that may go now the most urgent, else the one that may first."""
        loads = self.tasks.loads
        while self.coming and (self.coming[0][0] <= self.load_free or not self.urgent):
            ready, number = heapq.heappop(self.coming)
            self.load_free = max(self.load_free, ready)
            heapq.heappush(self.urgent, (loads[number].deadline, number))
        _, number = heapq.heappop(self.urgent)
        load = loads[number]
        self._start(1, self.load_free, load)
        self.load_free += load.cycles + self.fetch
        self.arrival[load.deadline] = max(
            self.arrival[load.deadline], self.load_free + self.latency
        )
        self.missing[load.deadline] -= 1

    def _calc(self, number: int) -> None:
        task = self.tasks.calcs[number]
        start = max(self.calc_free, self.arrival[number])
        if task.after_save >= 0:
            start = max(start, self.save_end[task.after_save])
        self._start(0, start, task)
        self.calc_free = start + task.cycles
        self.calc_end[number] = self.calc_free
        self._told(False, number)
        while len(self.save_end) < len(self.tasks.saves):
            save = self.tasks.saves[len(self.save_end)]
            if save.after_calc > number:
                break
            begin = max(self.save_free, self.calc_free + self.pipeline)
            self._start(2, begin, save)
            self.save_free = begin + save.cycles
            self.save_end.append(self.save_free)
            self._told(True, len(self.save_end) - 1)

    def _told(self, save: bool, number: int) -> None:
        for load in self.waiting.pop((save, number), ()):
            self._release(load)
