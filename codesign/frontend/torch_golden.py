"""Every tensor of a torch program as torch computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.export.graph_signature import InputKind
from torch.fx import Interpreter, Node

from codesign.errors import GraphError
from codesign.frontend.torch_export import decomposed, placeholders


class _Recorder(Interpreter):
    """Keeps what each node makes."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.found: dict[str, npt.NDArray[Any]] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        first = value[0] if isinstance(value, tuple) and value else value
        if n.op == "call_function" and isinstance(first, torch.Tensor):
            self.found[n.name] = first.detach().numpy().copy()
        return value


def tensors(
    program: torch.export.ExportedProgram, inputs: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays [K, ...] of what each node makes of K inputs, by the names of the network's tensors.

    Raises
    ------
    GraphError
        The program has not one input of known shape, or K is no multiple of its batch.
    """
    batch = input_extents(program)[0]
    if len(inputs) % batch:
        raise GraphError(f"the program takes {batch} samples at once; give a multiple of that")
    program = decomposed(program)
    specs = program.graph_signature.input_specs
    source = _source(program)
    known = placeholders(program)
    parts: list[dict[str, npt.NDArray[Any]]] = []
    with torch.no_grad():
        for first in range(0, len(inputs), batch):
            part = torch.from_numpy(inputs[first : first + batch])
            given = [part if spec.arg.name == source else known[spec.arg.name] for spec in specs]
            recorder = _Recorder(program.graph_module)
            recorder.run(*given)
            parts.append(recorder.found)
    return {
        name: np.concatenate([part[name] for part in parts])
        for name, value in parts[0].items()
        if value.ndim and len(value) == batch
    }


def input_extents(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """The shape of the program's one input, an open batch being 1; ``GraphError`` where it has
    several, or another extent is open.
    """
    source = _source(program)
    (node,) = [node for node in program.graph.nodes if node.name == source]
    batch, *extents = node.meta["val"].shape
    if not all(isinstance(extent, int) for extent in extents):
        raise GraphError(f"input {source!r} has the dynamic shape {list(extents)} behind its batch")
    return (batch if isinstance(batch, int) else 1, *extents)


def _source(program: torch.export.ExportedProgram) -> str:
    specs = program.graph_signature.input_specs
    inputs = [spec.arg.name for spec in specs if spec.kind is InputKind.USER_INPUT]
    if len(inputs) != 1:
        raise GraphError(f"the program has {len(inputs)} inputs {inputs}; one is accepted")
    return str(inputs[0])
