"""What every board's preset takes of its part, by Yosys."""

from __future__ import annotations

import dataclasses

from bitstreams.memories import activations_in_uram
from codesign.arch import Arch, preset
from codesign.boards import BOARDS, Part
from codesign.cli.bench.row import Row
from codesign.cli.console import console
from codesign.synth import resources, synthesize, worst_paths
from hw.build import generate_rtlil
from sim.device import TOP

UNITS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "ramb36": "RAMB36", "uram": "URAM"}
LEVELS = "logic_levels"
LANES = r".*\.array\.lane\d+"
"""Modules of which an UltraScale+ design has a dozen that are equal."""
ACTIVATIONS = "*.act.region*"
"""Names of the activation memories in the netlist."""
Figures = dict[str, float]


def measure(arch: Arch) -> list[Row]:
    """Resources and longest path of the preset of every board; ``arch`` makes no difference.

    Boards with equal logic on equal parts are synthesised once.
    """
    known: dict[tuple[int, Part], Figures] = {}
    rows = []
    for board in BOARDS.values():
        own = preset(board.preset)
        key = own.fingerprint, board.part
        if key not in known:
            console.print(f"synthesising {own.name} for {board.device} ...", highlight=False)
            known[key] = figures(own, board.part)
        rows += [
            Row(f"presets.{board.name}.{name}", value, UNITS.get(name, "1"))
            for name, value in known[key].items()
        ]
    return rows


def figures(arch: Arch, part: Part) -> Figures:
    """Figure -> value of an accelerator on a part.

    For 7 Series as `codesign bench synth` has them. UltraScale+ arrays are large: their lanes are
    synthesised apart from what surrounds them, equal ones once.
    """
    rtlil = generate_rtlil(arch)
    if part.family == "xc7":
        netlist = synthesize(rtlil, TOP)
    else:
        ultra = ACTIVATIONS if activations_in_uram(arch, part) else None
        netlist = synthesize(rtlil, TOP, family=part.family, shared=LANES, ultra=ultra)
    counted = dataclasses.asdict(resources(netlist))
    (longest,) = worst_paths(netlist)
    console.print(str(longest), markup=False, highlight=False)
    return {**{name: counted[name] for name in UNITS}, LEVELS: longest.levels}
