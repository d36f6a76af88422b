"""`codesign demo`: a trained network becomes a verified accelerator."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from codesign.arch import Arch
from codesign.artifact import Program
from codesign.cli.console import console, progress, show_report
from codesign.cli.devices import open_device
from codesign.cli.generate import write_hardware
from codesign.cli.options import FOLDER, arch_option, seed_option
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
from codesign.compiler import compile as compile_graph
from codesign.quant.accuracy import accuracy
from codesign.quant.torch_module import quantize_module
from codesign.report import files
from codesign.report.run import Measurement, run_report
from codesign.report.timeline import timeline
from codesign.zoo import digits as digits_data
from codesign.zoo.demo import EPOCHS, WIDTH, DemoNetwork, logits, train
from codesign.zoo.demo import Progress as Epoch
from codesign.zoo.digits import TEST_IMAGES, Digits
from host.device import Device
from host.driver import Accelerator

LEAST_IMAGES = 100
CALIBRATION_IMAGES = 256


@click.command()
@arch_option("pynq_z2")
@seed_option()
@click.option("--images", type=click.IntRange(LEAST_IMAGES, TEST_IMAGES), default=TEST_IMAGES,
              show_default=True, help="Test images that run through the RTL.")  # fmt: skip
@click.option("--width", type=click.IntRange(min=1), default=WIDTH, show_default=True,
              help="Channels at the network's start; 8 fits `--arch tiny`.")  # fmt: skip
@click.option("-o", "--output", type=FOLDER, default="build/demo", show_default=True)
def command(arch: Arch, seed: int, images: int, width: int, output: Path) -> int:
    """Train a network on real images and run it on the generated accelerator.

    Trains a small residual CNN on scikit-learn's digits, quantises it to int8, compiles it,
    generates the accelerator's Verilog, simulates the whole network in RTL on test images and
    compares every result with the machine reference and the graph reference, bit for bit.

    Writes report.json, timeline.json (open it in ui.perfetto.dev), the Verilog and the program.
    Exit code 1 where one bit differs.
    """
    digits = digits_data.load(seed)
    with progress() as bars:
        model = _train(digits, seed, width, bars)
        program, path = _compile(model, digits, arch, seed, output, bars)
        codes = encode(program, digits.test_images[:images])
        results = {"graph reference": _graph(program, codes, bars)}
        with open_device("reference", arch) as device:
            results["machine reference"] = _run(program, path, device, codes, "machine", bars)
        with _build(arch, output, bars) as device:
            results["RTL"] = _run(program, path, device, codes, "RTL", bars)
            exact = all(equal(found, results["graph reference"]) for found in results.values())
            measured = measure("rtl", program, path, device, codes, exact)
    labels = digits.test_labels[:images]
    report = run_report(
        program,
        measured,
        images=images,
        accuracy_float=accuracy(logits(model, digits.test_images[:images]), labels),
        accuracy_int8=accuracy(results["graph reference"][0], labels),
        accuracy_rtl=accuracy(results["RTL"][0], labels),
    )
    _write(program, measured, report, output)
    return 0 if exact else EXIT_DIFFERENT


def _train(digits: Digits, seed: int, width: int, bars: Progress) -> DemoNetwork:
    task = bars.add_task("train the float network (epochs)", total=EPOCHS, note="")

    def show(state: Epoch) -> None:
        note = f"loss {state.loss:.3f}, training accuracy {state.accuracy:.1%}"
        bars.update(task, completed=state.epoch, note=note)

    return train(digits, seed, report=show, width=width)


def _compile(
    model: DemoNetwork, digits: Digits, arch: Arch, seed: int, output: Path, bars: Progress
) -> tuple[Program, Path]:
    task = bars.add_task("quantise and compile", total=2, note="")
    graph = quantize_module(model, digits.train_images[:CALIBRATION_IMAGES], name="digits")
    bars.advance(task)
    program = compile_graph(graph, arch, seed=seed)
    path = output / "digits.prog"
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(path)
    bars.update(task, advance=1, note=f"{program.infer.count} instructions")
    return program, path


def _build(arch: Arch, output: Path, bars: Progress) -> Device:
    task = bars.add_task("generate and build the accelerator", total=2, note="Verilog")
    begin = time.perf_counter()
    write_hardware(arch, output)
    bars.update(task, advance=1, note="Verilator (minutes at the first time)")
    device = open_device("rtl", arch)
    bars.update(task, advance=1, note=f"{time.perf_counter() - begin:.0f} s")
    return device


def _graph(program: Program, codes: Codes, bars: Progress) -> Outputs:
    task = bars.add_task("graph reference (images)", total=len(codes), note="")
    outputs = graph_outputs(program.graph, codes)
    bars.advance(task, len(codes))
    return outputs


def _run(
    program: Program, path: Path, device: Device, codes: Codes, name: str, bars: Progress
) -> Outputs:
    task = bars.add_task(f"{name} (images)", total=len(codes), note="")
    with Accelerator(device) as accelerator:
        accelerator.load(path)
        return device_outputs(accelerator, codes, program.graph.batch, partial(bars.advance, task))


def _write(program: Program, measured: Measurement, report: dict[str, Any], output: Path) -> None:
    files.write_json(output / "report.json", report)
    files.write_json(output / "timeline.json", timeline(program, measured.execution))
    show_report(report)
    verdict = "equal, bit for bit" if measured.bit_exact else "DIFFERENT: use `codesign check`"
    console.print(
        f"RTL, machine reference and graph reference on {report['images']} images: {verdict}."
    )
    written = ", ".join(sorted(path.name for path in output.iterdir()))
    console.print(f"In {output}: {written}. The timeline opens in ui.perfetto.dev.")
