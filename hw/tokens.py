"""Token counters: one from each unit to each of its peers (``isa.TOKEN_PEERS``)."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from codesign.isa import TOKEN_BITS, TOKEN_PEERS
from hw.counting import count_both


class Tokens(Component):
    """``give``, ``take`` and ``available`` are indexed by unit; a token given can be taken in the
    next cycle.

    ``clear`` empties all counters, whatever the run before left in them. A program never overflows
    one (its verifier sees to that): here it would wrap.
    """

    def __init__(self) -> None:
        units = len(TOKEN_PEERS)
        super().__init__({
            "clear": In(1),
            "give": In(2).array(units),
            "take": In(2).array(units),
            "available": Out(2).array(units),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        for taker, peers in TOKEN_PEERS.items():
            for i, giver in enumerate(peers):
                count = Signal(TOKEN_BITS, name=f"{giver.name}_to_{taker.name}".lower())
                given = self.give[giver][TOKEN_PEERS[giver].index(taker)]
                taken = self.take[taker][i]
                m.d.comb += self.available[taker][i].eq(count.any())
                count_both(m, count, given, taken)
                with m.If(self.clear):
                    m.d.sync += count.eq(0)
        return m
