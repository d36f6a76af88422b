"""Cycles of whole networks in RTL simulation, and how far their results are from a framework's."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.artifact import Program
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import SEED, Make, Workload, saved, workload
from codesign.cli.console import console
from codesign.cli.devices import open_device
from codesign.cli.golden import Golden, load_golden
from codesign.cli.model import load_quantized
from codesign.cli.session import Codes, counted, device_outputs, encode, graph_outputs
from codesign.compiler import compile as compile_graph
from codesign.quant.torch_module import quantize_module
from codesign.report.explain import explain, least_traffic
from codesign.report.run import latency_ms
from codesign.zoo.mobilenet_v2 import mobilenet_v2
from codesign.zoo.resnet8 import resnet8
from codesign.zoo.resnet18 import resnet18
from host.device import Device
from host.driver import Accelerator

MODELS = Path(__file__).resolve().parents[4] / "shared" / "models"
"""Beside the checkout: MLPerf Tiny's reference networks with LiteRT's tensors. They are not part of
the project."""
REFERENCES = {"ic_resnet8": True, "kws_dscnn": False, "ad_autoencoder": False}
"""Network -> whether its ``agreement`` is the share of samples with LiteRT's class; else it is that
of output values within 1 LSB of LiteRT's."""
LARGE: tuple[Make, ...] = (resnet18, mobilenet_v2)
"""Networks of the zoo that are larger than the chip: maps in DRAM, weights streamed."""
CHECKED = 2
"""Samples that the device computes too, bit for bit as the graph reference."""


def measure(arch: Arch) -> list[Row]:
    """ResNet-8 of the zoo, the reference networks that are there, the zoo's large networks."""
    with open_device("rtl", arch) as device:
        rows = [*_resnet8(arch, device), *references(MODELS, arch, device)]
        for make in LARGE:
            rows += large(make, arch, device)
        return rows


def references(models: Path, arch: Arch, device: Device) -> list[Row]:
    """The reference networks in a folder; those that are not there are skipped, and named."""
    rows: list[Row] = []
    for name, classes in REFERENCES.items():
        if (models / name).is_dir():
            rows += reference(models / name, classes, arch, device)
        else:
            console.print(f"network.{name} is skipped: {str(models)!r} has no folder {name!r}")
    return rows


def _resnet8(arch: Arch, device: Device) -> list[Row]:
    with workload(resnet8, arch) as work:
        counters = _run(work, device)
        predicted = work.program.predicted_cycles
        macs = _macs(work.program)
    cycles = counters["CYCLES"]
    return [
        Row("network.resnet8.cycles", cycles, "cycles"),
        Row("network.resnet8.predicted_cycles", predicted, "cycles"),
        Row("network.resnet8.macs", macs, "MAC"),
        Row("network.resnet8.utilization", macs / (cycles * arch.macs_per_cycle), "1"),
        Row("network.resnet8.latency_ms", latency_ms(cycles, arch.clock_mhz), "ms"),
    ]


def reference(folder: Path, classes: bool, arch: Arch, device: Device) -> list[Row]:
    """A quantised network with its framework's results: ``model.tflite`` and ``golden.npz``.

    ``compile_seconds`` begins with reading the file. ``dram_ratio`` is the bytes on the bus, those
    of instructions included, to the least of the layers taken one by one (``cost.bounds``): below 1
    where maps and weights stay on chip. Results are the graph reference's, which the device must
    equal on the first samples.
    """
    golden = load_golden(folder / "golden.npz")
    begin = time.process_time()
    imported = load_quantized(str(folder / "model.tflite"))
    program = compile_graph(imported.graph, arch, seed=SEED)
    seconds = time.process_time() - begin
    (source,), (target,) = imported.graph.inputs, imported.graph.outputs
    codes = imported.codes(source, golden["inputs"])
    expected = imported.codes(target, _results(golden))
    (found,) = graph_outputs(imported.graph, codes)
    with saved(program, codes[:CHECKED]) as work:
        counters = _run(work, device)
    cycles = counters["CYCLES"]
    moved = (counters["READ_BEATS"] + counters["WRITE_BEATS"]) * arch.beat_bytes
    name = f"network.{folder.name}"
    return [
        Row(f"{name}.cycles", cycles, "cycles"),
        Row(f"{name}.utilization", _macs(program) / (cycles * arch.macs_per_cycle), "1"),
        Row(f"{name}.agreement", agreement(expected, found, classes), "1"),
        Row(f"{name}.max_lsb", int(_distance(expected, found).max()), "LSB"),
        Row(f"{name}.compile_seconds", seconds, "s"),
        Row(f"{name}.dram_ratio", moved / least_traffic(program), "1"),
    ]


def large(make: Make, arch: Arch, device: Device) -> list[Row]:
    """A network of the zoo with random weights, its maps in DRAM.

    ``agreement`` is the share of output values in which the device equals the graph reference,
    ``max_lsb`` the largest distance from it. ``compile_seconds`` begins with the quantised graph.
    ``dram_ratio`` is that of the worst layer: its bytes to the least it needs (``cost.bounds``).
    """
    model, example = make()
    values = example.numpy()
    graph = quantize_module(model, values, name=make.__name__)
    begin = time.process_time()
    program = compile_graph(graph, arch, seed=SEED)
    seconds = time.process_time() - begin
    codes = encode(program, values)
    (expected,) = graph_outputs(graph, codes)
    with saved(program, codes) as work, Accelerator(device) as accelerator:
        accelerator.load(work.path)
        (found,) = device_outputs(accelerator, codes, graph.batch)
        cycles = accelerator.report().counters["CYCLES"]
    ratio = max(layer["traffic_ratio"] for layer in explain(program)["layers"])
    name = f"network.{make.__name__}"
    return [
        Row(f"{name}.cycles", cycles, "cycles"),
        Row(f"{name}.utilization", _macs(program) / (cycles * arch.macs_per_cycle), "1"),
        Row(f"{name}.agreement", float((expected == found).mean()), "1"),
        Row(f"{name}.max_lsb", int(_distance(expected, found).max()), "LSB"),
        Row(f"{name}.compile_seconds", seconds, "s"),
        Row(f"{name}.dram_ratio", ratio, "1"),
    ]


def agreement(expected: Codes, found: Codes, classes: bool) -> float:
    """Share of samples of the same class, or of values that are 1 LSB apart or less."""
    if classes:
        a, b = (values.reshape(len(values), -1).argmax(axis=1) for values in (expected, found))
        return float((a == b).mean())
    return float((_distance(expected, found) <= 1).mean())


def _distance(expected: Codes, found: Codes) -> npt.NDArray[np.int64]:
    distance: npt.NDArray[np.int64] = np.abs(expected.astype(np.int64) - found)
    return distance


def _results(golden: Golden) -> npt.NDArray[np.int8]:
    """What the accelerator's results are compared with: before the host's steps."""
    results: npt.NDArray[np.int8] = golden["logits" if "logits" in golden else "outputs"]
    return results


def _run(work: Workload, device: Device) -> dict[str, int]:
    """Counters of the second inference, weights resident, of a device that computes rightly."""
    work.check(device)
    with Accelerator(device) as accelerator:
        accelerator.load(work.path)
        return dict(counted(accelerator, work.program, work.codes).counters)


def _macs(program: Program) -> int:
    return sum(layer.macs for layer in program.layers)
