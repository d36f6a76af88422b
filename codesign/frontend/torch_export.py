"""torch.export programs -> float network (``codesign.frontend.network``).

A program is first decomposed to core ATen, so that one set of operators covers what users write;
then each node is converted by ``codesign.frontend.torch_convert``.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind

from codesign.errors import GraphError
from codesign.frontend.network import Network, verify
from codesign.frontend.torch_convert import Converter


def from_module(
    module: torch.nn.Module, example_input: torch.Tensor, name: str | None = None
) -> Network:
    """The float network of a module that takes one batch of maps [B, C, H, W] or vectors [B, F].

    The module is exported as in evaluation (on a copy: its own mode and weights stay as they are).

    Raises
    ------
    UnsupportedOpError
        The module holds an operation that no unit can execute; the message names its place.
    """
    module = copy.deepcopy(module).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", category=FutureWarning, module="copyreg"
        )  # torch's own use of pytree
        warnings.filterwarnings(
            "ignore", "Using padding='same'"
        )  # the copy it warns of is folded away here
        program = torch.export.export(module, (example_input,))
    return from_exported(program, name or type(module).__name__)


def from_exported(program: torch.export.ExportedProgram, name: str = "network") -> Network:
    """The float network of an exported program with one input; see ``from_module``."""
    changed = [
        spec
        for spec in program.graph_signature.output_specs
        if spec.kind is not OutputKind.USER_OUTPUT
    ]
    if changed:
        raise GraphError(
            f"network {name!r} changes {changed[0].target!r} while it runs; "
            "export it in evaluation mode (model.eval())"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
        program = program.run_decompositions()
    inputs = [
        s.arg.name for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT
    ]
    if len(inputs) != 1:
        raise GraphError(
            f"network {name!r} has {len(inputs)} inputs {inputs}; exactly one is accepted"
        )
    converter = Converter(program.graph.nodes, _constants(program), inputs[0])
    for node in program.graph.nodes:
        converter.convert(node)
    network = converter.network(name)
    verify(network)
    return network


def load_program(path: Path) -> torch.export.ExportedProgram:
    """The program in a ``.pt2`` file, as ``torch.export.save`` writes it."""
    return torch.export.load(path)


def _constants(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """Parameters, buffers and constants by the name of their placeholder."""
    values: dict[str, Any] = {**program.constants, **program.state_dict}
    return {
        spec.arg.name: values[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.kind is not InputKind.USER_INPUT and spec.target in values
    }
