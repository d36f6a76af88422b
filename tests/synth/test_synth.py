"""Yosys' netlists: resources and depth of logic, on designs small enough to count by hand."""

from typing import Any

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib.memory import Memory

from codesign.errors import SynthesisError
from codesign.synth import Netlist, resources, synthesize, worst_paths
from codesign.synth.share import share_modules, without_zeros

DIRECTIONS = {"O": "output", "CO": "output", "Q": "output", "P": "output", "DOA": "output"}


def cell(kind: str, parameters: dict[str, str] | None = None, **pins: list[Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "parameters": parameters or {},
        "attributes": {},
        "port_directions": {pin: DIRECTIONS.get(pin, "input") for pin in pins},
        "connections": pins,
    }


def netlist(cells: dict[str, dict[str, Any]], **names: list[int]) -> Netlist:
    """A netlist without ports; nets that are not named get their number."""
    bits = {b for c in cells.values() for pin in c["connections"].values() for b in pin}
    netnames = {f"n{b}": {"hide_name": 0, "bits": [b]} for b in bits if isinstance(b, int)}
    netnames |= {name: {"hide_name": 0, "bits": b} for name, b in names.items()}
    return Netlist.from_json(
        {"modules": {"top": {"ports": {}, "cells": cells, "netnames": netnames}}}, "top"
    )


def flop(d: int, q: int) -> dict[str, Any]:
    return cell("FDRE", C=[1], D=[d], Q=[q])


def test_a_chain_of_luts_and_a_mux_counts_each() -> None:
    found = netlist(
        {
            "ff": flop(5, 2),
            "a": cell("LUT2", I0=[2], I1=[2], O=[3]),
            "b": cell("LUT1", I0=[3], O=[4]),
            "m": cell("MUXF7", I0=[3], I1=[4], S=[2], O=[5]),
        }
    )
    path = worst_paths(found)[0]
    assert path.levels == 3
    assert [step.cell for step in path.steps] == ["a", "b", "m"]
    assert path.start == "n2"
    assert path.end == "FDRE n2.D"
    assert resources(found).lut == 2


def test_a_carry_chain_counts_each_carry4_and_its_sum_sees_only_lower_bits() -> None:
    found = netlist(
        {
            "low": cell("CARRY4", CI=["0"], DI=[2, 3, 4, 5], S=[6, 7, 8, 9], O=[20, 21, 22, 23],
                        CO=[24, 25, 26, 27]),
            "high": cell("CARRY4", CI=[27], DI=[2, 3, 4, 5], S=[20, 7, 8, 23], O=[30, 31, 32, 33]),
            "x": flop(20, 40), "y": flop(33, 41), "z": flop(30, 42),
        }
    )  # fmt: skip
    levels = {path.end: path.levels for path in worst_paths(found, 10)}
    assert levels["FDRE n40.D"] == 1
    assert levels["FDRE n41.D"] == 2
    # the sum's lowest bit feeds the same chain's higher bits: no loop
    twisted = netlist({"c": cell("CARRY4", CI=["0"], DI=[2, 3, 4, 5], S=[6, 20, 8, 9],
                                 O=[20, 21, 22, 23]), "x": flop(23, 40)})  # fmt: skip
    assert worst_paths(twisted)[0].levels == 2


def test_a_lut_memory_read_is_a_level_and_its_write_an_end() -> None:
    found = netlist(
        {
            "ram": cell("RAM32M", ADDRA=[2], ADDRD=[3], DIA=[4], DOA=[5], WE=[6]),
            "lut": cell("LUT1", I0=[5], O=[4]),
        }
    )
    path = worst_paths(found)[0]
    assert (path.levels, path.start, path.end) == (2, "n2", "RAM32M n5.DIA")
    assert resources(found).lutram == 4
    assert resources(found).lut == 5


@pytest.mark.parametrize(("preg", "levels"), [("1", 1), ("0", 3)])
def test_a_dsp_breaks_a_path_only_with_its_registers(preg: str, levels: int) -> None:
    found = netlist(
        {
            "ff": flop(5, 2),
            "in": cell("LUT1", I0=[2], O=[3]),
            "dsp": cell("DSP48E1", {"PREG": preg}, A=[3], P=[4]),
            "out": cell("LUT1", I0=[4], O=[5]),
        }
    )
    assert worst_paths(found)[0].levels == levels


def test_a_loop_is_refused_by_name() -> None:
    found = netlist({"a": cell("LUT1", I0=[2], O=[3]), "b": cell("LUT1", I0=[3], O=[2])})
    with pytest.raises(SynthesisError, match=r"combinational loop through net 'n[23]'"):
        worst_paths(found)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(SynthesisError, match=r"unknown kinds: \['LUT9'\]"):
        resources(netlist({"a": cell("LUT9", O=[3])}))


def test_a_missing_top_is_refused() -> None:
    with pytest.raises(SynthesisError, match=r"no module 'b'; it has \['a'\]"):
        Netlist.from_json({"modules": {"a": {}}}, "b")


def test_yosys_maps_a_registered_adder_and_a_multiplier() -> None:
    source = """
    module mul(input clk, input signed [7:0] a, b, output reg signed [15:0] p);
      reg signed [15:0] m;
      always @(posedge clk) begin m <= a * b; p <= m; end
    endmodule
    module t(input clk, input [15:0] a, b, output reg [15:0] s, output [15:0] p);
      reg [15:0] x, y;
      mul inner(clk, x[7:0], y[7:0], p);
      always @(posedge clk) begin x <= a; y <= b; s <= x + y; end
    endmodule"""
    found = synthesize(source, "t", "verilog")
    assert worst_paths(found)[0].levels == 5, "a LUT and four CARRY4"
    figures = resources(found)
    assert figures.dsp == 1
    assert figures.latches == 0
    assert figures.ff >= 48
    assert found.count("DSP48E1", "inner") == 1
    assert found.count("DSP48E1", "outer") == 0


def test_yosys_words_reach_the_user() -> None:
    with pytest.raises(SynthesisError, match="refuses design 't'"):
        synthesize("module t(", "t", "verilog")


MULTIPLY_ADD = """
    module mac(input clk, input signed [24:0] a, input signed [17:0] b, input signed [47:0] c,
               output reg signed [47:0] p);
      reg signed [42:0] m;
      always @(posedge clk) begin m <= a * b; p <= m + c; end
    endmodule
"""


def test_ultrascale_packs_registers_and_adders_into_dsps() -> None:
    found = synthesize(MULTIPLY_ADD, "mac", "verilog", family="xcup")
    (dsp,) = (c for c in found.cells if c.kind == "DSP48E2")
    assert (dsp.number("MREG"), dsp.number("PREG")) == (1, 1)
    figures = resources(found)
    assert (figures.dsp, figures.ff, figures.lut) == (1, 0, 0)
    assert worst_paths(found)[0].levels == 0


def test_memories_go_into_ultra_ram_where_told() -> None:
    memory = """
    module t(input clk, we, input [11:0] wa, ra, input [63:0] d, output reg [63:0] q, p);
      reg [63:0] big [0:4095];
      reg [63:0] other [0:4095];
      always @(posedge clk) begin
        if (we) begin big[wa] <= d; other[wa] <= d; end
        q <= big[ra];
        p <= other[ra];
      end
    endmodule
    """
    figures = resources(synthesize(memory, "t", "verilog", family="xcup", ultra="*big*"))
    assert (figures.uram, figures.ramb36) == (1, 8)


def test_equal_modules_are_synthesised_once_and_counted_each() -> None:
    module = Module()
    total = Signal(8)
    for i in range(3):
        module.submodules[f"counter{i}"] = counter = Module()
        count = Signal(8, name="count", init=5 if i == 2 else 0)
        counter.d.sync += count.eq(count + 3)
        total = (total ^ count)[:8]
    result = Signal(8)
    module.d.comb += result.eq(total)
    text = rtlil.convert(module, name="top", ports=[result], emit_src=False)
    shared, names = share_modules(text, r"top\.counter\d")
    assert names == ["top.counter0", "top.counter2"], "the third begins with another value"
    assert shared.count("module \\top.counter") == 2
    flat = resources(synthesize(text, "top", family="xcup"))
    once = resources(synthesize(text, "top", family="xcup", shared=r"top\.counter\d"))
    assert once.ff == flat.ff == 24
    assert abs(once.lut - flat.lut) <= 3
    with pytest.raises(ValueError, match="no module of the design matches 'none'"):
        share_modules(text, "none")


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family 'xc6': choose one of xc7, xcup"):
        synthesize(MULTIPLY_ADD, "mac", "verilog", family="xc6")


def test_only_zeros_are_left_out() -> None:
    module = Module()
    result = Signal(8)
    for name, first in (("zeros", 0), ("ones", 1)):
        memory = module.submodules[name] = Memory(shape=8, depth=16, init=[first])
        port = memory.read_port()
        module.d.sync += result.eq(result + port.data)
    text = rtlil.convert(module, name="top", ports=[result], emit_src=False)
    less = without_zeros(text)
    assert (text.count("$meminit_v2"), less.count("$meminit_v2")) == (2, 1)
    assert "\\ones" in less[less.index("$meminit_v2") :].split("end", 1)[0]
    assert less.count("$memrd_v2") == text.count("$memrd_v2")
    assert len(less.splitlines()) == len(text.splitlines()) - 10
