"""A network on the simulated RTL, checked against the graph reference before it is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from codesign.arch import Arch
from codesign.artifact import Program
from codesign.cli.session import Codes, device_outputs, encode, equal, graph_outputs
from codesign.compiler import compile as compile_graph
from codesign.errors import CodesignError
from codesign.quant.torch_module import quantize_module
from host.device import Device
from host.driver import Accelerator

SEED = 0
Make = Callable[[], tuple[torch.nn.Module, torch.Tensor]]


@dataclass(frozen=True)
class Workload:
    """A compiled network, its file, and input codes of one batch."""

    program: Program
    path: Path
    codes: Codes

    def check(self, device: Device) -> None:
        """Compare one inference with the graph reference: a wrong machine's speed means nothing.

        Raises
        ------
        CodesignError
            One bit differs.
        """
        with Accelerator(device) as accelerator:
            accelerator.load(self.path)
            found = device_outputs(accelerator, self.codes, self.program.graph.batch)
        if not equal(found, graph_outputs(self.program.graph, self.codes)):
            raise CodesignError(
                f"{self.program.name!r} gives wrong results in RTL: `codesign check` tells where"
            )


@contextmanager
def workload(make: Make, arch: Arch) -> Iterator[Workload]:
    """The network that ``make`` returns, calibrated on its example input and compiled."""
    model, example = make()
    values = example.numpy()
    graph = quantize_module(model, values, name=make.__name__)
    program = compile_graph(graph, arch, seed=SEED)
    with saved(program, encode(program, values)) as work:
        yield work


@contextmanager
def saved(program: Program, codes: Codes) -> Iterator[Workload]:
    """A program with inputs, in a file for as long as it takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.prog"
        program.save(path)
        yield Workload(program, path, codes)
