"""torch.export programs -> float network (``codesign.frontend.network``).

A program is first decomposed to core ATen, so that one set of operators covers what users write;
then each node is converted by ``codesign.frontend.torch_convert``.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
import zipfile
from collections.abc import Iterator
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

    The module is exported as ``export_module`` does.

    Raises
    ------
    UnsupportedOpError
        The module holds an operation that no unit can execute; the message names its place.
    """
    name = name or type(module).__name__
    return from_exported(export_module(module, example_input, name), name)


def export_module(
    module: torch.nn.Module, example_input: torch.Tensor, name: str
) -> torch.export.ExportedProgram:
    """The module's program as in evaluation (of a copy: its own mode and weights stay as they are).

    Raises
    ------
    GraphError
        torch.export cannot trace it.
    """
    if not isinstance(module, torch.nn.Module) or not isinstance(example_input, torch.Tensor):
        raise TypeError(
            f"a torch module and a tensor are needed, not {type(module).__name__} and "
            f"{type(example_input).__name__}"
        )
    module = copy.deepcopy(module).eval()
    try:
        with _quiet():
            return torch.export.export(module, (example_input,))
    except RuntimeError as error:  # as torch.export's own errors are
        reason = str(error).strip().partition("\n")[0]
        raise GraphError(f"torch.export cannot trace network {name!r}: {reason}") from error


def from_exported(program: torch.export.ExportedProgram, name: str = "network") -> Network:
    """The float network of an exported program with one input; see ``from_module``."""
    program = decomposed(program)
    signature = program.graph_signature
    inputs = [spec.arg.name for spec in signature.input_specs if spec.kind is InputKind.USER_INPUT]
    if len(inputs) != 1:
        raise GraphError(f"network {name!r} has {len(inputs)} inputs {inputs}; one is accepted")
    kinds = [spec.kind for spec in signature.output_specs]
    returned = [index for index, kind in enumerate(kinds) if kind is OutputKind.USER_OUTPUT]
    converter = Converter(program.graph.nodes, placeholders(program), inputs[0], returned)
    for node in program.graph.nodes:
        converter.convert(node)
    changed = [s for s in signature.output_specs if s.kind is OutputKind.BUFFER_MUTATION]
    if changed:
        raise GraphError(
            f"network {name!r} changes {changed[0].target!r} while it runs; keep no state in it"
        )
    network = converter.network(name)
    verify(network)
    return network


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program in core ATen, whose nodes name the network's tensors."""
    with _quiet():
        found: torch.export.ExportedProgram = program.run_decompositions()
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings of its own use of pytree, and of a copy that is folded away here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        warnings.filterwarnings("ignore", "Using padding='same'", UserWarning)
        yield


def load_program(path: Path) -> torch.export.ExportedProgram:
    """The program in a ``.pt2`` file, as ``torch.export.save`` writes it.

    Raises
    ------
    GraphError
        The file is something else, or of a version that this torch cannot read.
    """
    if not _is_program(path):
        raise GraphError(f"{path} holds no exported program; write it with torch.export.save")
    try:
        with _quiet():
            return torch.export.load(path)
    except (RuntimeError, ValueError, AssertionError, KeyError) as error:
        raise GraphError(
            f"torch {torch.__version__} cannot load {path}; save it again with this version"
        ) from error


def _is_program(path: Path) -> bool:
    """Whether the file is an archive with a program in it, as torch lays it out."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/archive_format") for name in archive.namelist())


def placeholders(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """Parameters, buffers and constants by the name of their placeholder."""
    values: dict[str, Any] = {**program.constants, **program.state_dict}
    return {
        spec.arg.name: values[spec.target]
        for spec in program.graph_signature.input_specs
        if spec.kind is not InputKind.USER_INPUT and spec.target in values
    }
