"""What a netlist takes of a device of xc7 or xcup, counted as Vivado's utilisation report does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from codesign.errors import SynthesisError
from codesign.synth.netlist import Netlist

LOGIC_LUTS = {"INV": 1, **{f"LUT{n}": 1 for n in range(1, 7)}}
MEMORY_LUTS = {
    "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4,
    "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4,
    "RAM32M16": 8, "RAM64M8": 8, "RAM512X1S": 8,
    "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
}  # fmt: skip
"""LUTs of a SLICEM that a primitive occupies (CLB user guides UG474 and UG574)."""
FLIP_FLOPS = frozenset({"FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"})
LATCHES = frozenset({"LDCE", "LDPE"})
BLOCK_RAMS = {"RAMB36E1": 1.0, "RAMB18E1": 0.5, "RAMB36E2": 1.0, "RAMB18E2": 0.5}
DSPS = frozenset({"DSP48E1", "DSP48E2"})
ULTRA_RAM = "URAM288"
FREE = frozenset({"CARRY4", "MUXF7", "MUXF8", "MUXF9", "BUFG", "GND", "VCC"})
"""Primitives with no row of their own: they come with the LUTs beside them, or are clocking."""


@dataclass(frozen=True)
class Resources:
    """``lut`` includes ``lutram`` (memories and shift registers); a RAMB18 is half a ``ramb36``."""

    lut: int
    lutram: int
    ff: int
    dsp: int
    ramb36: float
    latches: int
    uram: int = 0


def resources(netlist: Netlist) -> Resources:
    """Count the netlist's primitives.

    Raises
    ------
    SynthesisError
        A cell is no primitive that is known here.
    """
    kinds = Counter(cell.kind for cell in netlist.cells)
    known = {*LOGIC_LUTS, *MEMORY_LUTS, *FLIP_FLOPS, *LATCHES, *BLOCK_RAMS, *DSPS, ULTRA_RAM, *FREE}
    if unknown := sorted(kinds.keys() - known):
        raise SynthesisError(f"netlist {netlist.top!r} holds cells of unknown kinds: {unknown}")
    lutram = sum(kinds[kind] * luts for kind, luts in MEMORY_LUTS.items())
    return Resources(
        lut=sum(kinds[kind] for kind in LOGIC_LUTS) + lutram,
        lutram=lutram,
        ff=sum(kinds[kind] for kind in FLIP_FLOPS),
        dsp=sum(kinds[kind] for kind in DSPS),
        ramb36=sum(kinds[kind] * size for kind, size in BLOCK_RAMS.items()),
        latches=sum(kinds[kind] for kind in LATCHES),
        uram=kinds[ULTRA_RAM],
    )
