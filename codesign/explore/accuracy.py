"""Accuracy of a network of the space: pruned, fine-tuned where asked, quantised, counted on the
validation images. This is what workers do."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.explore.cache import Arrays
from codesign.explore.models import Accuracy, Task
from codesign.explore.networks import GRAIN, METHOD, Arguments, Networks, arguments_of
from codesign.explore.problem import Problem
from codesign.explore.space import Value
from codesign.frontend import network as net
from codesign.prune.blocks import prune_blocks
from codesign.prune.channels import prune_channels
from codesign.prune.finetune import finetune
from codesign.prune.recalibrate import recalibrate
from codesign.quant.calibrate import METHODS, Method
from codesign.quant.fast import evaluate
from codesign.quant.quantize import quantize_network
from codesign.zoo.data import Data

LEARNING_RATE, BATCH = 7e-4, 64
"""Of fine-tuning in a sweep: few steps, from weights that fit already; more would undo those."""
CALIBRATION = 256
"""Training images that ranges are calibrated on, and what pruning moved is measured on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """A trained network and the images at its resolution."""

    network: net.Network
    data: Data


class Evaluator:
    """Evaluates tasks of one problem; base networks and images stay loaded."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.networks = Networks(problem)
        self._images: Data | None = None
        self._bases: dict[Arguments, Base] = {}

    def __call__(self, task: Task) -> Accuracy:
        """The accuracy of a task's network on the validation images."""
        begin = time.perf_counter()
        base = self.base(arguments_of(task.choice))
        network = self.pruned(task.choice)
        weights = None
        if task.steps:
            seed = self._problem.search.seed
            network = finetune(
                network,
                base.network,
                base.data,
                steps=task.steps,
                seed=seed,
                learning_rate=LEARNING_RATE,
                batch=BATCH,
            )
            weights = weights_of(network)
        graph = self.quantized(task.choice, network)
        found = evaluate(graph, base.data.validation_images, base.data.validation_labels)
        return Accuracy(found, time.perf_counter() - begin, weights)

    def base(self, arguments: Arguments) -> Base:
        """The trained network for these arguments, unpruned."""
        if arguments not in self._bases:
            if self._images is None:
                self._images = self.networks.data()
            network, example = self.networks.trained(arguments, self._images)
            self.networks.adopt(arguments, network)
            channels, height, width = example.shape[1:]
            self._bases[arguments] = Base(network, self._images.fit((channels, height, width)))
        return self._bases[arguments]

    def pruned(self, choice: Mapping[str, Value]) -> net.Network:
        """The float network of a choice, its statistics put right, not fine-tuned."""
        base = self.base(arguments_of(choice))
        cut = self.networks.cut(choice)
        shape = self.networks.base(cut.arguments)
        ratios = self._problem.ratios(choice, tuple(shape.groups))
        network = prune_channels(base.network, ratios, multiple=self._problem.multiple)
        if cut.sparse:
            shares = dict(zip(shape.layers, cut.sparsity, strict=True))
            network = prune_blocks(network, shares, *grain(self._problem, choice))
        if network is base.network:
            return network
        return recalibrate(network, base.network, base.data.train_images[:CALIBRATION])

    def quantized(
        self, choice: Mapping[str, Value], network: net.Network, batch: int = 1
    ) -> ir.Graph:
        """The int8 graph of a float network, by the choice's method of calibration."""
        base = self.base(arguments_of(choice))
        images = base.data.train_images[:CALIBRATION]
        return quantize_network(network, images, batch, method_of(choice))


def make_evaluator(problem: Problem) -> Callable[[Task], Accuracy]:
    """What each worker calls once (``workers.Make``)."""
    return Evaluator(problem)


def method_of(choice: Mapping[str, Value]) -> Method:
    """How calibration chooses ranges, by a point's choice."""
    wanted = choice.get(METHOD, METHODS[0])
    return next(method for method in METHODS if method == wanted)


def grain(problem: Problem, choice: Mapping[str, Value]) -> tuple[int, int]:
    """M and N of a point's choice."""
    inputs, outputs = (
        int(choice.get(name, getattr(problem.base, name.partition(".")[2]))) for name in GRAIN
    )
    return inputs, outputs


def weights_of(network: net.Network) -> dict[str, npt.NDArray[np.float32]]:
    """Weights and biases of a simplified network, by operation."""
    return {
        f"{op.name}.{name}": getattr(op, name)
        for op in network.ops
        if isinstance(op, net.Conv2d | net.Linear)
        for name in ("weight", "bias")
    }


def with_weights(network: net.Network, weights: Arrays) -> net.Network:
    """The network with weights that ``weights_of`` took from another of the same shapes.

    Raises
    ------
    ValueError
        An array is missing, or has another shape.
    """
    ops: list[net.Op] = []
    for op in network.ops:
        if isinstance(op, net.Conv2d | net.Linear):
            weight, bias = (_given(weights, op, name) for name in ("weight", "bias"))
            op = dataclasses.replace(op, weight=weight, bias=bias)
        ops.append(op)
    return dataclasses.replace(network, ops=tuple(ops))


def _given(weights: Arrays, op: net.Conv2d | net.Linear, name: str) -> net.FloatArray:
    array, shape = weights.get(f"{op.name}.{name}"), getattr(op, name).shape
    if array is None or array.shape != shape:
        raise ValueError(
            f"the weights have {None if array is None else array.shape} for {op.name}.{name}, the "
            f"network {shape}"
        )
    return array.astype(np.float32)
