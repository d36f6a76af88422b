"""Turns an architecture into Verilog or RTLIL: module ``codesign_top``, ports as a Vivado block
design expects them.
"""

from amaranth.back import rtlil, verilog
from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib.wiring import Component, In

from codesign.arch import ISA_VERSION, Arch
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
"""What a Vivado block design takes from the text (UG994); it knows the AXI ports by their names."""


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
    return _header(arch, "//") + verilog.convert(
        chip, name=MODULE, ports=_ports(chip), strip_internal_attrs=True, emit_src=False
    )


def generate_rtlil(arch: Arch) -> str:
    """The accelerator as RTLIL text, which Yosys reads faster than Verilog."""
    chip = Chip(arch)
    return _header(arch, "#") + rtlil.convert(chip, name=MODULE, ports=_ports(chip), emit_src=False)
