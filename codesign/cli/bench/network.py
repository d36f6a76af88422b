"""Cycles of a whole network in RTL simulation."""

from __future__ import annotations

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import workload
from codesign.cli.devices import open_device
from codesign.cli.session import counted
from codesign.report.run import latency_ms
from codesign.zoo.resnet8 import resnet8
from host.driver import Accelerator


def measure(arch: Arch) -> list[Row]:
    """ResNet-8: register CYCLES (doorbell to done) of the second inference, weights resident."""
    with workload(resnet8, arch) as work, open_device("rtl", arch) as device:
        work.check(device)
        with Accelerator(device, trace=False) as accelerator:
            accelerator.load(work.path)
            counters = counted(accelerator, work.program, work.codes)
        predicted = work.program.predicted_cycles
        macs = sum(layer.macs for layer in work.program.layers)
    cycles = counters["CYCLES"]
    return [
        Row("network.resnet8.cycles", cycles, "cycles"),
        Row("network.resnet8.predicted_cycles", predicted, "cycles"),
        Row("network.resnet8.macs", macs, "MAC"),
        Row("network.resnet8.utilization", macs / (cycles * arch.macs_per_cycle), "1"),
        Row("network.resnet8.latency_ms", latency_ms(cycles, arch.clock_mhz), "ms"),
    ]
