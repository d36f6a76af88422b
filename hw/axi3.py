"""AXI4 and AXI4-Lite behind the ports of a Zynq-7000, which speak AXI3 (Arm IHI 0022, UG585).

In a block design Vivado puts converters between; a design without one needs these. Bursts of AXI3
have at most 16 beats, and write data carries an ID.
"""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Component, In, Out

from codesign.arch import Arch
from codesign.registers import ADDRESS_BITS, REGISTER_SPACE_BITS
from hw.axi import ID_BITS, Skid, lite_ports, read_ports, write_ports

BEATS = 16
"""Longest burst of AXI3."""
PORT_ADDRESS_BITS = 32
_PAGE_BITS = 12
"""No burst crosses 4 KiB, so that higher address bits of its pieces are the same."""
_OUTSTANDING = 32
"""Pieces under way for each ID; the memory port takes 8 (UG585, table 22-4)."""


def _address(prefix: str, id_bits: int, address_bits: int) -> dict:
    widths = {"id": id_bits, "addr": address_bits, "len": 4, "size": 2, "burst": 2, "lock": 2}
    widths |= {"cache": 4, "prot": 3, "qos": 4, "valid": 1}
    return {prefix + name: Out(width) for name, width in widths.items()} | {prefix + "ready": In(1)}


def memory_ports(arch: Arch) -> dict:
    """A master towards a memory port (S_AXI_HP), without a prefix; its IDs use the low bits."""
    return {
        **_address("ar", 6, PORT_ADDRESS_BITS),
        **{f"r{name}": In(width) for name, width in _read(6, arch.dma_bits).items()},
        "rready": Out(1),
        **_address("aw", 6, PORT_ADDRESS_BITS),
        **{f"w{name}": Out(width) for name, width in _write(6, arch.dma_bits).items()},
        "wready": In(1),
        "bid": In(6),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }


def control_ports() -> dict:
    """A slave of a control port (M_AXI_GP), without a prefix."""
    master = {
        **_address("ar", 12, PORT_ADDRESS_BITS),
        **{f"r{name}": In(width) for name, width in _read(12, 32).items()},
        "rready": Out(1),
        **_address("aw", 12, PORT_ADDRESS_BITS),
        **{f"w{name}": Out(width) for name, width in _write(12, 32).items()},
        "wready": In(1),
        "bid": In(12),
        "bresp": In(2),
        "bvalid": In(1),
        "bready": Out(1),
    }
    return {name: member.flip() for name, member in master.items()}


def _read(id_bits: int, bits: int) -> dict:
    return {"id": id_bits, "data": bits, "resp": 2, "last": 1, "valid": 1}


