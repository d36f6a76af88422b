"""`codesign compile`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import HostStep
from codesign.cli.console import console
from codesign.cli.model import FloatArray, Model, is_quantized, load_graph, load_model
from codesign.cli.options import EXISTING_FILE, FILE, arch_option, load_array, seed_option
from codesign.compiler import compile as compile_graph
from codesign.cost import energy_file
from codesign.frontend.ends import host_steps
from codesign.quant.calibrate import METHODS, Method
from codesign.quant.quantize import quantize_network
from codesign.report.run import latency_ms

RANDOM_SAMPLES = 16


@click.command()
@click.argument("model")
@arch_option()
@click.option("-o", "--output", type=FILE, required=True, help="The program file to write.")
@click.option(
    "--calibration", type=EXISTING_FILE,
    help="Typical inputs [K, C, H, W] as .npy: they set the ranges of the int8 values.",
)  # fmt: skip
@click.option("--method", type=click.Choice(METHODS), default="minmax", show_default=True,
              help="How calibration chooses a range.")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True,
              help="Samples of one inference.")  # fmt: skip
@seed_option()
@click.option("--energy", type=EXISTING_FILE,
              help="The board's energy coefficients, such as `calibrate` writes.")  # fmt: skip
@click.option("--keep-tensors", is_flag=True,
              help="Save every layer's result to DRAM, for debugging: slower.")  # fmt: skip
def command(
    model: str,
    arch: Arch,
    output: Path,
    calibration: Path | None,
    method: Method,
    batch: int,
    seed: int,
    energy: Path | None,
    keep_tensors: bool,
) -> None:
    """Quantise MODEL to int8 and compile it for an architecture.

    MODEL is a `.pt2` file that torch.export.save wrote, or `module:function`: a function without
    arguments that returns (torch.nn.Module, example input). A `.onnx` file is a float model, or a
    quantised one: QDQ, or QONNX of Brevitas. Of those and `.tflite` files, which are quantised
    already, weights and scales are taken as they are; --calibration is for results that an `.onnx`
    file leaves unquantised.

    \b
    Examples:
      codesign compile net.pt2 --arch pynq_z2 --calibration images.npy -o net.prog
      codesign compile codesign.zoo.resnet8:resnet8 --arch pynq_z2 -o resnet8.prog
      codesign compile model.tflite --arch pynq_z2 -o model.prog
      codesign compile model.onnx --arch pynq_z2 --calibration images.npy -o model.prog
      codesign compile mine:network --arch board.yaml --batch 4 -o mine.prog
    """
    graph, steps = _graph(model, calibration, method, batch, seed)
    coefficients = energy_file.find(arch.board, energy)
    if energy and coefficients is None:
        raise ValueError(f"{str(energy)!r} has no board {arch.board!r}, which {arch.name!r} is for")
    program = compile_graph(graph, arch, seed=seed, keep_tensors=keep_tensors, energy=coefficients)
    program = dataclasses.replace(program, host_steps=steps)
    output.parent.mkdir(parents=True, exist_ok=True)
    program.save(output)
    milliseconds = latency_ms(program.predicted_cycles, arch.clock_mhz)
    console.print(
        f"{output}: {len(graph.ops)} layers for {arch.name}, {program.predicted_cycles:,} cycles "
        f"({milliseconds:.4f} ms at {arch.clock_mhz:g} MHz) predicted for a batch of {batch}"
    )


def _graph(
    model: str, calibration: Path | None, method: Method, batch: int, seed: int
) -> tuple[ir.Graph, tuple[HostStep, ...]]:
    """MODEL quantised, and what the host does behind it."""
    given = None
    if calibration:
        given = _real(load_array(calibration), str(calibration)).astype(np.float32)
    if is_quantized(model):
        return load_graph(model, batch, given, method)
    loaded = load_model(model, seed)
    samples = _substitute(loaded, seed) if given is None else given
    graph = quantize_network(loaded.network, samples, batch, method)
    return graph, host_steps(loaded.network, graph)


def _real(samples: npt.NDArray[Any], path: str) -> npt.NDArray[Any]:
    """Calibration samples that can set a range."""
    if samples.dtype.kind not in "fiu":
        raise ValueError(f"{path!r} holds {samples.dtype}; calibrate with real numbers")
    if samples.size and not samples.any():
        console.print(f"Warning: {path} holds zeros alone: ranges will be of no use")
    return samples


def _substitute(model: Model, seed: int) -> FloatArray:
    """Inputs to calibrate with where the user gives none."""
    if model.example is not None and np.ptp(model.example) > 0:
        console.print(
            "Calibrating with the model's example input: give --calibration for accuracy."
        )
        return model.example
    console.print(
        "Calibrating with random inputs: cycles are right, but for accuracy give --calibration."
    )
    shape = model.network.shapes[model.network.inputs[0]]
    random = np.random.default_rng(seed)
    return random.standard_normal((RANDOM_SAMPLES, *shape)).astype(np.float32)
