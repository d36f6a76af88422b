"""Speed of the RTL simulation."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import workload
from codesign.zoo.resnet8 import resnet8
from host.driver import Accelerator
from sim.device import TOP, RtlDevice, verilog
from sim.model import build_model

LEAST_SECONDS = 3.0
"""Inferences are repeated until the simulation has run for so long."""


def measure(arch: Arch) -> list[Row]:
    """Simulated cycles per second of ResNet-8, and seconds to build the simulator from Verilog."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)  # of its own, so that nothing is found in it
        source = verilog(arch, cache)
        begin = time.perf_counter()
        build_model(source, TOP, cache=cache)
        build_seconds = time.perf_counter() - begin
        with workload(resnet8, arch) as work, RtlDevice(arch, cache=cache) as device:
            work.check(device)
            with Accelerator(device) as accelerator:
                accelerator.load(work.path)
                cycles, seconds = device.model.cycle, device.simulation_s
                while device.simulation_s - seconds < LEAST_SECONDS:
                    accelerator.run(work.codes)
                speed = (device.model.cycle - cycles) / (device.simulation_s - seconds)
    return [
        Row("sim.cycles_per_second", speed, "cycles/s"),
        Row("sim.build_seconds", build_seconds, "s"),
    ]
