"""Activation memories in UltraRAM, on the parts that have it.

The RTL leaves the kind of memory to synthesis, which takes UltraRAM only where it is told to.
"""

from __future__ import annotations

import re

from codesign.arch import Arch
from codesign.boards import Part

URAM_BITS, URAM_WORDS = 72, 4096
"""An UltraRAM's only shape (UG573)."""
LEAST_WORDS = 2048
"""Below half of its depth, block memories are the better use."""
_BANK = r"region\d+_bank\d+"
_MEMORY = re.compile(
    rf"^(?P<reg>  reg \[\d+:\d+\] {_BANK} \[\d+:\d+\];\n)  initial begin\n.*?^  end\n",
    re.MULTILINE | re.DOTALL,
)


def activation_urams(arch: Arch) -> int:
    """UltraRAMs that hold the activation memories."""
    wide = -(-8 * arch.act_word_bytes // URAM_BITS)
    return arch.regions * arch.pixels * wide * -(-arch.act_depth // URAM_WORDS)


def activations_in_uram(arch: Arch, part: Part) -> bool:
    """Whether the activation memories go there: the part has enough, and they are deep enough."""
    return arch.act_depth >= LEAST_WORDS and activation_urams(arch) <= part.resources.uram


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
