"""Finalists: designs of the front that are compiled, and whose RTL gives the same bits.

What verifies a program needs the hardware's packages, which this one does not import: the command
line hands it in.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from codesign import boards, ir
from codesign.arch import Arch
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.cost.energy_events import predicted_energy
from codesign.errors import CodesignError, ExplorationError
from codesign.explore import hardware
from codesign.explore.accuracy import Evaluator, weights_of, with_weights
from codesign.explore.archive import Archive, Design
from codesign.explore.cache import Cache, write_arrays
from codesign.explore.evaluation import accuracy_key
from codesign.explore.hardware_search import spread
from codesign.explore.models import Task
from codesign.explore.networks import arguments_of
from codesign.explore.problem import Problem
from codesign.explore.scale import Scale
from codesign.explore.store import DESIGN, PROBLEM, Store
from codesign.frontend import network as net
from codesign.quant.accuracy import accuracy as share_right
from codesign.quant.execute import run as run_float
from codesign.quant.fast import evaluate
from codesign.quant.values import Coding
from codesign.report import files
from codesign.report.explain import explain
from codesign.report.run import layer_rows
from codesign.report.trace import Execution

IMAGES = 8
"""Test images that each finalist runs through the RTL."""
MEASURED = 1000
"""Test images that the float network's accuracy is counted on, at most."""
_SPARE = 3
"""So many more designs than are asked for are tried where some do not compile."""
_CANDIDATES = 64
ARCH, PROGRAM, WEIGHTS = "arch.yaml", "design.prog", "weights.npz"
INPUTS = "inputs.npy"
Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Verified:
    """What running a program on the RTL gave: cycles of an inference, whether all outputs were the
    graph reference's, and when each instruction ran."""

    cycles: int
    bit_exact: bool
    execution: Execution


Verify = Callable[[Program, Path, Codes], Verified]
"""Runs a program (its file, too) on input codes [K, C, H, W]."""
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Finalist:
    """A design that was compiled: its folder, and what ``design.json`` tells."""

    number: int
    folder: Path
    document: dict[str, Any]

    @property
    def bit_exact(self) -> bool:
        return bool(self.document["bit_exact"])


