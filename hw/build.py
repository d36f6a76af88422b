"""Turns an architecture into Verilog or RTLIL: module ``codesign_top``, ports as a Vivado block
design expects them.
"""

import re

from amaranth.back import rtlil, verilog
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib.wiring import Component, In

from codesign.arch import ISA_VERSION, Arch
from codesign.latency import BURST_BEATS, SAVE_OUTSTANDING
from codesign.registers import ADDRESS_BITS
from hw.axi import ID_BITS, read_ports, write_ports
from hw.top import MASTER, SLAVE, Top

MODULE = "codesign_top"
_BUSES = ":".join(prefix.removesuffix("_") for prefix in (SLAVE, MASTER))
_ATTRIBUTES = {
    "aclk": {
        "X_INTERFACE_INFO": "xilinx.com:signal:clock:1.0 aclk CLK",
        "X_INTERFACE_PARAMETER": f"ASSOCIATED_BUSIF {_BUSES}, ASSOCIATED_RESET aresetn",
    },
    "aresetn": {
        "X_INTERFACE_INFO": "xilinx.com:signal:reset:1.0 aresetn RST",
        "X_INTERFACE_PARAMETER": "POLARITY ACTIVE_LOW",
    },
    "interrupt": {
        "X_INTERFACE_INFO": "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT",
        "X_INTERFACE_PARAMETER": "SENSITIVITY LEVEL_HIGH",
    },
}
"""What a Vivado block design takes from the text (UG994); it knows the AXI4-Lite port by its names.
"""
_READS = 32
"""Bursts under way that an interconnect should carry. LOAD asks for as many as it has room for,
hundreds where they are short, and waits where the interconnect takes no more."""
_WRITES = SAVE_OUTSTANDING + 1
"""SAVE's bursts without a response, and the trace's one."""


def _memory_attributes(arch: Arch) -> dict[str, dict[str, str]]:
    """Attributes by port of the memory interface. Without them, Vivado would take its bursts for
    long, narrow, and one at a time.
    """
    parameters = {
        "PROTOCOL": "AXI4",
        "DATA_WIDTH": arch.dma_bits,
        "ADDR_WIDTH": ADDRESS_BITS,
        "ID_WIDTH": ID_BITS,
        "SUPPORTS_NARROW_BURST": 0,
        "MAX_BURST_LENGTH": BURST_BEATS,
        "NUM_READ_OUTSTANDING": _READS,
        "NUM_WRITE_OUTSTANDING": _WRITES,
    }
    bus = MASTER.removesuffix("_")
    ports = {
        MASTER + name: {"X_INTERFACE_INFO": f"xilinx.com:interface:aximm:1.0 {bus} {name.upper()}"}
        for name in read_ports(arch) | write_ports(arch)
    }
    text = ", ".join(f"{name} {value}" for name, value in parameters.items())
    next(iter(ports.values()))["X_INTERFACE_PARAMETER"] = text  # once for the whole interface
    return ports


def _marked(text: str, arch: Arch) -> str:
    """The Verilog with the memory interface's attributes; a signal's own are lost where it is
    constant.
    """
    attributes = _memory_attributes(arch)

    def mark(declared: re.Match[str]) -> str:
        values = attributes.get(declared[1], {})
        return "".join(f'  (* {n} = "{v}" *)\n' for n, v in values.items()) + declared[0]

    top = text.index(f"module {MODULE}(")
    port = re.compile(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);$", re.MULTILINE)
    return text[:top] + port.sub(mark, text[top:])


class Chip(Component):
    """``Top`` with a clock ``aclk`` and a synchronous reset ``aresetn``, low active and registered
    once.
    """

    def __init__(self, arch: Arch, top: Component | None = None) -> None:
        self._top = Top(arch) if top is None else top
        super().__init__({
            "aclk": In(1),
            "aresetn": In(1),
            **dict(self._top.signature.members),
        })  # fmt: skip
        for name, attributes in _ATTRIBUTES.items():
            if hasattr(self, name):
                getattr(self, name).attrs.update(attributes)

    def elaborate(self, platform):
        m = Module()
        sync, power = ClockDomain("sync"), ClockDomain("power", reset_less=True)
        reset = Signal(init=1)
        m.domains += [sync, power]
        m.submodules.top = top = self._top
        m.d.comb += [sync.clk.eq(self.aclk), power.clk.eq(self.aclk), sync.rst.eq(reset)]
        m.d.power += reset.eq(~self.aresetn)
        for name, member in top.signature.members.items():
            outside, inside = getattr(self, name), getattr(top, name)
            if member.flow == In:
                m.d.comb += inside.eq(outside)
            else:
                m.d.comb += outside.eq(inside)
        return m


def _ports(chip: Chip) -> list:
    return [getattr(chip, name) for name in chip.signature.members]


def _header(arch: Arch, comment: str) -> str:
    return (
        f"{comment} codesign accelerator {arch.name}, instruction set {ISA_VERSION},"
        f" fingerprint 0x{arch.fingerprint:08x}\n"
    )


def generate(arch: Arch) -> str:
    """The accelerator as Verilog text; the same ``arch`` always gives the same text."""
    chip = Chip(arch)
    text = verilog.convert(
        chip, name=MODULE, ports=_ports(chip), strip_internal_attrs=True, emit_src=False
    )
    return _header(arch, "//") + _marked(text, arch)


def generate_rtlil(arch: Arch) -> str:
    """The accelerator as RTLIL text, which Yosys reads faster than Verilog."""
    chip = Chip(arch)
    return _header(arch, "#") + rtlil.convert(chip, name=MODULE, ports=_ports(chip), emit_src=False)
