"""Utilisation of the array by single layers.

Cycles reach from the start of the layer's first CALC to the end of its last one in the RTL's
trace: inputs and weights are on chip, the pipeline's depth counts, DRAM traffic does not. Dense
layers are judged by P*M*N multiply-accumulates per cycle, depthwise ones by P*M.
"""

from __future__ import annotations

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import Make, workload
from codesign.cli.devices import open_device
from codesign.cli.session import traced
from codesign.isa import Unit
from codesign.zoo import layers
from host.device import Device

LAYERS: dict[str, tuple[Make, bool]] = {
    "conv3x3": (layers.conv3x3, False),
    "conv1x1": (layers.conv1x1, False),
    "conv3x3s2": (layers.conv3x3s2, False),
    "depthwise3x3": (layers.depthwise3x3, True),
}
"""Name -> how to make the layer, and whether it is depthwise."""


def measure(arch: Arch) -> list[Row]:
    """Cycles and utilisation of every layer."""
    with open_device("rtl", arch) as device:
        return [
            row
            for name, (make, depthwise) in LAYERS.items()
            for row in _layer(name, make, depthwise, arch, device)
        ]


def _layer(name: str, make: Make, depthwise: bool, arch: Arch, device: Device) -> list[Row]:
    with workload(make, arch) as work:
        work.check(device)
        execution = traced(work.program, work.path, device, work.codes)
        calcs = [span for span in execution.spans if span.unit is Unit.CALC]
        cycles = max(span.end for span in calcs) - min(span.start for span in calcs)
        macs = sum(layer.macs for layer in work.program.layers)
    peak = arch.pixels * arch.in_channels if depthwise else arch.macs_per_cycle
    return [
        Row(f"array.{name}.utilization", macs / (cycles * peak), "1"),
        Row(f"array.{name}.cycles", cycles, "cycles"),
    ]
