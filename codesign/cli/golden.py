"""What `codesign compare` compares: a quantised graph, and the framework's tensors by its names."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from codesign.artifact import HostStep
from codesign.cli.console import console
from codesign.cli.model import (
    existing,
    is_quantized,
    load_exported,
    load_model,
    load_onnx_graph,
    load_quantized,
)
from codesign.cli.options import load_array
from codesign.cli.session import Codes
from codesign.frontend.ends import host_steps
from codesign.frontend.network import Network
from codesign.ir import Graph, Tensor
from codesign.quant.quantize import quantize_network
from codesign.quant.values import Coding

if TYPE_CHECKING:
    from codesign.frontend.tflite import Imported

ONNX_RUNTIME, TORCH = "onnxruntime", "torch"
FRAMEWORKS = (ONNX_RUNTIME, TORCH)
Array = npt.NDArray[Any]
Golden = Mapping[str, Array]
_UINT8_OFFSET = 128


@dataclass(frozen=True)
class Layer:
    """A layer's result: a tensor of the graph, and the names it may have in the framework.

    ``is_computed``: the layer makes it, and does not only pass it on.
    """

    name: str
    tensor: str
    keys: tuple[str, ...]
    is_computed: bool = True


@dataclass(frozen=True, eq=False)
class Subject:
    """A model as a graph. ``codes`` turns the framework's array of a tensor into int8 maps
    [K, C, H, W]; ``is_float``: the model brought no scales of its own.
    """

    graph: Graph
    host_steps: tuple[HostStep, ...]
    layers: tuple[Layer, ...]
    input_keys: tuple[str, ...]
    codes: Callable[[str, Array], Codes]
    is_float: bool = False


def load_golden(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file; ``ValueError`` where it is none or has no inputs."""
    if not path.is_file():
        raise ValueError(
            f"no file is called {str(path)!r}; give a file, or one of {', '.join(FRAMEWORKS)}"
        )
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = dict(found)
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{str(path)!r} is no .npz file ({error}); save it with numpy.savez"
        ) from error
    if "inputs" not in arrays:
        raise ValueError(f"{str(path)!r} has no array 'inputs'; it has {sorted(arrays)}")
    return arrays


def load_subject(model: str, samples: Array, seed: int) -> Subject:
    """MODEL; ``samples`` calibrate what is not quantised."""
    if model.endswith(".tflite"):
        return tflite_subject(load_quantized(model))
    if is_quantized(model):
        return qdq_subject(model, samples)
    return network_subject(model, seed, samples)


@dataclass(frozen=True, eq=False)
class Framework:
    """What computes a model's every tensor: ``run`` takes inputs [K, *extents] of ``input_type``, K
    a multiple of ``batch``.
    """

    extents: tuple[int, ...]
    batch: int
    input_type: np.dtype[Any]
    run: Callable[[Array], dict[str, Array]]


def framework(golden: str, model: str, seed: int) -> Framework:
    """ONNX Runtime or torch, for MODEL.

    Raises
    ------
    ValueError
        MODEL is not the framework's.
    CodesignError
        The model cannot be read.
    """
    is_onnx = model.endswith(".onnx")
    if model.endswith(".tflite") or is_onnx != (golden == ONNX_RUNTIME):
        kind = ".onnx files" if golden == ONNX_RUNTIME else ".pt2 files and `module:function`"
        raise ValueError(f"{golden} computes {kind}, {model!r} is none; give --golden FILE.npz")
    if is_onnx:
        return _onnx_runtime(model)
    return _torch(model, seed)


def _onnx_runtime(model: str) -> Framework:
    from codesign.frontend.onnx_file import read_model
    from codesign.frontend.onnx_golden import tensors

    file = read_model(existing(model))
    return Framework(file.extents, file.batch, file.input_type, partial(tensors, model))


def _torch(model: str, seed: int) -> Framework:
    from codesign.frontend.torch_golden import input_extents, tensors

    program = load_exported(model, seed).program
    batch, *extents = input_extents(program)
    return Framework(tuple(extents), batch, np.dtype(np.float32), partial(tensors, program))


