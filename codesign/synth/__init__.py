"""Synthesis for xc7 with Yosys, and what the netlist says about area and depth of logic."""

from codesign.synth.netlist import Netlist
from codesign.synth.paths import Path, Step, worst_paths
from codesign.synth.resources import Resources, resources
from codesign.synth.yosys import synthesize

__all__ = ["Netlist", "Path", "Resources", "Step", "resources", "synthesize", "worst_paths"]
