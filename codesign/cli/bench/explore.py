"""What the exploration promises: how near its cost models come, how fast they are, and whether
pruning pays on the hardware.
"""

from __future__ import annotations

import importlib

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.console import console

PARTS = ("cycles", "energy", "resources", "speed", "samplers", "prune")
"""Modules ``explore_PART`` of this package, each with ``rows(arch)``."""


def measure(arch: Arch) -> list[Row]:
    """The rows of all parts."""
    found: list[Row] = []
    for part in PARTS:
        console.print(f"  {part} ...")
        module = importlib.import_module(f"codesign.cli.bench.explore_{part}")
        found += module.rows(arch)
    return found
