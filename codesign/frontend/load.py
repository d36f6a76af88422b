"""What a user names on the command line: a network and the data that calibrates it."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import GraphError
from codesign.frontend.network import Network

FORMS = "a .pt2 file of torch.export.save, or module:function that returns (model, example_input)"
RANDOM_SAMPLES = 64


class CalibrationWarning(UserWarning):
    """Ranges come from data that the network was not made for."""


def load_network(model: str) -> Network:
    """The float network of a MODEL argument: a saved program (``.pt2``) or ``module:function``.

    Modules are found as Python finds them, and in the current directory.

    Raises
    ------
    ValueError
        The argument has neither form, or the module lacks the function.
    FileNotFoundError, ModuleNotFoundError
        There is no such file or module.
    GraphError, UnsupportedOpError
        The file or function holds something else, or a network beyond the accelerator.
    """
    if model.endswith(".pt2"):
        return _from_file(Path(model))
    module, separator, function = model.partition(":")
    if not separator or not _is_dotted(module) or not _is_dotted(function):
        raise ValueError(f"model {model!r} is neither form of a network: {FORMS}")
    return _from_function(module, function)


def calibration_data(
    network: Network, path: Path | None = None, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Inputs [K, C, H, W] from a ``.npy`` file, or without one random ones and a warning.

    The random inputs are standard normal: right for inputs normalised to mean 0 and deviation 1.

    Raises
    ------
    ValueError
        The file's array is not real, not finite, or not of the network's shape.
    """
    shape = network.shapes[network.inputs[0]]
    if path is None:
        warnings.warn(
            f"no calibration data given: ranges come from {RANDOM_SAMPLES} random inputs of seed "
            f"{seed} and will not fit a trained network; give inputs as a .npy file [K, C, H, W]",
            CalibrationWarning,
            stacklevel=2,
        )
        generator = np.random.default_rng(seed)
        return generator.standard_normal((RANDOM_SAMPLES, *shape)).astype(np.float32)
    data = np.load(path, allow_pickle=False)
    if not isinstance(data, np.ndarray) or not np.issubdtype(data.dtype, np.floating):
        kind = getattr(data, "dtype", "an archive")
        raise ValueError(f"calibration {path} holds {kind}; one floating-point array is needed")
    if data.ndim == 2 and shape[1:] == (1, 1):
        data = data[:, :, None, None]
    if data.shape[1:] != shape or not len(data):
        wanted = ", ".join(str(extent) for extent in ("K", *shape))
        raise ValueError(f"calibration {path} has shape {data.shape}; the network takes [{wanted}]")
    if not np.isfinite(data).all():
        raise ValueError(f"calibration {path} has values that are not finite; remove those samples")
    return np.ascontiguousarray(data, np.float32)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _from_file(path: Path) -> Network:
    from codesign.frontend import torch_export

    if not path.is_file():
        raise FileNotFoundError(f"model file {path} does not exist; MODEL is {FORMS}")
    return torch_export.from_exported(torch_export.load_program(path), path.stem)


def _from_function(module: str, function: str) -> Network:
    from codesign.frontend import torch_export

    value: Any = _import(module)
    for part in function.split("."):
        if not hasattr(value, part):
            raise ValueError(f"module {module!r} has no {function!r}; MODEL is {FORMS}")
        value = getattr(value, part)
    if not callable(value):
        raise ValueError(f"{module}:{function} is {type(value).__name__}; MODEL is {FORMS}")
    result = value()
    if not isinstance(result, tuple) or len(result) != 2:
        raise GraphError(
            f"{module}:{function} returned {type(result).__name__}; return (model, example_input)"
        )
    return torch_export.from_module(*result, name=function.rpartition(".")[2])


def _import(module: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(here)
