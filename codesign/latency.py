"""Pipeline depths and fixed costs in clock cycles: the RTL builds its registers from them, the machine reference and the
cost model add them up, and tests measure them in simulation.
"""

from __future__ import annotations

from codesign.arch import Arch

ACT_READ = 6
"""From a tap's issue in the sequencer to its masked activations at the array's lane 0."""
PARAM_LEAD = 0
"""Placeholder until the post-processing fixes it."""


def array(arch: Arch) -> int:
    """From the last tap's activations at lane 0 to lane block 0's sums at the array's output."""
    return 10


def post(arch: Arch) -> int:
    """From sums at the input of post-processing to words at its output."""
    return 16


def residual(arch: Arch) -> int:
    """From sums at the input of post-processing to the cycle in which it takes the residual words."""
    return 10
