"""What Yosys is told to do, for each family of parts."""

from __future__ import annotations

from collections.abc import Sequence

FAMILIES = ("xc7", "xcup")
"""7 Series, UltraScale+; both out of context, without I/O or clock buffers."""

PACKED_DSP = """\
(* blackbox *)
module DSP48E2 (
    input [29:0] A, input [29:0] ACIN, input [3:0] ALUMODE, input [17:0] B, input [17:0] BCIN,
    input [47:0] C, input CARRYCASCIN, input CARRYIN, input [2:0] CARRYINSEL,
    input CEA1, CEA2, CEAD, CEALUMODE, CEB1, CEB2, CEC, CECARRYIN, CECTRL, CED, CEINMODE, CEM, CEP,
    input CLK, input [24:0] D, input [4:0] INMODE, input MULTSIGNIN, input [6:0] OPMODE,
    input [47:0] PCIN,
    input RSTA, RSTALLCARRYIN, RSTALUMODE, RSTB, RSTC, RSTCTRL, RSTD, RSTINMODE, RSTM, RSTP,
    output [29:0] ACOUT, output [17:0] BCOUT, output CARRYCASCOUT, output [3:0] CARRYOUT,
    output MULTSIGNOUT, output OVERFLOW, output [47:0] P, output PATTERNBDETECT,
    output PATTERNDETECT, output [47:0] PCOUT, output UNDERFLOW
);
    parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1;
    parameter CARRYINREG = 1, CARRYINSELREG = 1, CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1;
    parameter OPMODEREG = 1, PREG = 1, AUTORESET_PATDET = "NO_RESET", A_INPUT = "DIRECT";
    parameter B_INPUT = "DIRECT", SEL_MASK = "MASK", SEL_PATTERN = "PATTERN", USE_DPORT = "FALSE";
    parameter USE_MULT = "MULTIPLY", USE_PATTERN_DETECT = "NO_PATDET", USE_SIMD = "ONE48";
    parameter [47:0] MASK = 48'h3FFFFFFFFFFF;
    parameter [47:0] PATTERN = 48'h000000000000;
    parameter IS_ALUMODE_INVERTED = 0, IS_CARRYIN_INVERTED = 0, IS_CLK_INVERTED = 0;
    parameter IS_INMODE_INVERTED = 0, IS_OPMODE_INVERTED = 0;
endmodule
"""
"""A DSP48E2 as far as it equals a DSP48E1. For UltraScale+ Yosys (0.70) maps products alone to DSPs
and leaves their registers and adders to the fabric: its pass `xilinx_dsp` packs them for 7 Series
only. All that it packs exists in both (UG479, UG579), so products are mapped and packed as for
7 Series and then take this cell's name."""


def script(
    read: str, top: str, family: str, shared: Sequence[str] = (), ultra: str | None = None
) -> str:
    """Commands that leave a flat netlist as ``netlist.json``.

    Parameters
    ----------
    read:
        The command that reads the design.
    shared:
        Modules that are synthesised once for all their instances, and flattened last.
    ultra:
        Pattern of the names of memories that become UltraRAM (xcup).
    """
    options = f"-family {family} -flatten -noiopad -noclkbuf -top {top}"
    kept = [f"setattr -mod -set keep_hierarchy 1 {name}" for name in shared]
    flat = [f"setattr -mod -unset keep_hierarchy {name}" for name in shared]
    flat += ["flatten", "clean"] if shared else []
    steps = _xcup(options, top, ultra) if family == "xcup" else [f"synth_xilinx {options}"]
    begin = [read, f"hierarchy -check -top {top}"]
    return "; ".join([*begin, *kept, *steps, *flat, "write_json netlist.json"])


def _xcup(options: str, top: str, ultra: str | None) -> list[str]:
    """``synth_xilinx`` in pieces, with the DSPs of 7 Series and memories in UltraRAM."""
    step = f"synth_xilinx {options} -run"
    steps = [
        f"{step} begin:map_dsp",
        f"synth_xilinx -family xc7 -top {top} -run map_dsp:coarse",
        "read_verilog -lib -overwrite packed_dsp.v",
        "chtype -set DSP48E2 t:DSP48E1",
        f"{step} coarse:map_memory",
    ]
    if ultra is not None:
        # not synth_xilinx -uram, which would take UltraRAM for other large memories, too
        chosen = f"t:$mem_v2 c:{ultra} %i"
        steps.append(f"memory_libmap -lib +/xilinx/urams.txt {chosen}")
        steps.append("techmap -map +/xilinx/urams_map.v")
    return [*steps, f"{step} map_memory:"]