class Finals:
    """Compiles and verifies designs of a sweep."""

    def __init__(
        self, problem: Problem, archive: Archive, scale: Scale, store: Store, verify: Verify
    ) -> None:
        self._problem, self._archive, self._scale = problem, archive, scale
        self._store, self._verify = store, verify
        self._evaluator = Evaluator(problem)

    def run(self, count: int, say: Say) -> list[Finalist]:
        """Verify ``count`` designs of the front, as different as they can be.

        A design that the compiler refuses, though the closed form let it pass, is told and another
        one taken.
        """
        found: list[Finalist] = []
        for design in self._order(count + _SPARE):
            if len(found) == count:
                break
            try:
                found.append(self.finish(design, say))
            except CodesignError as error:
                say(f"design {design.number} is no finalist: {error}")
        return found

    def finish(self, design: Design, say: Say) -> Finalist:
        """Compile and verify one design, and write its folder.

        Raises
        ------
        CodesignError
            It does not compile.
        """
        say(f"design {design.number}: compiling")
        (choice,) = self._archive.space.decode(design.point[None])
        network, weights = self._network(design, choice)
        graph = self._evaluator.quantized(choice, network)
        arch = hardware.architecture(
            self._problem.base, choice, f"{self._problem.name}_{design.number}"
        )
        program = compile_graph(graph, arch, seed=self._problem.search.seed)
        folder = self._store.design(design.number)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / PROGRAM
        program.save(path)
        base = self._evaluator.base(arguments_of(choice))
        images = base.data.test_images[:IMAGES]
        say(f"design {design.number}: running in RTL simulation")
        verified = self._verify(program, path, encoded(graph, images))
        tested = {
            "float": self._float_accuracy(network, design, choice),
            "validation": self._archive.networks[design.identity].best,
            "test": evaluate(graph, base.data.test_images, base.data.test_labels),
        }
        document = self._document(design, choice, program, verified, tested)
        files.write_text(folder / ARCH, arch_text(arch))
        files.write_bytes(folder / WEIGHTS, write_arrays(weights))
        write_array(folder / INPUTS, images)
        files.write_json(folder / DESIGN, document)
        return Finalist(design.number, folder, document)

    def _order(self, count: int) -> Iterator[Design]:
        """Designs of the front, each the one that adds most hypervolume to those before."""
        front = self._archive.front()
        if not front:
            raise ExplorationError("the sweep has no front: there is no design to verify")
        values = self._scale.share(self._archive.minimised(front))
        rows = spread(values, _CANDIDATES).tolist()
        chosen: list[int] = []
        while rows and len(chosen) < count:
            whole = [
                self._scale.hypervolume(self._archive.minimised([front[i] for i in (*chosen, row)]))
                for row in rows
            ]
            chosen.append(rows.pop(int(np.argmax(whole))))
            yield front[chosen[-1]]

    def _network(
        self, design: Design, choice: dict[str, Any]
    ) -> tuple[net.Network, dict[str, npt.NDArray[np.float32]]]:
        """The design's float network as it was evaluated, and its weights."""
        known = self._archive.networks[design.identity]
        network = self._evaluator.pruned(choice)
        if known.steps:
            task = Task(design.identity, choice, known.steps)
            kept = self._cached(self._store.cache, task)
            network = with_weights(network, kept)
        return network, weights_of(network)

    def _cached(self, cache: Cache, task: Task) -> dict[str, npt.NDArray[Any]]:
        found = cache.arrays(accuracy_key(task))
        if not found:  # the folder's cache was removed: train it again
            result = self._evaluator(task)
            found = dict(result.weights or {})
        return found

    def _float_accuracy(
        self, network: net.Network, design: Design, choice: dict[str, Any]
    ) -> float:
        base = self._evaluator.base(arguments_of(choice))
        images, labels = base.data.test_images[:MEASURED], base.data.test_labels[:MEASURED]
        (logits,) = run_float(network, images).values()
        return share_right(logits, labels)

    def _document(
        self,
        design: Design,
        choice: dict[str, Any],
        program: Program,
        verified: Verified,
        tested: dict[str, float],
    ) -> dict[str, Any]:
        values = self._archive.values(design)
        energy, board = predicted_energy(program), boards.board(program.arch.board)
        parts = ("compute", "on_chip", "dram", "static", "total")
        return {
            "id": design.number,
            "choice": choice,
            "arch": program.arch.to_dict(),
            "values": self._archive.known(design),
            "fidelity": self._archive.networks[design.identity].fidelity,
            "accuracy": tested,
            "cycles": {
                "predicted_closed_form": int(values["cycles"]),
                "predicted_exact": program.predicted_cycles,
                "simulated_rtl": verified.cycles,
            },
            "bit_exact": verified.bit_exact,
            "images": IMAGES,
            "energy_uj": energy
            and {part: getattr(energy, f"{part}_uj") for part in parts} | {"word": "modelled"},
            "resources": {name: values[name] for name in ("lut", "ff", "dsp", "ramb36", "uram")}
            | {"word": "predicted"},
            "board": {
                "name": board.name,
                "limits": dataclasses.asdict(board.part.resources),
            },
            "layers": layers(program, verified.execution),
            "layers_word": "simulated",
            "rebuild": self._commands(design.number, board.name),
        }

    def _commands(self, number: int, board: str) -> list[str]:
        """What makes the design again, and what builds on it."""
        folder = self._store.design(number)
        return [
            f"codesign explore {self._problem.path or self._store.folder / PROBLEM} "
            f"-o {self._store.folder} --design {number}",
            f"codesign check {folder / PROGRAM} --inputs {folder / INPUTS}",
            f"codesign run {folder / PROGRAM} --inputs {folder / INPUTS} --device rtl",
            f"codesign overlay --board {board} --arch {folder / ARCH} -o build/overlays/{number} "
            "--build",
        ]


def layers(program: Program, execution: Execution) -> list[dict[str, Any]]:
    """Of each layer: when it ran (from the last tap of the layer before to its own), what its
    cycles went to, and the bytes that it moved."""
    about = {layer["name"]: layer for layer in explain(program)["layers"]}
    peak, found, end = program.arch.macs_per_cycle, [], 0
    for row in layer_rows(program, execution):
        at = about[row["name"]]
        begin, end = end, end + row["cycles"]
        found.append({
            "name": row["name"],
            "op": row["op"],
            "start": begin,
            "end": end,
            "cycles": row["cycles"],
            "macs": row["macs"],
            "compute_cycles": at["compute_cycles"],
            "dram_bytes": at["dram_read_bytes"] + at["dram_write_bytes"],
            "dram_read_bytes": at["dram_read_bytes"],
            "dram_write_bytes": at["dram_write_bytes"],
            "bound": at["limit"],
            "utilization": row["macs"] / (row["cycles"] * peak) if row["cycles"] else 0.0,
        })  # fmt: skip
    return found


def arch_text(arch: Arch) -> str:
    """An architecture as the YAML that ``codesign.arch_file`` reads."""
    text: str = yaml.safe_dump(arch.to_dict(), sort_keys=False)
    return text


def encoded(graph: ir.Graph, images: npt.NDArray[np.float32]) -> Codes:
    """Input codes of a graph with one input."""
    tensor = graph.tensors[graph.inputs[0]]
    return Coding(tensor.scale, tensor.zero_point).encode(images).reshape(-1, *tensor.shape)


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """An .npy file, complete or not there."""
    file = io.BytesIO()
    np.save(file, array)
    files.write_bytes(path, file.getvalue())


def wrong(finalists: Sequence[Finalist]) -> list[int]:
    """Numbers of those whose RTL differs from the reference: these are no results."""
    return [at.number for at in finalists if not at.bit_exact]
