"""`codesign compare`."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt
from rich.table import Table

from codesign import ir
from codesign.cli.console import console
from codesign.cli.model import load_quantized
from codesign.cli.options import EXISTING_FILE, FILE
from codesign.cli.session import EXIT_DIFFERENT, Codes, graph_outputs, graph_tensors
from codesign.reference import graph as graph_reference
from codesign.report import files

if TYPE_CHECKING:
    from codesign.frontend.tflite import Imported, ImportedOperator

Golden = Mapping[str, npt.NDArray[Any]]
OUTPUTS = ("logits", "outputs")
"""Arrays of a golden file that the network's output is compared with: the first that is there."""


@dataclass(frozen=True)
class Row:
    """Differences of one layer's codes, or of an output's, from the framework's, in LSB.

    ``mean_lsb`` is of the absolute values; ``ties`` counts differences of one LSB, ``beyond``
    larger ones. ``alone`` is the largest difference of the layer fed with the framework's own
    inputs: what it adds itself. None where the file has not all of these.
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
@click.option("--golden", type=EXISTING_FILE, required=True,
              help="The framework's tensors as .npz: `inputs`, `outputs` or `logits`, and "
              "`layer_NN_OP` of the first input.")  # fmt: skip
@click.option("--tolerance", type=click.IntRange(min=0), default=2, show_default=True,
              help="The largest difference that is accepted, in LSB.")  # fmt: skip
@click.option("--json", "json_file", type=FILE, help="Where to write the figures as JSON.")
def command(model: str, golden: Path, tolerance: int, json_file: Path | None) -> int:
    """Compare MODEL, layer by layer, with the tensors of the framework that made it.

    MODEL is a quantised `.tflite` file. The graph reference computes it; the accelerator equals
    the reference bit for bit (`codesign check`). Arrays are in the framework's order, NHWC.

    Exit code: 0 all within the tolerance, 1 a difference beyond it, 2 anything else.

    \b
    Example:
      codesign compare model.tflite --golden golden.npz --tolerance 2
    """
    imported = load_quantized(model)
    rows = compare(imported, load_golden(golden))
    first = next((row for row in rows if row.max_lsb > tolerance), None)
    show(model, rows)
    if json_file:
        files.write_json(json_file, {
            "model": imported.graph.name,
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
    console.print(f"all {len(rows)} tensors are within {tolerance} LSB; {ties} ties of 1 LSB")
    return 0


def load_golden(path: Path) -> Golden:
    """The arrays of an .npz file; ``ValueError`` where it is none or has no inputs."""
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


def compare(imported: Imported, golden: Golden) -> list[Row]:
    """Every layer that the file has a tensor of, in order, then the output.

    Raises
    ------
    ValueError
        An array is not int8 or of another shape, or the file has nothing to compare with.
    """
    graph = imported.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"{graph.name!r} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "networks with one of each can be compared"
        )
    inputs = imported.codes(graph.inputs[0], golden["inputs"])
    found = graph_tensors(graph, inputs[:1])
    known = {graph.inputs[0]: inputs[:1]}
    for op in imported.operators:
        for tensor, key in _keys(op, golden):
            known[tensor] = imported.codes(tensor, golden[key])
    rows = [
        _row(key, known[tensor], found[tensor], _alone(imported, op, tensor, known))
        for op in imported.operators
        for tensor, key in _keys(op, golden)
        if op.ops
    ]
    for key in [key for key in OUTPUTS if _is_output(imported, key, golden)][:1]:
        expected = imported.codes(graph.outputs[0], golden[key])
        rows.append(_row(key, expected, graph_outputs(graph, inputs)[0], None))
    if not rows:
        raise ValueError(
            f"the file has no layer of {graph.name!r}; arrays are called `layer_NN_OP`, such as "
            f"layer_{imported.operators[0].index:02d}_{imported.operators[0].kind}"
        )
    return rows


def _keys(op: ImportedOperator, golden: Golden) -> Iterator[tuple[str, str]]:
    """An operator's tensors, and the arrays that hold them."""
    name = f"layer_{op.index:02d}_{op.kind}"
    for number, tensor in enumerate(op.results):
        for key in (f"{name}_{number}", name) if number == 0 else (f"{name}_{number}",):
            if key in golden:
                yield tensor, key
                break


def _is_output(imported: Imported, key: str, golden: Golden) -> bool:
    """``outputs`` is what the accelerator writes only if the host does nothing behind it."""
    return key in golden and (key != "outputs" or not imported.host_steps)


def _alone(
    imported: Imported, op: ImportedOperator, tensor: str, known: Mapping[str, Codes]
) -> Codes | None:
    """The operator's tensor computed from the framework's own inputs of it."""
    graph = imported.graph
    ops = tuple(made for made in graph.ops if made.name in op.ops)
    written = {made.y for made in ops}
    inputs = tuple(
        dict.fromkeys(name for made in ops for name in ir.op_inputs(made) if name not in written)
    )
    if any(name not in known for name in inputs):
        return None
    part = dataclasses.replace(graph, batch=1, ops=ops, inputs=inputs, outputs=(tensor,))
    return graph_reference.run(part, {name: known[name] for name in inputs})[tensor]


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
