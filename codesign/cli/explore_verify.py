"""What makes a design of `codesign explore` a result: its program in RTL simulation."""

from __future__ import annotations

from pathlib import Path

from codesign.artifact import Program
from codesign.cli.session import device_outputs, equal, graph_outputs, measure
from codesign.explore.finalists import Codes, Verified
from host.driver import Accelerator
from sim.device import RtlDevice


def verify(program: Program, path: Path, codes: Codes) -> Verified:
    """Run a program's file on the RTL, and compare its outputs with the graph reference's."""
    with RtlDevice(program.arch) as device:
        with Accelerator(device) as accelerator:
            accelerator.load(path)
            found = device_outputs(accelerator, codes, program.graph.batch)
        exact = equal(found, graph_outputs(program.graph, codes))
        measured = measure("rtl", program, path, device, codes, exact)
    return Verified(measured.cycles, exact, measured.execution)
