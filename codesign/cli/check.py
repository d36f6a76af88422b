"""`codesign check`."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import click

from codesign.artifact import Program
from codesign.cli.console import console, progress
from codesign.cli.devices import KINDS, open_device
from codesign.cli.options import EXISTING_FILE, load_array
from codesign.cli.session import (
    EXIT_DIFFERENT,
    Advance,
    Codes,
    batches,
    device_outputs,
    encode,
    graph_tensors,
)
from codesign.compiler import compile as compile_graph
from codesign.report.difference import Difference, first_difference
from host.device import Device
from host.driver import Accelerator


@click.command()
@click.argument("program", type=EXISTING_FILE)
@click.option("--inputs", type=EXISTING_FILE, required=True, help="[K, C, H, W] as .npy.")
def command(program: Path, inputs: Path) -> int:
    """Run PROGRAM in all three executions and compare them bit for bit.

    The graph reference computes the quantised network, the machine reference executes the encoded
    program, the RTL is simulated. Where the outputs differ, the first layer, pixel and channel is
    named: the network is compiled once more so that every layer's result can be read.

    Exit code: 0 all equal, 1 a difference, 2 anything else.

    \b
    Example:
      codesign check net.prog --inputs images.npy
    """
    loaded = Program.load(program)
    codes = encode(loaded, load_array(inputs))
    found = 0
    for kind in KINDS:
        with progress() as bars, open_device(kind, loaded.arch) as device:
            task = bars.add_task(f"graph reference = {kind}?", total=len(codes), note="")
            verdict = compare(loaded, program, device, codes, partial(bars.advance, task))
        if verdict:
            found += 1
            console.print(f"{kind} differs from the graph reference: {verdict}")
    if found:
        return EXIT_DIFFERENT
    console.print(f"graph = machine reference = RTL, bit for bit, on {len(codes)} samples")
    return 0


def compare(
    program: Program, path: Path, device: Device, codes: Codes, advance: Advance
) -> str | None:
    """Where a device first differs from the graph reference; None where it nowhere does."""
    graph = program.graph
    with Accelerator(device) as accelerator:
        accelerator.load(path)
        done = 0
        for part, count in batches(codes, graph.batch):
            expected = graph_tensors(graph, part)
            outputs = device_outputs(accelerator, part, graph.batch)
            found = dict(zip(graph.outputs, outputs, strict=True))
            if difference := first_difference(graph, expected, found):
                inner = locate(program, path, device, part) or (
                    f"{difference}; compiled once more with every layer's result kept, the "
                    "network agrees: compile the program again, or suspect its schedule"
                )
                return f"samples from {done} on: {inner}"
            advance(count)
            done += count
    return None


def locate(program: Program, path: Path, device: Device, part: Codes) -> Difference | None:
    """The first layer that differs, from a program that keeps every layer's result."""
    with tempfile.TemporaryDirectory() as folder:
        if not program.tensors:
            program = compile_graph(
                program.graph, program.arch, seed=program.seed, keep_tensors=True
            )
            path = Path(folder) / "kept.prog"
            program.save(path)
        graph = program.graph
        with Accelerator(device) as accelerator:
            accelerator.load(path)
            outputs = device_outputs(accelerator, part, graph.batch)
            found = {name: accelerator.tensor(name) for name in program.tensors}
            found |= dict(zip(graph.outputs, outputs, strict=True))
    produced = {op.y for op in graph.ops}
    kept = {name: codes for name, codes in found.items() if name in produced}
    return first_difference(graph, graph_tensors(graph, part), kept)
