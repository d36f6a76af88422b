"""`codesign compare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from rich.table import Table

from codesign import ir
from codesign.cli.console import console
from codesign.cli.golden import (
    FRAMEWORKS,
    Golden,
    Subject,
    choose_inputs,
    framework,
    load_golden,
    load_subject,
)
from codesign.cli.options import EXISTING_FILE, FILE, load_array, seed_option
from codesign.cli.session import EXIT_DIFFERENT, Codes, graph_outputs, graph_tensors
from codesign.reference import graph as graph_reference
from codesign.report import files

OUTPUTS = ("logits", "outputs")
"""Arrays of a golden file that the network's output is compared with: the first that is there."""
TOLERANCE = 2
"""Of quantised models, in LSB; the table alone speaks of float ones."""


@dataclass(frozen=True)
class Row:
    """Differences of one layer's codes, or of an output's, from the framework's, in LSB.

    ``mean_lsb`` is of the absolute values; ``ties`` counts differences of one LSB, ``beyond``
    larger ones. ``alone`` is the largest difference of the layer fed with the framework's own
    inputs: what it adds itself. None where not all of these are given.
    """

    layer: str
    place: str
    values: int
    max_lsb: int
    mean_lsb: float
    ties: int
    beyond: int
    alone: int | None


@click.command()
@click.argument("model")
@click.option("--golden", required=True, metavar=f"FILE.npz|{'|'.join(FRAMEWORKS)}",
              help="The framework's tensors by their names and `inputs`, as .npz; or the framework "
              "that computes them.")  # fmt: skip
@click.option("--golden-inputs", type=EXISTING_FILE,
              help="Inputs [K, ...] as .npy for the framework; else --calibration, else random "
              "ones.")  # fmt: skip
@click.option("--calibration", type=EXISTING_FILE,
              help="Typical inputs as .npy, for models that are not quantised; else the inputs "
              "that are compared.")  # fmt: skip
@click.option("--samples", type=click.IntRange(min=1), default=8, show_default=True,
              help="Inputs that the framework computes, at most.")  # fmt: skip
@seed_option()
@click.option("--tolerance", type=click.IntRange(min=0),
              help=f"The largest difference that is accepted, in LSB: {TOLERANCE} for quantised "
              "models, any for float ones where it is not given.")  # fmt: skip
@click.option("--json", "json_file", type=FILE, help="Where to write the figures as JSON.")
def command(
    model: str,
    golden: str,
    golden_inputs: Path | None,
    calibration: Path | None,
    samples: int,
    seed: int,
    tolerance: int | None,
    json_file: Path | None,
) -> int:
    """Compare MODEL, layer by layer, with the tensors of the framework that made it.

    MODEL is a `.tflite`, `.onnx` or `.pt2` file, or `module:function`, as for `compile`. The graph
    reference computes it; the accelerator equals the reference bit for bit (`codesign check`).

    Exit code: 0 all within the tolerance, 1 a difference beyond it, 2 anything else.

    \b
    Examples:
      codesign compare model.tflite --golden golden.npz --tolerance 2
      codesign compare model.onnx --golden onnxruntime --golden-inputs images.npy
      codesign compare net.pt2 --golden torch --calibration images.npy
    """
    given = load_array(calibration) if calibration else None
    if golden in FRAMEWORKS:
        source = framework(golden, model, seed)
        inputs = choose_inputs(source, golden_inputs, given, samples, seed)
        arrays = source.run(inputs)
    else:
        if golden_inputs:
            raise ValueError(
                f"--golden-inputs are for {' and '.join(FRAMEWORKS)}; a file has its own"
            )
        arrays = load_golden(Path(golden))
        inputs = arrays.pop("inputs")
    subject = load_subject(model, inputs if given is None else given, seed)
    rows = compare(subject, inputs, arrays)
    if tolerance is None and not subject.is_float:
        tolerance = TOLERANCE
    first = next((row for row in rows if tolerance is not None and row.max_lsb > tolerance), None)
    show(model, rows)
    if json_file:
        files.write_json(json_file, {
            "model": subject.graph.name,
            "tolerance": tolerance,
            "first_beyond": first.layer if first else None,
            "layers": [dataclasses.asdict(row) for row in rows],
        })  # fmt: skip
    if first:
        console.print(
            f"{first.layer} is the first beyond {tolerance} LSB: {first.max_lsb} at {first.place}"
        )
        return EXIT_DIFFERENT
    ties = sum(row.ties for row in rows)
    within = max(row.max_lsb for row in rows) if tolerance is None else tolerance
    console.print(f"all {len(rows)} tensors are within {within} LSB; {ties} ties of 1 LSB")
    return 0


