"""Whether pruning pays: RTL cycles of ResNet-8 with half its multiply-accumulates pruned away."""

from __future__ import annotations

import numpy as np

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import SEED, saved
from codesign.cli.devices import open_device
from codesign.cli.session import counted, encode
from codesign.compiler import compile as compile_graph
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import prune_blocks, sparse_layers
from codesign.prune.channels import prune_channels
from codesign.quant.quantize import quantize_network
from codesign.zoo.resnet8 import resnet8
from host.device import Device
from host.driver import Accelerator

CHANNELS = {
    "conv": 1 / 2,
    "stacks.0.conv1": 1 / 2,
    "stacks.1.conv1": 1 / 4,
    "stacks.1.conv2": 1 / 4,
    "stacks.2.conv1": 1 / 8,
}
"""Shares of the channel groups to remove: with all that is left multiples of 8, about half of the
multiply-accumulates. Wide maps are pruned most, for narrow ones hold the network's capacity."""
BLOCKS, LAST_BLOCKS = 0.55, 0.57
"""Shares of zero tap blocks: of all layers that have them (the first has none), and of the last
convolution, whose many taps let the sum reach one half."""


def rows(arch: Arch) -> list[Row]:
    """Shares of multiply-accumulates removed, and of RTL cycles saved, by either kind of pruning.

    Weights are random: cycles depend on shapes and zero blocks alone. Each program's results are
    compared with the graph reference first, bit for bit.
    """
    model, example = resnet8()
    whole = simplify(from_module(model, example))
    blocks = dict.fromkeys(sparse_layers(whole), BLOCKS) | {"stacks.2.conv2": LAST_BLOCKS}
    pruned = {
        "channel": prune_channels(whole, CHANNELS, multiple=arch.out_channels),
        "block": prune_blocks(whole, blocks, arch.in_channels, arch.out_channels),
    }
    found = []
    with open_device("rtl", arch) as device:
        before = cycles(whole, example.numpy(), arch, device)
        for kind, network in pruned.items():
            removed = 1 - macs(network) / macs(whole)
            after = cycles(network, example.numpy(), arch, device)
            found += [
                Row(f"explore.prune_{kind}.macs_removed", removed, "1"),
                Row(f"explore.prune_{kind}.cycles", after, "cycles"),
                Row(f"explore.prune_{kind}.saving", 1 - after / before, "1"),
            ]
    return found


def macs(network: net.Network) -> int:
    """Multiply-accumulates by weights that are not zero, of one sample of a simplified network."""
    return sum(
        int(np.count_nonzero(op.weight)) * int(np.prod(network.shapes[op.y][1:]))
        for op in network.ops
        if isinstance(op, net.Conv2d)
    )


def cycles(network: net.Network, example: net.FloatArray, arch: Arch, device: Device) -> int:
    """Of an inference, weights resident, of a device that computes rightly."""
    program = compile_graph(quantize_network(network, example), arch, seed=SEED)
    with saved(program, encode(program, example)) as work:
        work.check(device)
        with Accelerator(device) as accelerator:
            accelerator.load(work.path)
            return int(counted(accelerator, program, work.codes).counters["CYCLES"])
