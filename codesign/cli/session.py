"""Running a program: outputs, figures, and the comparison of executions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codesign.artifact import Program
from codesign.ir import Graph
from codesign.isa import Unit
from codesign.quant.values import Coding
from codesign.reference import graph as graph_reference
from codesign.reference.trace import TraceRecord
from codesign.report.run import Measurement
from codesign.report.trace import Execution
from host.device import Device
from host.driver import Accelerator
from host.report import Report

EXIT_DIFFERENT = 1
"""Exit code of a command that found executions to differ."""

Codes = npt.NDArray[np.int8]
Outputs = tuple[Codes, ...]
Advance = Callable[[int], object]


def _silent(_: int) -> None:
    """Progress that nobody watches."""


def batches(codes: Codes, batch: int) -> Iterator[tuple[Codes, int]]:
    """Stretches of ``batch`` samples, the last filled with its last sample, and how many count."""
    for first in range(0, len(codes), batch):
        part = codes[first : first + batch]
        missing = batch - len(part)
        yield np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]), len(part)


def graph_tensors(graph: Graph, codes: Codes) -> dict[str, Codes]:
    """Every tensor [K, C, H, W] of the graph reference for K samples of the one input."""
    return graph_reference.run(
        dataclasses.replace(graph, batch=len(codes)), {graph.inputs[0]: codes}
    )


def graph_outputs(graph: Graph, codes: Codes, chunk: int = 64) -> Outputs:
    """The outputs alone, ``chunk`` samples at a time."""
    parts = [graph_tensors(graph, codes[i : i + chunk]) for i in range(0, len(codes), chunk)]
    return tuple(np.concatenate([part[name] for part in parts]) for name in graph.outputs)


def device_outputs(
    accelerator: Accelerator, codes: Codes, batch: int, advance: Advance = _silent
) -> Outputs:
    """The outputs of a loaded program, batch by batch."""
    parts: list[Outputs] = []
    for part, count in batches(codes, batch):
        result = accelerator.run(part)
        results = result if isinstance(result, tuple) else (result,)
        parts.append(tuple(array[:count] for array in results))
        advance(count)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def equal(a: Outputs, b: Outputs) -> bool:
    """Whether all outputs agree in every bit."""
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def encode(program: Program, values: npt.NDArray[np.generic]) -> Codes:
    """The program's input codes [K, C, H, W] for int8 codes or real values.

    Raises
    ------
    ValueError
        The program takes several inputs, the shape is not the program's, or the values are neither
        int8 nor floating-point.
    """
    if len(program.inputs) != 1:
        names = ", ".join(layout.name for layout in program.inputs)
        raise ValueError(
            f"program {program.name!r} takes {len(program.inputs)} inputs ({names}), the commands "
            "give one; run it from Python with host.driver.Accelerator.run"
        )
    (layout,) = program.inputs
    if layout.shape[1:] == (1, 1) and values.ndim == 2:
        values = values[:, :, None, None]
    if values.ndim != 4 or values.shape[1:] != layout.shape or not len(values):
        shape = ", ".join(map(str, layout.shape))
        raise ValueError(f"inputs have shape {values.shape}; the program takes (samples, {shape})")
    if values.dtype == np.int8:
        return values.astype(np.int8)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"inputs have type {values.dtype}; give int8 codes or real values")
    if np.isnan(values).any():
        raise ValueError(f"input {layout.name!r} holds NaN, which no code stands for")
    return Coding(layout.scale, layout.zero_point).encode(values)


def traced(program: Program, path: Path, device: Device, codes: Codes) -> Execution:
    """The spans of one inference."""
    with Accelerator(device, trace=True) as accelerator:
        accelerator.load(path)
        accelerator.run(next(batches(codes, program.graph.batch))[0])
        spans = [
            TraceRecord(Unit[record.unit], record.index, record.start, record.end)
            for record in accelerator.report().trace
        ]
    return Execution.of(program, spans)


def counted(accelerator: Accelerator, program: Program, codes: Codes) -> Report:
    """The report of an inference that follows another: weights are resident, queues are warm.

    Its overhead is the lesser of both: a run in which the host did something else tells nothing of
    the driver.
    """
    sample = next(batches(codes, program.graph.batch))[0]
    reports = []
    for _ in range(2):
        accelerator.run(sample)
        reports.append(accelerator.report())
    return dataclasses.replace(reports[-1], overhead_us=min(at.overhead_us for at in reports))


def measure(
    kind: str, program: Program, path: Path, device: Device, codes: Codes, bit_exact: bool
) -> Measurement:
    """Figures of one inference on a device; ``bit_exact`` is what comparing the outputs gave."""
    with Accelerator(device) as accelerator:
        accelerator.load(path)
        report = counted(accelerator, program, codes)
    execution = traced(program, path, device, codes)
    return Measurement(
        kind, report.cycles, report.counters, execution, bit_exact, report.overhead_us
    )
