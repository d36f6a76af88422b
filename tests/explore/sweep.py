"""A sweep whose networks are formulas: for tests of the engine."""

import itertools
import math
import sys
import time
from pathlib import Path

import numpy as np

from codesign.arch import preset
from codesign.explore.engine import Budget, Engine
from codesign.explore.evaluation import InProcess
from codesign.explore.models import Accuracy, Costs
from codesign.explore.problem import (
    Constraints,
    Fidelities,
    Finetune,
    Objective,
    Problem,
    Search,
    Source,
)
from codesign.explore.space import Parameter, Space
from codesign.explore.store import Store

LAYERS = 4
RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8)
HARDWARE = (
    Parameter("hardware.pixels", (1, 2, 3, 4, 6, 8)),
    Parameter("hardware.in_channels", (4, 8, 16)),
)
NETWORK = tuple(Parameter(f"prune.channels.layer{n}", RATIOS) for n in range(LAYERS))
MAX_LUT = 700.0


def problem(sampler="surrogate", finetune=None, seed=0, population=16):
    """Error, latency and LUT of a made-up network."""
    return Problem(
        name="formulas",
        source=Source("none:none", "none:none"),
        base=preset("tiny"),
        hardware=HARDWARE,
        rules=(),
        network=(),
        quantize=(),
        channels=(),
        blocks=(),
        constraints=Constraints("pynq-z2", {"lut": MAX_LUT}, {"accuracy": 0.3}),
        objectives=(
            Objective("accuracy", True),
            Objective("latency_ms", False),
            Objective("lut", False),
        ),
        search=Search(sampler, seed, population),
        fidelities=Fidelities(finetune),
    )


class Formulas:
    """Layers cost what is left of them, and matter the more the earlier they are."""

    def __init__(self, parameters=(*HARDWARE, *NETWORK)):
        self.space = Space(parameters)

    def ratios(self, points):
        columns = [
            self.space.column(at.name, points) if at.name in self.space else np.zeros(len(points))
            for at in NETWORK
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def costs(self, points):
        def column(name, default):
            if name not in self.space:
                return np.full(len(points), float(default))
            return self.space.column(name, points).astype(np.float64)

        pixels, lanes = column("hardware.pixels", 3), column("hardware.in_channels", 8)
        macs = (1e6 * (1 - self.ratios(points))).sum(axis=1)
        latency = macs / (pixels * lanes**2) / 1e3 + 0.1 * pixels
        lut = 20 * pixels * lanes + 100.0
        beyond = np.maximum(lut - MAX_LUT, 0) / MAX_LUT
        reasons = tuple(f"lut beyond {MAX_LUT:g}" if at else "" for at in beyond)
        return Costs({"latency_ms": latency, "lut": lut, "macs": macs}, beyond, reasons)

    def identities(self, points):
        return [",".join(f"{at:g}" for at in row) for row in self.ratios(points)]

    def bound(self, points):
        return np.zeros(points.shape, bool)

    def start(self):
        return np.zeros((1, len(self.space)), np.int64)


def accuracy(choice, steps):
    """Of a network by its pruning; fine-tuning wins half of the loss back."""
    loss = sum(
        float(choice.get(f"prune.channels.layer{n}", 0.0)) ** 2 / (n + 2) for n in range(LAYERS)
    )
    return 0.9 - loss * (0.25 if steps else 0.5) * math.exp(loss / 8)


def make(delay=0.0, log=None):
    """An evaluator that takes a while, and notes each evaluation in a file."""

    def evaluate(task):
        if log is not None:
            with open(log, "a") as file:
                file.write(f"{task.identity} {task.steps}\n")
        time.sleep(delay)
        return Accuracy(accuracy(task.choice, task.steps), 10.0 if task.steps else 1.0)

    return evaluate


def whole_front():
    """Objectives of every design that fits, to be the less the better, with the accuracies that
    networks have without fine-tuning."""
    models = Formulas()
    points = np.array(list(itertools.product(*(range(n) for n in models.space.sizes))), np.int64)
    costs = models.costs(points)
    values = np.array([accuracy(choice, 0) for choice in models.space.decode(points)])
    found = problem().minimised({"accuracy": values, **costs.values})
    return found[costs.feasible & (values >= 0.3)]


def sweep(folder, trials=None, *, seconds=None, parameters=(*HARDWARE, *NETWORK), **options):
    """Run a sweep in a folder; its engine."""
    delay, log = options.pop("delay", 0.0), options.pop("log", None)
    asked = problem(**options)
    with Store(folder) as store, InProcess(lambda: make(delay, log)) as workers:
        store.begin("formulas\n", seed=asked.search.seed)
        engine = Engine(asked, Formulas(parameters), workers, store, Budget(seconds, trials))
        engine.run()
        return engine


if __name__ == "__main__":  # a process to be killed
    sweep(
        Path(sys.argv[1]), int(sys.argv[2]), delay=float(sys.argv[3]), log=sys.argv[4],
        sampler=sys.argv[5], finetune=Finetune(100, 3),
    )  # fmt: skip
