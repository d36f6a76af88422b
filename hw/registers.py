"""The register file behind the AXI4-Lite port: walks ``codesign.registers.REGISTERS``."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import ISA_VERSION, Arch
from codesign.registers import (
    ADDRESS_BITS,
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    COUNTERS,
    MAGIC,
    OFFSETS,
    REGISTER_SPACE_BITS,
    REGISTERS,
)
from hw.axi import lite_ports
from hw.interfaces import INDEX_BITS

_GROUP = 4
"""Words that the first stage of the read multiplexer takes together."""
_FLAGS = ("INTERRUPT_ENABLE", "TRACE_ENABLE")


def _values() -> dict[str, int]:
    """Values that the host writes, with their widths; a LOW/HIGH pair has ADDRESS_BITS."""
    values = {}
    for register in REGISTERS:
        if register.access != "rw" or register.name.endswith("_HIGH"):
            continue
        if register.name.endswith("_LOW"):
            values[register.name.removesuffix("_LOW")] = ADDRESS_BITS
        else:
            values[register.name] = 1 if register.name in _FLAGS else 32
    return values


VALUES = _values()
_INITIAL = {register.name: register.initial for register in REGISTERS}
STATES = {"STATUS": 4, "ERROR_CODE": 4, "ERROR_INDEX": INDEX_BITS, "TRACE_COUNT": 32}
"""Registers that the machine writes, with their widths (counters apart)."""


class Registers(Component):
    """Addresses and data of writes come in any order; strobes are honoured; unknown addresses read
    0; all answers are OKAY.

    Values written are ports by their lower-case names. ``start``, ``reset`` and ``acknowledge``
    pulse for CONTROL's bits.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            **lite_ports(),
            **{
                name.lower(): Out(width, init=_INITIAL.get(name, 0))
                for name, width in VALUES.items()
            },
            **{name.lower(): In(width) for name, width in STATES.items()},
            "start": Out(1),
            "reset": Out(1),
            "acknowledge": Out(1),
            "counter_request": Out(1),
            "counter_select": Out(range(len(COUNTERS))),
            "counter_high": Out(1),
            "counter_valid": In(1),
            "counter_value": In(32),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _word(self, name: str):
        """What the register at hand reads as (counters apart)."""
        constants = {
            "ID": MAGIC,
            "ISA_VERSION": ISA_VERSION,
            "FINGERPRINT": self._arch.fingerprint,
        }
        if name in constants:
            return Const(constants[name], 32)
        if name in VALUES or name in STATES:
            return getattr(self, name.lower())
        value = getattr(self, name.rpartition("_")[0].lower())
        return value[32:] if name.endswith("_HIGH") else value[:32]

    def _write(self, m: Module) -> None:
        address, word, strobe = Signal(REGISTER_SPACE_BITS), Signal(32), Signal(4)
        has_address, has_word, write = Signal(), Signal(), Signal()
        m.d.comb += [
            self.awready.eq(~has_address),
            self.wready.eq(~has_word),
            write.eq(has_address & has_word & ~self.bvalid),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address.eq(self.awaddr), has_address.eq(1)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [word.eq(self.wdata), strobe.eq(self.wstrb), has_word.eq(1)]
        with m.If(self.bvalid & self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [has_address.eq(0), has_word.eq(0), self.bvalid.eq(1)]
        mask = Cat(bit.replicate(8) for bit in strobe)
        for register in REGISTERS:
            if register.access != "rw":
                continue
            with m.If(write & (address[2:] == register.offset >> 2)):
                target = self._word(register.name)
                m.d.sync += target.eq((target & ~mask) | (word & mask))
        control = write & (address[2:] == OFFSETS["CONTROL"] >> 2) & strobe[0]
        m.d.sync += [
            self.start.eq(control & (word & CONTROL_START).any()),
            self.reset.eq(control & (word & CONTROL_RESET).any()),
            self.acknowledge.eq(control & (word & CONTROL_ACKNOWLEDGE).any()),
        ]

    def _read(self, m: Module) -> None:
        address = Signal(REGISTER_SPACE_BITS)
        plain = [r for r in REGISTERS if r.access != "wo" and not _is_counter(r.name)]
        first_counter = min(r.offset for r in REGISTERS if _is_counter(r.name))
        groups = sorted({r.offset // (4 * _GROUP) for r in plain})
        stage = {group: Signal(32, name=f"group_{group}") for group in groups}
        for group, chosen in stage.items():
            with m.Switch(address[2:4]):
                for i in range(_GROUP):
                    with m.Case(i):
                        names = [r.name for r in plain if r.offset == 4 * (group * _GROUP + i)]
                        m.d.sync += chosen.eq(self._word(names[0]) if names else 0)
        position = Signal(REGISTER_SPACE_BITS + 1)
        counter = Signal()
        m.d.sync += [
            position.eq(address - first_counter),
            counter.eq((address >= first_counter) & (address < first_counter + 8 * len(COUNTERS))),
        ]
        m.d.comb += [self.counter_select.eq(position >> 3), self.counter_high.eq(position[2])]
        with m.FSM():
            with m.State("ADDRESS"):
                m.d.comb += self.arready.eq(1)
                m.d.sync += address.eq(self.araddr)
                with m.If(self.arvalid):
                    m.next = "GROUP"
            with m.State("GROUP"):
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                with m.Switch(address[4:]):
                    for group, chosen in stage.items():
                        with m.Case(group):
                            m.d.sync += self.rdata.eq(chosen)
                    with m.Default():
                        m.d.sync += self.rdata.eq(0)
                m.d.sync += self.rvalid.eq(~counter)
                with m.If(counter):
                    m.next = "COUNTER"
                with m.Else():
                    m.next = "ANSWER"
            with m.State("COUNTER"):
                m.d.comb += self.counter_request.eq(1)
                m.d.sync += [self.rdata.eq(self.counter_value), self.rvalid.eq(self.counter_valid)]
                with m.If(self.counter_valid):
                    m.next = "ANSWER"
            with m.State("ANSWER"), m.If(self.rready):
                m.d.sync += self.rvalid.eq(0)
                m.next = "ADDRESS"


def _is_counter(name: str) -> bool:
    return name.rpartition("_")[0] in COUNTERS