def _write(id_bits: int, bits: int) -> dict:
    return {"id": id_bits, "data": bits, "strb": bits // 8, "last": 1, "valid": 1}


def _flipped(prefix: str, ports: dict) -> dict:
    return {prefix + name: member.flip() for name, member in ports.items()}


class BurstSplitter(Component):
    """Cuts AXI4 bursts of whole beats into pieces that AXI3 takes, and joins the answers.

    ``s_*`` is the side of AXI4, ``m_*`` that of AXI3. Responses of a burst's pieces become one, the
    worst; address bits beyond the port's are dropped. Every output is a register or follows from
    registers alone; a burst's first piece is offered two cycles after its address was taken, the
    next ones every cycle; data and answers take one cycle.
    """

    def __init__(self, arch: Arch) -> None:
        self._arch = arch
        super().__init__({
            **_flipped("s_", read_ports(arch) | write_ports(arch)),
            **{"m_" + name: member for name, member in memory_ports(arch).items()},
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _flags(self, m: Module, channel: str) -> list:
        """For each ID a queue: whether its pieces under way are the last of their burst."""
        queues = [SyncFIFO(width=1, depth=_OUTSTANDING) for _ in range(1 << ID_BITS)]
        for i, queue in enumerate(queues):
            m.submodules[f"{channel}_last{i}"] = queue
        return queues

    def _cut(self, m: Module, channel: str, flags: list, room):
        """Pieces of one address channel; returns when one is made, its ID and its length."""

        def source(name):
            return getattr(self, f"s_{channel}{name}")

        def sink(name):
            return getattr(self, f"m_{channel}{name}")

        busy = Signal(name=f"{channel}_busy")
        address = Signal(ADDRESS_BITS, name=f"{channel}_address")
        identity = Signal(ID_BITS, name=f"{channel}_identity")
        rest = Signal(8, name=f"{channel}_rest")
        final, made = Signal(name=f"{channel}_final"), Signal(name=f"{channel}_made")
        length = Mux(final, rest[:4], BEATS - 1)
        shift = (BEATS * self._arch.beat_bytes).bit_length() - 1
        free = ~sink("valid") | sink("ready")
        m.d.comb += [
            source("ready").eq(~busy),
            final.eq(rest < BEATS),
            made.eq(busy & free & room & Cat(queue.w_rdy for queue in flags).all()),
            sink("size").eq(self._arch.beat_bytes.bit_length() - 1),
            sink("burst").eq(1),
            sink("cache").eq(0b0011),
        ]
        with m.If(sink("ready")):
            m.d.sync += sink("valid").eq(0)
        with m.If(made):
            page = Cat(address[shift:_PAGE_BITS])
            m.d.sync += [
                sink("valid").eq(1),
                sink("addr").eq(address),
                sink("len").eq(length),
                sink("id").eq(identity),
                address[shift:_PAGE_BITS].eq(page + 1),
                rest.eq(rest - BEATS),
                busy.eq(~final),
            ]
        with m.If(source("valid") & ~busy):
            m.d.sync += [
                busy.eq(1),
                address.eq(source("addr")),
                identity.eq(source("id")),
                rest.eq(source("len")),
            ]
        for i, queue in enumerate(flags):
            m.d.comb += [queue.w_en.eq(made & (identity == i)), queue.w_data.eq(final)]
        return made, identity, length

    def _read(self, m: Module) -> None:
        flags = self._flags(m, "ar")
        self._cut(m, "ar", flags, Const(1, 1))
        fields = {"id": ID_BITS, "data": self._arch.dma_bits, "resp": 2, "last": 1}
        m.submodules.answer = answer = Skid(data.StructLayout(fields))
        identity = self.m_rid[:ID_BITS]
        given, taken = answer.i.payload, answer.o.payload
        m.d.comb += [
            self.m_rready.eq(answer.i.ready),
            answer.i.valid.eq(self.m_rvalid),
            given.id.eq(identity),
            given.data.eq(self.m_rdata),
            given.resp.eq(self.m_rresp),
            given.last.eq(self.m_rlast & Array(queue.r_data for queue in flags)[identity]),
            self.s_rvalid.eq(answer.o.valid),
            answer.o.ready.eq(self.s_rready),
            *(getattr(self, f"s_r{name}").eq(taken[name]) for name in fields),
        ]
        ended = self.m_rvalid & answer.i.ready & self.m_rlast
        m.d.comb += [queue.r_en.eq(ended & (identity == i)) for i, queue in enumerate(flags)]

    def _write(self, m: Module) -> None:
        flags = self._flags(m, "aw")
        pieces = data.StructLayout({"id": ID_BITS, "length": 4})
        m.submodules.order = order = SyncFIFO(width=pieces.size, depth=_OUTSTANDING)
        made, identity, length = self._cut(m, "aw", flags, order.w_rdy)
        m.d.comb += [order.w_en.eq(made), order.w_data.eq(Cat(identity, length))]
        self._data(m, order, pieces)
        self._respond(m, flags)

    def _data(self, m: Module, order: SyncFIFO, pieces: data.StructLayout) -> None:
        """Data follow in the order of the addresses; every piece ends with WLAST."""
        fields = {"id": ID_BITS, "data": self._arch.dma_bits, "strb": self._arch.beat_bytes}
        fields |= {"last": 1}
        m.submodules.beat = beat = Skid(data.StructLayout(fields))
        active, left = Signal(), Signal(4)
        identity = Signal(ID_BITS, name="w_identity")
        following = pieces(order.r_data)
        moved = Signal()
        m.d.comb += [
            beat.i.valid.eq(self.s_wvalid & active),
            self.s_wready.eq(beat.i.ready & active),
            moved.eq(beat.i.valid & beat.i.ready),
            beat.i.payload.id.eq(identity),
            beat.i.payload.data.eq(self.s_wdata),
            beat.i.payload.strb.eq(self.s_wstrb),
            beat.i.payload.last.eq(left == 0),
            self.m_wvalid.eq(beat.o.valid),
            beat.o.ready.eq(self.m_wready),
            *(getattr(self, f"m_w{name}").eq(beat.o.payload[name]) for name in fields),
        ]
        m.d.comb += order.r_en.eq(order.r_rdy & (~active | (moved & (left == 0))))
        with m.If(moved):
            m.d.sync += [left.eq(left - 1), active.eq(left != 0)]
        with m.If(order.r_en):
            m.d.sync += [active.eq(1), left.eq(following.length), identity.eq(following.id)]

    def _respond(self, m: Module, flags: list) -> None:
        m.submodules.response = response = Skid(data.StructLayout({"id": ID_BITS, "resp": 2}))
        worst = Array(Signal(2, name=f"worst{i}") for i in range(len(flags)))
        identity = self.m_bid[:ID_BITS]
        final = Array(queue.r_data for queue in flags)[identity]
        taken = self.m_bvalid & response.i.ready
        joined = worst[identity] | self.m_bresp
        m.d.comb += [
            self.m_bready.eq(response.i.ready),
            response.i.valid.eq(self.m_bvalid & final),
            response.i.payload.id.eq(identity),
            response.i.payload.resp.eq(joined),
            self.s_bvalid.eq(response.o.valid),
            response.o.ready.eq(self.s_bready),
            self.s_bid.eq(response.o.payload.id),
            self.s_bresp.eq(response.o.payload.resp),
            *(queue.r_en.eq(taken & (identity == i)) for i, queue in enumerate(flags)),
        ]
        with m.If(taken):
            m.d.sync += worst[identity].eq(Mux(final, 0, joined))


class LiteBridge(Component):
    """A control port's accesses, bursts of any kind, as single ones of AXI4-Lite, in order.

    ``s_*`` is the side of AXI3, ``m_*`` that of AXI4-Lite. Reads and writes go side by side, one
    burst of each at a time; no output depends on an input of the same cycle.
    """

    def __init__(self) -> None:
        super().__init__({
            **{"s_" + name: member for name, member in control_ports().items()},
            **_flipped("m_", lite_ports()),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _burst(self, m: Module, channel: str):
        """Registers of a burst: its ID, address, beats left; and the next beat's address."""
        identity = Signal(12, name=f"{channel}_identity")
        address = Signal(REGISTER_SPACE_BITS, name=f"{channel}_address")
        rest = Signal(4, name=f"{channel}_rest")
        step = Signal(3, name=f"{channel}_step")
        moving = Signal(REGISTER_SPACE_BITS, name=f"{channel}_moving")
        following = Signal(REGISTER_SPACE_BITS, name=f"{channel}_following")
        stepped = Signal(REGISTER_SPACE_BITS, name=f"{channel}_stepped")
        m.d.comb += [
            stepped.eq(address + step),
            following.eq((address & ~moving) | (stepped & moving)),
        ]

        def port(name):
            return getattr(self, f"s_{channel}{name}")

        with m.If(port("valid") & port("ready")):
            bytes_ = (Const(1, 3) << port("size"))[:3]
            wrapped = (port("len") << port("size")) | (bytes_ - 1)[:2]
            everywhere = (1 << REGISTER_SPACE_BITS) - 1
            moved = Mux(port("burst") == 1, everywhere, Mux(port("burst") == 0, 0, wrapped))
            m.d.sync += [
                identity.eq(port("id")),
                address.eq(port("addr")),
                rest.eq(port("len")),
                step.eq(bytes_),
                moving.eq(moved),
            ]
        return identity, address, rest, following

    def _read(self, m: Module) -> None:
        identity, address, rest, following = self._burst(m, "ar")
        word, response = Signal(32, name="r_word"), Signal(2, name="r_response")
        m.d.comb += [
            self.m_araddr.eq(address),
            self.s_rid.eq(identity),
            self.s_rdata.eq(word),
            self.s_rresp.eq(response),
            self.s_rlast.eq(rest == 0),
        ]
        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += self.s_arready.eq(1)
                with m.If(self.s_arvalid):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.m_arvalid.eq(1)
                with m.If(self.m_arready):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.m_rready.eq(1)
                m.d.sync += [word.eq(self.m_rdata), response.eq(self.m_rresp)]
                with m.If(self.m_rvalid):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.s_rvalid.eq(1)
                with m.If(self.s_rready):
                    m.d.sync += [rest.eq(rest - 1), address.eq(following)]
                    with m.If(rest == 0):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "REQUEST"

    def _write(self, m: Module) -> None:
        identity, address, rest, following = self._burst(m, "aw")
        word, strobe = Signal(32, name="w_word"), Signal(4, name="w_strobe")
        response, address_due, data_due = Signal(2, name="b_response"), Signal(), Signal()
        m.d.comb += [
            self.m_awaddr.eq(address),
            self.m_wdata.eq(word),
            self.m_wstrb.eq(strobe),
            self.m_awvalid.eq(address_due),
            self.m_wvalid.eq(data_due),
            self.s_bid.eq(identity),
            self.s_bresp.eq(response),
        ]
        with m.If(self.m_awready):
            m.d.sync += address_due.eq(0)
        with m.If(self.m_wready):
            m.d.sync += data_due.eq(0)
        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.comb += self.s_awready.eq(1)
                m.d.sync += response.eq(0)
                with m.If(self.s_awvalid):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += self.s_wready.eq(1)
                m.d.sync += [word.eq(self.s_wdata), strobe.eq(self.s_wstrb)]
                with m.If(self.s_wvalid):
                    m.d.sync += [address_due.eq(1), data_due.eq(1)]
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.comb += self.m_bready.eq(1)
                with m.If(self.m_bvalid):
                    m.d.sync += [
                        response.eq(response | self.m_bresp),
                        rest.eq(rest - 1),
                        address.eq(following),
                    ]
                    with m.If(rest == 0):
                        m.next = "GIVE"
                    with m.Else():
                        m.next = "DATA"
            with m.State("GIVE"):
                m.d.comb += self.s_bvalid.eq(1)
                with m.If(self.s_bready):
                    m.next = "IDLE"
