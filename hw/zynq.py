"""The accelerator with a Zynq-7000's processing system, for flows that have no block design."""

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from hw.axi3 import BurstSplitter, LiteBridge, control_ports, memory_ports
from hw.top import MASTER, SLAVE, Top

MODULE = "codesign_zynq"
_CONTROL, _MEMORY = "gp_", "hp_"


class Zynq(Component):
    """Accelerator, burst splitter and register bridge behind the AXI3 ports ``gp_*`` and ``hp_*``.

    ``aclk``, ``aresetn`` and ``interrupt`` as of ``hw.build.Chip``.
    """

    def __init__(self, arch: Arch) -> None:
        if arch.dma_bits != 64:
            raise ValueError(
                f"dma_bits={arch.dma_bits}: a Zynq-7000's memory port has 64 data bits; set 64"
            )
        self._arch = arch
        super().__init__({
            "aclk": In(1),
            "aresetn": In(1),
            **{_CONTROL + name: member for name, member in control_ports().items()},
            **{_MEMORY + name: member for name, member in memory_ports(arch).items()},
            "interrupt": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        sync, power = ClockDomain("sync"), ClockDomain("power", reset_less=True)
        reset = Signal(init=1)
        m.domains += [sync, power]
        m.d.comb += [sync.clk.eq(self.aclk), power.clk.eq(self.aclk), sync.rst.eq(reset)]
        m.d.power += reset.eq(~self.aresetn)
        m.submodules.top = top = Top(self._arch)
        m.submodules.splitter = splitter = BurstSplitter(self._arch)
        m.submodules.bridge = bridge = LiteBridge()
        m.d.comb += self.interrupt.eq(top.interrupt)
        self._join(m, self, _CONTROL, bridge, "s_", control_ports())
        self._join(m, self, _MEMORY, splitter, "m_", memory_ports(self._arch))
        for name, member in top.signature.members.items():
            for prefix, unit, side in ((SLAVE, bridge, "m_"), (MASTER, splitter, "s_")):
                if name.startswith(prefix):
                    ours, theirs = getattr(top, name), getattr(unit, side + name[len(prefix) :])
                    m.d.comb += ours.eq(theirs) if member.flow == In else theirs.eq(ours)
        return m

    def _join(self, m: Module, outside, prefix: str, unit, side: str, ports: dict) -> None:
        for name, member in ports.items():
            ours, theirs = getattr(outside, prefix + name), getattr(unit, side + name)
            m.d.comb += theirs.eq(ours) if member.flow == In else ours.eq(theirs)


class ZynqTop(Elaboratable):
    """``Zynq`` on the processing system's ports: clock FCLK0, registers behind M_AXI_GP0, DRAM
    behind S_AXI_HP0, interrupt line 0. The design has no pins.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch

    def elaborate(self, platform):
        m = Module()
        m.submodules.zynq = zynq = Zynq(self._arch)
        source, clock = Signal(4), Signal()
        resets, interrupts = Signal(4), Signal(20)
        unreset = ClockDomain("unreset", reset_less=True)
        released = Signal(2)
        m.domains += unreset
        m.submodules.buffer = Instance("BUFG", i_I=source[0], o_O=clock)
        m.d.comb += [unreset.clk.eq(clock), zynq.aclk.eq(clock), zynq.aresetn.eq(released[1])]
        m.d.comb += interrupts.eq(zynq.interrupt)
        m.d.unreset += [released[0].eq(resets[0]), released[1].eq(released[0])]
        connections = {
            "o_FCLKCLK": source,
            "o_FCLKRESETN": resets,
            "i_IRQF2P": interrupts,
            "i_MAXIGP0ACLK": clock,
            "i_SAXIHP0ACLK": clock,
            "i_SAXIHP0RDISSUECAP1EN": Const(0, 1),
            "i_SAXIHP0WRISSUECAP1EN": Const(0, 1),
            "i_FPGAIDLEN": Const(1, 1),
        }
        for port, prefix, ports in (
            ("MAXIGP0", _CONTROL, control_ports()),
            ("SAXIHP0", _MEMORY, memory_ports(self._arch)),
        ):
            for name, member in ports.items():
                direction = "o" if member.flow == In else "i"
                connections[f"{direction}_{port}{name.upper()}"] = getattr(zynq, prefix + name)
        m.submodules.ps7 = Instance("PS7", **connections)
        return m


def generate(arch: Arch) -> str:
    """The whole design as Verilog text, module ``codesign_zynq`` without ports."""
    return verilog.convert(
        ZynqTop(arch), name=MODULE, ports=[], strip_internal_attrs=True, emit_src=False
    )
