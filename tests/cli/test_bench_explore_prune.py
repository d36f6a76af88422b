"""The pruning figures' networks: half the work, and what is left of the cycles."""

import numpy as np
import pytest

from codesign.arch import preset
from codesign.cli.bench import explore_prune
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import prune_blocks
from codesign.reference.device import ReferenceDevice
from codesign.zoo.resnet8 import resnet8


def test_half_of_the_work_is_removed_and_cycles_fall_as_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the machine reference, whose cycles are those of the RTL."""
    arch = preset("pynq_z2")
    monkeypatch.setattr(explore_prune, "open_device", lambda kind, arch: ReferenceDevice(arch))
    found = {row.name: row.value for row in explore_prune.rows(arch)}
    for kind in ("channel", "block"):
        assert 0.50 <= found[f"explore.prune_{kind}.macs_removed"] <= 0.51
        assert found[f"explore.prune_{kind}.saving"] >= 0.45
    assert {name.rpartition(".")[2] for name in found} == {"macs_removed", "cycles", "saving"}


def test_zero_weights_are_no_work() -> None:
    network = simplify(from_module(*resnet8()))
    assert explore_prune.macs(network) == 12_501_632
    pruned = prune_blocks(network, {"stacks.2.conv2": 0.5}, 8, 8)
    assert explore_prune.macs(network) - explore_prune.macs(pruned) == 64 * 64 * 9 * 64 // 2
    assert np.isclose(explore_prune.macs(pruned) / 12_501_632, 0.906, atol=0.001)
