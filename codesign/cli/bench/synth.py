"""Area and depth of logic on xc7, by Yosys."""

from __future__ import annotations

import dataclasses

from codesign.arch import Arch
from codesign.cli.bench.row import Row
from codesign.cli.console import console
from codesign.synth import resources, synthesize, worst_paths
from hw.build import generate_rtlil
from sim.device import TOP

KIB = 1024
UNITS = {"lut": "LUT", "lutram": "LUT", "ff": "FF", "dsp": "DSP48E1", "ramb36": "RAMB36"}
ARRAY = "array"
"""Name of the PE array in the hierarchy."""


def measure(arch: Arch) -> list[Row]:
    """Resources of the whole accelerator, and its longest path in levels of logic."""
    netlist = synthesize(generate_rtlil(arch), TOP)
    figures = dataclasses.asdict(resources(netlist))
    (longest,) = worst_paths(netlist)
    console.print(str(longest), markup=False, highlight=False)
    return [
        *(
            Row(f"synth.{name}", value, UNITS.get(name, "1"))
            for name, value in figures.items()
            if name != "uram"  # which no part of this family has
        ),
        Row("synth.array_dsp", netlist.count("DSP48E1", ARRAY), "DSP48E1"),
        Row("synth.wgt_kib", arch.wgt_bytes / KIB, "KiB"),
        Row("synth.act_kib", arch.act_bytes / KIB, "KiB"),
        Row("synth.logic_levels", longest.levels, "1"),
    ]
