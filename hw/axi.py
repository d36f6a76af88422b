"""AXI4 towards DRAM (Arm IHI 0022): port lists, and the two arbiters through which units share the
master port.

Valid never waits for ready, every output is a register, and no path leads from an input of the bus
to an output.
"""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from codesign.registers import ADDRESS_BITS, REGISTER_SPACE_BITS

ID_BITS = 1
LOAD_ID, FETCH_ID = 0, 1
SAVE_ID, TRACE_ID = 0, 1
_INCREMENTING = 1
_BUFFERABLE = 0b0011
"""AxCACHE: normal memory, neither cacheable nor allocating."""


def _address_channel(prefix: str) -> dict:
    widths = {"id": ID_BITS, "addr": ADDRESS_BITS, "len": 8, "size": 3, "burst": 2, "lock": 1}
    widths |= {"cache": 4, "prot": 3, "qos": 4, "valid": 1}
    return {prefix + name: Out(width) for name, width in widths.items()} | {prefix + "ready": In(1)}


def read_ports(arch: Arch) -> dict:
    """Read channels of the master port, without a prefix."""
    return _address_channel("ar") | {
        "rid": In(ID_BITS),
        "rdata": In(arch.dma_bits),
        "rresp": In(2),
        "rlast": In(1),
        "rvalid": In(1),
        "rready": Out(1),
    }