def choose_inputs(
    source: Framework, inputs: Path | None, calibration: Array | None, samples: int, seed: int
) -> Array:
    """Inputs of the file ``inputs``, else of ``calibration``, else random: ``samples`` at most, but
    whole batches; ``ValueError`` where they do not fit.
    """
    count = max(samples // source.batch, 1) * source.batch
    given = load_array(inputs) if inputs else calibration
    if given is None:
        console.print("Comparing on random inputs: give --golden-inputs for the network's own.")
        return _random(source, count, seed)
    count = min(count, len(given) - len(given) % source.batch) if given.ndim else 0
    if not count or given.shape[1:] != source.extents:
        wanted = ", ".join(map(str, source.extents))
        raise ValueError(f"inputs have shape {given.shape}; the model takes (samples, {wanted})")
    return given[:count].astype(source.input_type)


def _random(source: Framework, count: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    if source.input_type.kind in "iu":
        limits = np.iinfo(source.input_type)
        codes = random.integers(limits.min, limits.max + 1, (count, *source.extents))
        return codes.astype(source.input_type)
    return random.standard_normal((count, *source.extents)).astype(np.float32)


def tflite_subject(imported: Imported) -> Subject:
    """A ``.tflite`` file; arrays are called ``layer_NN_OP``, in the order NHWC."""
    layers = []
    for op in imported.operators:
        name = f"layer_{op.index:02d}_{op.kind}"
        for number, tensor in enumerate(op.results):
            keys = (f"{name}_{number}", name) if number == 0 else (f"{name}_{number}",)
            layers.append(Layer(keys[-1], tensor, keys, bool(op.ops)))
    return Subject(imported.graph, imported.host_steps, tuple(layers), (), imported.codes)


def network_subject(model: str, seed: int, calibration: Array) -> Subject:
    """A float model: an ``.onnx`` file, a ``.pt2`` file or ``module:function``.

    Arrays are called as ONNX's tensors; for torch, as modules, or as the nodes of torch.export.
    """
    network = load_model(model, seed).network
    graph = quantize_network(network, calibration.astype(np.float32))
    return _subject(graph, host_steps(network, graph), _names(model, network), is_float=True)


def _names(model: str, network: Network) -> dict[str, tuple[str, ...]]:
    """What the framework calls the network's tensors."""
    if model.endswith(".onnx"):
        from codesign.frontend.onnx import float_names
        from codesign.frontend.onnx_file import read_model

        return float_names(read_model(model), network.shapes)
    made = {op.y: (op.name, op.y) for op in network.ops}
    return {**made, **{name: (name,) for name in network.inputs}}


def qdq_subject(model: str, calibration: Array) -> Subject:
    """A quantised ``.onnx`` file; arrays are called as its tensors."""
    imported = load_onnx_graph(model, calibration=calibration.astype(np.float32))
    return _subject(imported.graph, imported.host_steps, imported.names, is_float=False)


def _subject(
    graph: Graph,
    steps: tuple[HostStep, ...],
    names: Mapping[str, tuple[str, ...]],
    is_float: bool,
) -> Subject:
    layers = tuple(Layer(op.name, op.y, names[op.y]) for op in graph.ops if op.y in names)

    def codes(tensor: str, values: Array) -> Codes:
        return encoded(graph.tensors[tensor], values)

    inputs = names.get(graph.inputs[0], ())
    return Subject(graph, steps, layers, inputs, codes, is_float)


def encoded(tensor: Tensor, values: Array) -> Codes:
    """[K, C, H, W] of a framework's array [K, ...]: real values are encoded, codes stay.

    Raises
    ------
    ValueError
        The array is neither of real values nor of int8 or uint8 codes, or has another size.
    """
    channels, height, width = tensor.shape
    if not values.ndim or values.size != len(values) * channels * height * width:
        raise ValueError(
            f"{tensor.name!r}: values of shape {values.shape} are given; "
            f"{(len(values) if values.ndim else 1, channels, height, width)} are needed"
        )
    maps = values.reshape(len(values), channels, height, width)
    if maps.dtype == np.int8:
        return maps
    if maps.dtype == np.uint8:
        return (maps.astype(np.int16) - _UINT8_OFFSET).astype(np.int8)
    if maps.dtype.kind != "f":
        raise ValueError(
            f"{tensor.name!r}: {maps.dtype} values are given; real values, int8 or uint8 codes are "
            "needed"
        )
    return Coding(tensor.scale, tensor.zero_point).encode(maps)
