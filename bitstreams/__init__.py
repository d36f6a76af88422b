"""Overlays for PYNQ boards: what Vivado or the open tools build a bitstream from, and what pynq
reads beside it.
"""

from bitstreams.bit import BitError, BitFile, simulation_description, user_access
from bitstreams.overlay import Overlay, write_open_overlay, write_overlay

__all__ = [
    "BitError",
    "BitFile",
    "Overlay",
    "simulation_description",
    "user_access",
    "write_open_overlay",
    "write_overlay",
]