def compare(subject: Subject, inputs: npt.NDArray[Any], golden: Golden) -> list[Row]:
    """Every layer that ``golden`` has a tensor of, in order, then the output.

    Raises
    ------
    ValueError
        An array is of another type or shape, or there is nothing to compare.
    """
    graph = subject.graph
    if len(graph.inputs) != 1:
        raise ValueError(
            f"{graph.name!r} has {len(graph.inputs)} inputs; networks with one can be compared"
        )
    source = graph.inputs[0]
    key = next((key for key in subject.input_keys if key in golden), None)
    codes = subject.codes(source, inputs if key is None else golden[key])
    arrays = {
        layer: subject.codes(layer.tensor, golden[key])
        for layer in subject.layers
        for key in [key for key in layer.keys if key in golden][:1]
    }
    samples = min([len(codes), *map(len, arrays.values())]) if arrays else 1
    known = {layer.tensor: values[:samples] for layer, values in arrays.items()}
    known[source] = codes[:samples]
    found = graph_tensors(graph, codes[:samples])
    layers = {layer.tensor for layer in subject.layers}
    rows = [
        _row(layer.name, known[layer.tensor], found[layer.tensor],
             _alone(graph, layer.tensor, known, layers))
        for layer in arrays
        if layer.is_computed
    ]  # fmt: skip
    rows += _output_rows(subject, codes, golden)
    if not rows:
        raise ValueError(f"there is no array of a layer of {graph.name!r}; {_wanted(subject)}")
    return rows


def _wanted(subject: Subject) -> str:
    names = [layer.keys[0] for layer in subject.layers if layer.is_computed]
    return f"arrays are called {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"


def _output_rows(subject: Subject, codes: Codes, golden: Golden) -> Iterator[Row]:
    """The one output, of all samples; ``outputs`` is what the accelerator writes only if the host
    does nothing behind it.
    """
    named = {key for layer in subject.layers for key in layer.keys}
    keys = [
        key
        for key in OUTPUTS
        if key in golden and key not in named and (key != "outputs" or not subject.host_steps)
    ]
    if not keys or len(subject.graph.outputs) != 1:
        return
    expected = subject.codes(subject.graph.outputs[0], golden[keys[0]])
    yield _row(keys[0], expected, graph_outputs(subject.graph, codes)[0], None)


def _alone(
    graph: ir.Graph, tensor: str, known: Mapping[str, Codes], layers: set[str]
) -> Codes | None:
    """The layer's tensor computed from the framework's own inputs of it."""
    needed: list[ir.Op] = []
    inputs: list[str] = []
    open_ends = {tensor}
    for op in reversed(graph.ops):
        if op.y not in open_ends:
            continue
        open_ends.remove(op.y)
        needed.insert(0, op)
        for name in ir.op_inputs(op):
            if name in known:
                inputs.append(name)
            elif name in layers or name in graph.inputs:
                return None
            else:
                open_ends.add(name)
    part = dataclasses.replace(
        graph, batch=len(known[tensor]), ops=tuple(needed), inputs=tuple(dict.fromkeys(inputs)),
        outputs=(tensor,),
    )  # fmt: skip
    return graph_reference.run(part, {name: known[name] for name in part.inputs})[tensor]


def _row(layer: str, expected: Codes, found: Codes, alone: Codes | None) -> Row:
    if expected.shape != found.shape:
        raise ValueError(f"{layer} has shape {expected.shape} (C, H, W), found {found.shape}")
    distance = np.abs(expected.astype(np.int64) - found)
    sample, channel, line, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return Row(
        layer=layer,
        place=f"sample {sample}, pixel (y={line}, x={column}), channel {channel}",
        values=distance.size,
        max_lsb=int(distance.max()),
        mean_lsb=float(distance.mean()),
        ties=int((distance == 1).sum()),
        beyond=int((distance > 1).sum()),
        alone=None if alone is None else int(np.abs(expected.astype(np.int64) - alone).max()),
    )


def show(model: str, rows: list[Row]) -> None:
    """A table of the rows."""
    caption = "alone: the layer's largest difference when fed with the framework's own inputs"
    table = Table(title=f"{Path(model).name}: difference in LSB", caption=caption)
    table.add_column("layer", no_wrap=True)
    for heading in ("values", "max", "mean", "ties of 1", "beyond 1", "alone"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.layer, f"{row.values:,}", str(row.max_lsb), f"{row.mean_lsb:.4f}",
            f"{row.ties:,}", f"{row.beyond:,}", "" if row.alone is None else str(row.alone),
        )  # fmt: skip
    console.print(table)
