"""MODEL on the command line: a TFLite or ONNX file, a saved ``torch.export`` program, or a function
that makes a model.

Frontends are imported where MODEL needs them: each takes a library that others can do without.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from codesign.artifact import HostStep
from codesign.cli.console import console
from codesign.errors import GraphError
from codesign.frontend.network import Network
from codesign.ir import Graph

if TYPE_CHECKING:
    import torch

    from codesign.frontend.onnx import Imported as OnnxImported
    from codesign.frontend.tflite import Imported
    from codesign.quant.calibrate import Method

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """A float network, and the example input [1, C, H, W] that came with it, if one did."""

    network: Network
    example: FloatArray | None


@dataclass(frozen=True, eq=False)
class Exported:
    """A torch program, its name, and the example input that came with it, if one did."""

    program: torch.export.ExportedProgram
    name: str
    example: FloatArray | None


def is_quantized(model: str) -> bool:
    """Whether MODEL is quantised already, and needs no calibration."""
    if model.endswith(".onnx"):
        from codesign.frontend.onnx_file import read_model

        return read_model(existing(model)).quantized
    return model.endswith(".tflite")


def load_graph(
    model: str, batch: int = 1, calibration: FloatArray | None = None, method: Method = "minmax"
) -> tuple[Graph, tuple[HostStep, ...]]:
    """MODEL, a quantised file, as a graph, and what the host does behind it; warnings are printed.

    Raises
    ------
    ValueError
        MODEL is no file of a known kind, or there is nothing to calibrate.
    CodesignError
        The network cannot be imported.
    """
    if model.endswith(".onnx"):
        found = load_onnx_graph(model, batch, calibration, method)
        if calibration is not None and not found.calibrated:
            raise already_quantized(model)
        return found.graph, found.host_steps
    if calibration is not None:
        raise already_quantized(model)
    imported = load_quantized(model, batch)
    return imported.graph, imported.host_steps


def load_onnx_graph(
    model: str, batch: int = 1, calibration: FloatArray | None = None, method: Method = "minmax"
) -> OnnxImported:
    """MODEL, a quantised ``.onnx`` file; ``calibration`` is for what it leaves unquantised."""
    from codesign.frontend.onnx import CalibratedWarning, ClampedWeightsWarning, load_qdq

    with _printed(ClampedWeightsWarning, CalibratedWarning):
        return load_qdq(existing(model), batch, calibration, method)


def already_quantized(model: str) -> ValueError:
    return ValueError(f"{model!r} is quantised already; leave out --calibration")


def load_quantized(model: str, batch: int = 1) -> Imported:
    """MODEL, a ``.tflite`` file, as a quantised graph; warnings are printed.

    Raises
    ------
    ValueError
        MODEL is no ``.tflite`` file.
    CodesignError
        The network cannot be imported.
    """
    if not model.endswith(".tflite"):
        raise ValueError(f"MODEL {model!r} is no .tflite file")
    path = existing(model)
    from codesign.frontend.tflite import ClampedWeightsWarning, load_tflite

    with _printed(ClampedWeightsWarning):
        return load_tflite(path, batch)


def existing(model: str) -> Path:
    """The file MODEL; ``ValueError`` where there is none."""
    if not Path(model).is_file():
        raise ValueError(f"no file is called {model!r}")
    return Path(model)


@contextlib.contextmanager
def _printed(*categories: type[Warning]) -> Iterator[None]:
    """Print warnings of some categories rather than raise or show them."""
    with warnings.catch_warnings(record=True) as caught:
        for category in categories:
            warnings.simplefilter("always", category)
        yield
    for warning in caught:
        console.print(f"Warning: {warning.message}")


def load_model(model: str, seed: int) -> Model:
    """MODEL as a float network; torch's generator is seeded before a function is called.

    Raises
    ------
    ValueError
        MODEL is neither a ``.pt2`` or ``.onnx`` file nor ``module:function``.
    CodesignError
        The network cannot be converted.
    """
    if model.endswith(".onnx"):
        from codesign.frontend.onnx import load_onnx

        return Model(load_onnx(existing(model)), None)
    exported = load_exported(model, seed)
    from codesign.frontend.torch_export import from_exported

    with _printed(UserWarning):  # torch's, about the network; an error says more than they do
        network = from_exported(exported.program, exported.name)
    return Model(network, exported.example)


def load_exported(model: str, seed: int) -> Exported:
    """MODEL, a ``.pt2`` file or ``module:function``, as a program; raises as ``load_model``."""
    if model.endswith(".pt2"):
        from codesign.frontend.torch_export import load_program

        path = existing(model)
        program = load_program(path)
        example = program.example_inputs[0][0] if program.example_inputs else None
        return Exported(program, path.stem, None if example is None else _array(example))
    module, colon, function = model.partition(":")
    if not colon:
        raise ValueError(
            f"MODEL {model!r} is neither a .pt2 file (torch.export.save) nor `module:function`, "
            "nor a .tflite or .onnx file"
        )
    return _from_function(module, function, seed)


def _from_function(module: str, function: str, seed: int) -> Exported:
    import torch

    from codesign.frontend.torch_export import export_module

    make = getattr(_import(module), function, None)
    if not callable(make):
        raise ValueError(f"module {module!r} has no function {function!r}")
    torch.manual_seed(seed)
    try:
        made = make()
    except Exception as error:
        raise _raised(f"{module}:{function}", error) from error
    try:
        network, example = made
    except (TypeError, ValueError):
        network = example = None
    if not isinstance(network, torch.nn.Module) or not isinstance(example, torch.Tensor):
        raise GraphError(
            f"{module}:{function} returns {type(made).__name__}; "
            "return (torch.nn.Module, example input tensor)"
        )
    with _printed(UserWarning):
        program = export_module(network, example, function)
    return Exported(program, function, _array(example))


def _import(module: str) -> ModuleType:
    """The user's module, from the folder that the command runs in or an installed one."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise ValueError(f"module {module!r} cannot be imported from here: {error}") from error
        raise _raised(f"module {module!r}", error) from error
    except Exception as error:
        raise _raised(f"module {module!r}", error) from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def _raised(where: str, error: Exception) -> ValueError:
    """What the user's own code raised, in a line."""
    return ValueError(
        f"{where} raised {type(error).__name__}: {error}; "
        "`codesign --debug compile ...` shows where"
    )


def _array(example: torch.Tensor) -> FloatArray:
    values: FloatArray = example.detach().float().numpy()
    return values
