"""Activation memories in UltraRAM, on the parts that have it.

The RTL leaves the kind of memory to synthesis, which takes UltraRAM only where it is told to.
"""

from __future__ import annotations

import re

from codesign.arch import Arch
from codesign.boards import Part
from codesign.cost import memories
from codesign.cost.archs import Archs

_BANK = r"region\d+_bank\d+"
_MEMORY = re.compile(
    rf"^(?P<reg>  reg \[\d+:\d+\] {_BANK} \[\d+:\d+\];\n)  initial begin\n.*?^  end\n",
    re.MULTILINE | re.DOTALL,
)


def activation_urams(arch: Arch) -> int:
    """UltraRAMs that hold the activation memories."""
    return int(memories.activation_urams(Archs.of([arch]))[0])


def activations_in_uram(arch: Arch, part: Part) -> bool:
    """Whether the activation memories go there: the part has enough, and they are deep enough."""
    return bool(memories.activations_in_uram(Archs.of([arch]), part)[0])


def place(verilog: str, arch: Arch, part: Part) -> str:
    """The accelerator's Verilog with the memories' kind as attributes.

    UltraRAM begins with zeros and takes no other contents (UG901), so that the assignments of
    zeros to every word go: with them, synthesis would refuse.
    """
    if not activations_in_uram(arch, part):
        return verilog
    placed, count = _MEMORY.subn(r'  (* ram_style = "ultra" *)\n\g<reg>', verilog)
    if count != arch.regions * arch.pixels:
        raise ValueError(
            f"{count} activation memories found in the Verilog of {arch.name!r}, which has "
            f"{arch.regions * arch.pixels}: it was not made by hw.build for this architecture"
        )
    return placed
