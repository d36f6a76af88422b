"""What a sweep writes down: rounds with their designs, the front, and how far it is."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Mapping, Sequence
from typing import Any

from codesign.explore.archive import Archive, Design, Network
from codesign.explore.counting import Counts
from codesign.explore.problem import Problem
from codesign.explore.scale import Scale
from codesign.explore.space import IntArray
from codesign.explore.store import Store
from codesign.report.run import versions


class Recorder:
    """Keeps a store up to date.

    Attributes
    ----------
    rounds:
        How many there were.
    front:
        Its designs after the last of them.
    history:
        Seconds since the sweep began, and the front's hypervolume then, after each round.
    """

    def __init__(
        self,
        store: Store,
        problem: Problem,
        archive: Archive,
        scale: Scale,
        about: Mapping[str, Any],
    ) -> None:
        self._store, self._problem, self._archive = store, problem, archive
        self._scale, self._about = scale, about
        self._started = datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds")
        self.rounds = 0
        self.front: list[Design] = []
        self.history: list[tuple[float, float]] = []

    def restore(self) -> list[dict[str, Any]]:
        """Take in what the store has; its rounds."""
        rounds = self._store.rounds()
        learnt = [network for at in rounds for network in at["networks"]]
        self._archive.restore(learnt, self._store.trials())
        self._started = (self._store.run() or {}).get("started", self._started)
        self.rounds = len(rounds)
        self.history = [(at["elapsed_s"], at["hypervolume"]) for at in rounds]
        self.front = self._archive.front()
        return rounds

    def commit(
        self,
        designs: Sequence[Design],
        learnt: Sequence[Network],
        asked: IntArray,
        elapsed_s: float,
        about: Mapping[str, Any],
    ) -> None:
        """Write a round down: its new designs, and the others of networks that are more accurate
        now."""
        changed = {network.identity for network in learnt}
        new = {design.number for design in designs}
        again = [
            design
            for design in self._archive.designs
            if design.identity in changed and design.number not in new
        ]
        lines = [
            self._archive.line(design, self.rounds, elapsed_s) for design in (*again, *designs)
        ]
        self.front = self._archive.front()
        self.history.append((round(elapsed_s, 3), self._hypervolume()))
        entry = {
            "round": self.rounds,
            "elapsed_s": elapsed_s,
            "hypervolume": self.history[-1][1],
            "networks": [
                self._archive.learnt(self._archive.networks[name])
                for name in dict.fromkeys(network.identity for network in learnt)
            ],
            "asked": asked.tolist(),
            **about,
        }
        self._store.commit(lines, entry)
        self.rounds += 1

    def write(
        self, state: str, elapsed_s: float, counts: Counts, budget: Mapping[str, float | int | None]
    ) -> None:
        """``run.json``, and the front."""
        problem = self._problem
        self._store.write_run({
            "name": problem.name,
            "seed": problem.search.seed,
            "sampler": problem.search.sampler,
            "board": problem.constraints.board,
            "arch": problem.base.to_dict(),
            "objectives": {at.name: "max" if at.maximize else "min" for at in problem.objectives},
            "constraints": {
                "max": dict(problem.constraints.maximum),
                "min": dict(problem.constraints.minimum),
            },
            "versions": versions(),
            "started": self._started,
            "elapsed_s": round(elapsed_s, 3),
            "budget": dict(budget),
            "state": state,
            "counts": counts.to_dict(),
            "hypervolume": [list(at) for at in self.history],
            "reference_point": self._scale.named(problem),
            **self._about,
        })  # fmt: skip
        self._store.write_front([design.number for design in self.front], self._table())

    def verified(self) -> int:
        """Count the designs that were verified, and add that to ``run.json``."""
        count, run = self._store.verified(), self._store.run()
        if run is not None:
            run["counts"]["verified"] = count
            self._store.write_run(run)
        return count

    def _hypervolume(self) -> float:
        if not self.front:
            return 0.0
        return self._scale.hypervolume(self._archive.minimised(self.front))

    def _table(self) -> str:
        """The front as comma-separated values."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        values = [self._archive.known(design) for design in self.front]
        measures = list(values[0]) if values else []
        parameters = self._archive.space.names
        writer.writerow(["id", "fidelity", *measures, *parameters])
        for design, row in zip(self.front, values, strict=True):
            (choice,) = self._archive.space.decode(design.point[None])
            fidelity = self._archive.networks[design.identity].fidelity
            writer.writerow([design.number, fidelity, *row.values(), *choice.values()])
        return file.getvalue()
