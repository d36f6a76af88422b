"""`codesign estimate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from codesign.arch import Arch
from codesign.boards import Resources, board
from codesign.cli.console import console, energy_split
from codesign.cli.options import EXISTING_FILE, FILE, arch_option, seed_option
from codesign.explore.estimate import Cost, cost, exact_cost, workload_of
from codesign.report import files

_KIB = 1024


@click.command()
@click.argument("model", required=False)
@arch_option()
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True,
              help="Samples of one inference.")  # fmt: skip
@click.option("--exact", is_flag=True,
              help="Compile, and take the program's cycles and bytes: the hardware's.")  # fmt: skip
@click.option("--json", "json_file", type=FILE, help="Where to write the figures as JSON.")
@click.option("--table", type=EXISTING_FILE,
              help="Layers' choices (YAML): write the latency of each.")  # fmt: skip
@click.option("-o", "--output", type=FILE, help="The latency table to write, with --table.")
@seed_option()
def command(
    model: str | None,
    arch: Arch,
    batch: int,
    exact: bool,
    json_file: Path | None,
    table: Path | None,
    output: Path | None,
    seed: int,
) -> None:
    """Tell what MODEL would cost on an architecture, without compiling it.

    Cycles, latency, energy, DRAM traffic and resources in closed form; how near they come is in
    docs/performance.md. Nothing is trained, calibrated or measured: a model with random weights
    will do. MODEL is what `codesign compile` takes.

    bound: what a layer's cycles go to: the `array`, the `DRAM`, or `latency`, the wait for the
    pipeline of the layer before.

    With --table, a latency table for architecture search: every choice of every layer that a YAML
    file declares (docs/explore.md, "Latency in training loops").

    \b
    Examples:
      codesign estimate codesign.zoo.resnet8:resnet8 --arch pynq_z2
      codesign estimate model.onnx --arch board.yaml --exact --json cost.json
      codesign estimate --table examples/choices.yaml --arch kv260 -o kv260.json
    """
    if table is not None:
        if model is not None or output is None or exact or json_file:
            raise click.UsageError("--table takes -o FILE, and neither MODEL, --exact nor --json")
        _write_table(table, arch, output)
        return
    if model is None or output is not None:
        raise click.UsageError("give MODEL (with --json FILE for a file), or --table with -o FILE")
    found = _cost(model, arch, batch, exact, seed)
    show(found)
    if json_file:
        files.write_json(json_file, found.to_dict())


def _write_table(choices_file: Path, arch: Arch, output: Path) -> None:
    from codesign.explore import choices
    from codesign.explore.latency_table import latency_table

    made = latency_table(choices.load(choices_file, arch), arch)
    made.save(output)
    rows = sum(map(len, made.layers.values()))
    console.print(
        f"{output}: {rows} choices of {len(made.layers)} layers on {arch.name}, predicted"
    )


def _cost(model: str, arch: Arch, batch: int, exact: bool, seed: int) -> Cost:
    from codesign.cli.model import is_quantized, load_graph, load_model

    if is_quantized(model):
        graph, _ = load_graph(model, batch)
        return exact_cost(graph, arch) if exact else cost(graph, arch)
    network = load_model(model, seed).network
    if not exact:
        return cost(dataclasses.replace(workload_of(network), batch=batch), arch)
    from codesign.quant.quantize import quantize_network

    # ranges come from random inputs: nothing of a cost depends on them
    shape = network.shapes[network.inputs[0]]
    samples = np.random.default_rng(seed).standard_normal((1, *shape)).astype(np.float32)
    return exact_cost(quantize_network(network, samples, batch), arch)


def show(found: Cost) -> None:
    """The figures, then the layers."""
    arch = found.arch
    table = Table(
        title=f"{found.network} on {arch.name} at {arch.clock_mhz:g} MHz, {found.word}",
        box=SIMPLE, padding=(0, 1, 0, 0), show_header=False, title_justify="left",
    )  # fmt: skip
    table.add_column("figure", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in _figures(found):
        table.add_row(name, value)
    console.print(table)
    _show_layers(found)


def _figures(found: Cost) -> Iterator[tuple[str, str]]:
    samples = f" for {found.batch} samples" if found.batch > 1 else ""
    yield "latency", f"{found.latency_ms:,.4f} ms ({found.cycles:,} cycles){samples}"
    yield "array", f"{found.macs:,} multiply-accumulates, {found.utilization:.1%} of the array"
    read, written, least = (
        f"{size / _KIB:,.1f}"
        for size in (found.dram_read_bytes, found.dram_write_bytes, found.dram_least_bytes)
    )
    yield "DRAM", f"{read} KiB read, {written} KiB written; at least {least} KiB for any schedule"
    through = "some come through DRAM in every inference"
    yield "memory", f"weights and maps: {'all stay on chip' if found.resident else through}"
    spent = found.energy
    if spent is None:
        yield "energy", f"unknown: board {found.arch.board!r} has no coefficients"
    else:
        split = energy_split(dataclasses.asdict(spent))
        yield (
            "energy",
            (
                f"{spent.total_uj:,.1f} uJ of the whole board: {split}; modelled, {spent.origin}, "
                f"within a factor of {1 + spent.uncertainty:.3g}"
            ),
        )
    yield "resources", _resources(found)
    yield "fits", "; ".join(f"no: {reason}" for reason in found.fits) or "yes"


def _resources(found: Cost) -> str:
    """Such as ``18,601 LUT (35%), ...``, of the board's part."""
    limits = board(found.arch.board).part.resources
    shown = []
    for field in dataclasses.fields(Resources):
        used, limit = getattr(found.resources, field.name), getattr(limits, field.name)
        if used or limit:
            share = f" ({used / limit:.0%})" if limit else ""
            shown.append(f"{used:,.6g} {field.name.upper()}{share}")
    return f"{', '.join(shown)} of {found.arch.board}"


def _show_layers(found: Cost) -> None:
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", overflow="ellipsis")  # the one column that gives way
    table.add_column("op", no_wrap=True)
    for heading in ("cycles", "MACs", "array", "DRAM KiB", "energy uJ"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("bound", no_wrap=True)
    for at in found.layers:
        table.add_row(
            at.name,
            at.op,
            f"{at.cycles:,}",
            f"{at.macs:,}",
            f"{at.utilization:.1%}",
            f"{at.dram_bytes / _KIB:,.1f}",
            "" if at.energy_uj is None else f"{at.energy_uj:,.2f}",
            at.bound,
        )
    console.print(table)
