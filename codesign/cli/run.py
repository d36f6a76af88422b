"""`codesign run`."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from codesign.artifact import MapLayout, Program
from codesign.cli.console import console, progress, show_report
from codesign.cli.devices import KINDS, open_device
from codesign.cli.options import EXISTING_FILE, FILE, load_array
from codesign.cli.session import (
    EXIT_DIFFERENT,
    Codes,
    Outputs,
    device_outputs,
    encode,
    equal,
    graph_outputs,
    measure,
)
from codesign.quant.values import Coding
from codesign.report import files
from codesign.report.run import run_report
from codesign.report.timeline import timeline
from host.driver import Accelerator
from host.manifest import HostStep
from host.steps import apply


@click.command()
@click.argument("program", type=EXISTING_FILE)
@click.option("--inputs", type=EXISTING_FILE, required=True, help="[K, C, H, W] as .npy.")
@click.option("--device", type=click.Choice(KINDS), default="reference", show_default=True)
@click.option("--outputs", type=FILE, help="Where to write the results: .npy, or .npz by name.")
@click.option("--report", type=FILE, help="Where to write the figures as JSON.")
@click.option("--timeline", "timeline_file", type=FILE, help="Where to write a Perfetto timeline.")
def command(
    program: Path,
    inputs: Path,
    device: str,
    outputs: Path | None,
    report: Path | None,
    timeline_file: Path | None,
) -> int:
    """Run PROGRAM on the samples of an .npy file.

    Real inputs are quantised and give real results; int8 inputs are codes and give codes.
    `reference` is the machine reference in numpy, `rtl` the generated hardware in simulation.
    A softmax or argmax at the network's end is done on the host, for real results only.
    Any number of samples runs, in batches of the program's size. Several outputs become an .npz.

    Exit code: 0 the outputs are the graph reference's, 1 they differ, 2 anything else.

    \b
    Examples:
      codesign run net.prog --inputs images.npy --outputs logits.npy
      codesign run net.prog --inputs images.npy --device rtl --report run.json --timeline run.trace
    """
    loaded = Program.load(program)
    values = load_array(inputs)
    codes = encode(loaded, values)
    if outputs and len(loaded.outputs) > 1 and outputs.suffix != ".npz":
        raise ValueError(
            f"program {loaded.name!r} has {len(loaded.outputs)} outputs, which {str(outputs)!r} "
            "cannot hold; give --outputs a name that ends in .npz"
        )
    for path in filter(None, (outputs, report, timeline_file)):
        files.check_writable(path)
    expected = graph_outputs(loaded.graph, codes)
    with open_device(device, loaded.arch) as opened, progress() as bars:
        task = bars.add_task(f"running on {device}", total=len(codes), note="")
        with Accelerator(opened) as accelerator:
            accelerator.load(program)
            found = device_outputs(
                accelerator, codes, loaded.graph.batch, partial(bars.advance, task)
            )
        exact = equal(found, expected)
        measured = measure(device, loaded, program, opened, codes, exact)
    figures = run_report(loaded, measured)
    if outputs:
        _save(loaded, outputs, found, real=values.dtype != np.int8)
    if report:
        files.write_json(report, figures)
    if timeline_file:
        files.write_json(timeline_file, timeline(loaded, measured.execution))
    show_report(figures)
    if not exact:
        console.print("The outputs differ from the graph reference: `codesign check` tells where.")
        return EXIT_DIFFERENT
    return 0


def _save(program: Program, path: Path, found: Outputs, real: bool) -> None:
    results: dict[str, Any] = {}
    for index, (layout, codes) in enumerate(zip(program.outputs, found, strict=True)):
        # a network may give one tensor twice
        key = f"{layout.name}#{index}" if layout.name in results else layout.name
        results[key] = _real(program, layout, codes) if real else codes
    content = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(content, **results)
    else:
        np.save(content, next(iter(results.values())))
    files.write_bytes(path, content.getvalue())


def _real(program: Program, layout: MapLayout, codes: Codes) -> npt.NDArray[Any]:
    """An output's real values, the host's steps done."""
    steps = [HostStep(step.op, step.tensor, step.parameters) for step in program.host_steps]
    return apply(steps, layout.name, Coding(layout.scale, layout.zero_point).decode(codes))