def write_ports(arch: Arch) -> dict:
    """Write channels of the master port, without a prefix."""
    return _address_channel("aw") | {
        "wdata": Out(arch.dma_bits),
        "wstrb": Out(arch.beat_bytes),
        "wlast": Out(1),
        "wvalid": Out(1),
        "wready": In(1),
        "bid": In(ID_BITS),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def lite_ports() -> dict:
    """The AXI4-Lite slave port, without a prefix."""
    return {
        "awaddr": In(REGISTER_SPACE_BITS),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(32),
        "wstrb": In(4),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(REGISTER_SPACE_BITS),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(32),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }


class Burst(data.StructLayout):
    """A burst to request: address of the first beat, number of beats less one."""

    def __init__(self) -> None:
        super().__init__({"address": ADDRESS_BITS, "length": 8})


class WriteBeat(data.StructLayout):
    """A beat of write data."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"data": arch.dma_bits, "strobe": arch.beat_bytes, "last": 1})


class Skid(Component):
    """A register for both directions of a stream: one transfer per cycle, latency one cycle."""

    def __init__(self, shape) -> None:
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal(self._shape)
        spare_valid = Signal()
        m.d.comb += self.i.ready.eq(~spare_valid)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(spare_valid | self.i.valid),
                self.o.payload.eq(Mux(spare_valid, spare.as_value(), self.i.payload.as_value())),
                spare_valid.eq(0),
            ]
        with m.Elif(self.i.valid & ~spare_valid):
            m.d.sync += [spare.eq(self.i.payload), spare_valid.eq(1)]
        return m


def _request(m: Module, ports, prefix: str, arch: Arch, sources, identity, allowed):
    """One address channel shared by two sources; returns the cycle of acceptance and the one
    chosen.

    Source 1 goes first, but not twice while source 0 waits. The choice is made a cycle ahead and
    the channel is free every other cycle at most, so that no ready depends on a valid.
    """

    def port(name):
        return getattr(ports, prefix + name)

    choice, last = Signal(), Signal()
    free = ~port("valid") & allowed
    payload = Mux(choice, sources[1].payload.as_value(), sources[0].payload.as_value())
    chosen = Burst()(payload)
    accept = Signal()
    m.d.sync += choice.eq(sources[1].valid & ~(sources[0].valid & last))
    m.d.comb += [
        sources[0].ready.eq(free & ~choice),
        sources[1].ready.eq(free & choice),
        accept.eq(free & Mux(choice, sources[1].valid, sources[0].valid)),
        port("size").eq(arch.beat_bytes.bit_length() - 1),
        port("burst").eq(_INCREMENTING),
        port("cache").eq(_BUFFERABLE),
    ]
    with m.If(accept):
        m.d.sync += [
            port("valid").eq(1),
            port("addr").eq(chosen.address),
            port("len").eq(chosen.length),
            port("id").eq(Mux(choice, identity[1], identity[0])),
            last.eq(choice),
        ]
    with m.Elif(port("ready")):
        m.d.sync += port("valid").eq(0)
    return accept, choice


class ReadArbiter(Component):
    """LOAD's and FETCH's requests on one read port; beats go back by identity, one cycle after the
    bus.

    A requester has room for all it asks for: read data is always accepted. ``busy`` while a burst
    is outstanding; the end of a burst that none asked for since the last reset is not counted.
    """

    _OUTSTANDING_BITS = 11

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            "load": In(stream.Signature(Burst())),
            "fetch": In(stream.Signature(Burst())),
            "load_beat": Out(1),
            "fetch_beat": Out(1),
            "beat": Out(arch.dma_bits),
            "error": Out(1),
            "busy": Out(1),
            **read_ports(arch),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        sources = (self.load, self.fetch)
        accept, _ = _request(m, self, "ar", self._arch, sources, (LOAD_ID, FETCH_ID), Const(1, 1))
        accepted, ended = Signal(), Signal()
        outstanding = Signal(self._OUTSTANDING_BITS)
        m.d.comb += self.rready.eq(1)
        m.d.sync += [
            self.beat.eq(self.rdata),
            self.error.eq(self.rresp[1]),
            self.load_beat.eq(self.rvalid & (self.rid == LOAD_ID)),
            self.fetch_beat.eq(self.rvalid & (self.rid == FETCH_ID)),
            accepted.eq(accept),
            ended.eq(self.rvalid & self.rlast),
            self.busy.eq(outstanding.any() | accepted),
        ]
        with m.If(accepted & ~ended):
            m.d.sync += outstanding.eq(outstanding + 1)
        with m.Elif(~accepted & ended & outstanding.any()):
            m.d.sync += outstanding.eq(outstanding - 1)
        return m


class WriteArbiter(Component):
    """SAVE's and the trace's bursts on one write port: data follow in the order of the addresses.

    ``save_done`` and ``trace_done`` pulse for each response, with ``error``; ``beat`` for each beat
    that the bus took.
    """

    _ORDER_DEPTH = 8

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        beats = stream.Signature(WriteBeat(arch))
        super().__init__({
            "save": In(stream.Signature(Burst())),
            "save_data": In(beats),
            "trace": In(stream.Signature(Burst())),
            "trace_data": In(beats),
            "save_done": Out(1),
            "trace_done": Out(1),
            "error": Out(1),
            "beat": Out(1),
            "busy": Out(1),
            **write_ports(arch),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = SyncFIFO(width=1, depth=self._ORDER_DEPTH)
        m.submodules.skid = skid = Skid(WriteBeat(self._arch))
        sources = (self.save, self.trace)
        accept, choice = _request(
            m, self, "aw", self._arch, sources, (SAVE_ID, TRACE_ID), order.w_rdy
        )
        self._data(m, order, skid)
        accepted, ended = Signal(), Signal()
        outstanding = Signal(8)
        m.d.comb += [order.w_en.eq(accept), order.w_data.eq(choice), self.bready.eq(1)]
        m.d.sync += [
            self.save_done.eq(self.bvalid & (self.bid == SAVE_ID)),
            self.trace_done.eq(self.bvalid & (self.bid == TRACE_ID)),
            self.error.eq(self.bresp[1]),
            self.beat.eq(self.wvalid & self.wready),
            accepted.eq(accept),
            ended.eq(self.bvalid),
            self.busy.eq(outstanding.any() | accepted),
        ]
        with m.If(accepted & ~ended):
            m.d.sync += outstanding.eq(outstanding + 1)
        with m.Elif(~accepted & ended & outstanding.any()):
            m.d.sync += outstanding.eq(outstanding - 1)
        return m

    def _data(self, m: Module, order: SyncFIFO, skid: Skid) -> None:
        turn = order.r_data
        save, trace = self.save_data, self.trace_data
        payload = Mux(turn, trace.payload.as_value(), save.payload.as_value())
        moved = skid.i.valid & skid.i.ready
        m.d.comb += [
            skid.i.valid.eq(order.r_rdy & Mux(turn, trace.valid, save.valid)),
            skid.i.payload.eq(payload),
            save.ready.eq(order.r_rdy & ~turn & skid.i.ready),
            trace.ready.eq(order.r_rdy & turn & skid.i.ready),
            order.r_en.eq(moved & skid.i.payload.last),
            self.wvalid.eq(skid.o.valid),
            skid.o.ready.eq(self.wready),
            self.wdata.eq(skid.o.payload.data),
            self.wstrb.eq(skid.o.payload.strobe),
            self.wlast.eq(skid.o.payload.last),
        ]
