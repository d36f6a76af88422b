"""One pixel's multipliers and accumulators: two weights share a DSP, four DSPs make a chain.

A packed pair {w1', 9 * sign(w0), w0} is the number w1 * 2**17 + w0 (docs/machine.md), so one 25x18
multiplier yields both products. Four low ones, of at most 127 * 128 each, fit the 17 bits below
the high ones as a signed number; where it is negative it has borrowed one from the high sum, which
gets it back by the carry-in of a later adder.
"""

from amaranth import Cat, Const, Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign import latency
from codesign.arch import CHAIN_LENGTH, Arch
from hw.delay import delay

FIELD_BITS = 17
"""Width of the low product's field in a packed pair."""
PAIR_BITS = 25
"""Width of a packed pair: that of the DSP48E1's wide port."""
PRODUCT_BITS = PAIR_BITS + 8
CASCADE_BITS = 48
"""Width of a DSP48's adder and cascade."""
LOW_BITS = 16
"""Bits of an accumulator added one cycle ahead of the rest, which halves its carry chain."""


class EntryControl(data.StructLayout):
    """With a tap's activations. valid: a tap is present. first: of its group. maximum: mode."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "first": 1, "maximum": 1})


class SumControl(data.StructLayout):
    """With a tap's sums. valid: add them. last: keep the result. clear: the next tap is a first."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "last": 1, "clear": 1})


def packed_pair(even, odd):
    """The multiplier's operand from the stored bytes of an even output and its odd neighbour."""
    return Cat(even, even[-1].replicate(PAIR_BITS - 16), odd).as_signed()


def _chain(m: Module, name: str, pairs, acts):
    """The sums of CHAIN_LENGTH packed products.

    Position i's operands come i cycles after position 0's, so that every adder takes its
    predecessor's sum from the cascade.
    """
    cascade = Const(0)
    for i, (pair, act) in enumerate(zip(pairs, acts, strict=True)):
        product = Signal(signed(PRODUCT_BITS), name=f"{name}_product{i}", reset_less=True)
        total = Signal(signed(CASCADE_BITS), name=f"{name}_total{i}", reset_less=True)
        m.d.sync += [product.eq(pair * act), total.eq(product + cascade if i else product)]
        cascade = total
    return cascade


def _added(a, b, carry=None):
    """a + b + carry in one carry chain, as bits: the carry-in is an extra low bit."""
    if carry is None:
        return a + b

    def extended(value, bit):
        bits = Cat(bit, value)
        return bits.as_signed() if value.shape().signed else bits

    return (extended(a, 1) + extended(b, carry))[1:]


def _tree(m: Module, name: str, terms, carries):
    """The sum of a power of two of terms, a register behind every adder.

    Every adder takes one of ``carries``; returns the sum and the carries left over.
    """
    level = 0
    while len(terms) > 1:
        sums = []
        for i, (a, b) in enumerate(zip(terms[::2], terms[1::2], strict=True)):
            total = _added(a, b, carries.pop() if carries else None).as_signed()
            sums.append(delay(m, total, 1, f"{name}_sum{level}_{i}"))
        carries = [delay(m, bit, 1, f"{name}_carry{level}_{i}") for i, bit in enumerate(carries)]
        terms, level = sums, level + 1
    return terms[0], carries


def _keep(m: Module, name: str, total, summed, control):
    """Registers ``summed`` in ``total``; returns the register that keeps a group's result.

    Clearing ``total`` ahead of a group, while the result stays in a register of its own, leaves
    one LUT a bit: synchronous resets are free, gating an adder's operand is not.
    """
    result = Signal(len(total), name=name, reset_less=True)
    with m.If(control.valid):
        m.d.sync += total.eq(summed)
        with m.If(control.last):
            m.d.sync += result.eq(summed)
    with m.If(control.clear):
        m.d.sync += total.eq(0)
    return result


def _accumulator(m: Module, name: str, term, carries, control, delayed, bits: int):
    """The result's two halves, the high one a cycle behind the low; ``delayed`` is its control."""
    low = Signal(LOW_BITS, name=f"{name}_low_total", reset_less=True)
    high = Signal(bits - LOW_BITS, name=f"{name}_high_total", reset_less=True)
    low_sum = Signal(LOW_BITS + 1, name=f"{name}_low_sum")
    high_sum = Signal(len(high), name=f"{name}_high_sum")
    m.d.comb += low_sum.eq(_added(low, term[:LOW_BITS], *carries))
    carry = delay(m, low_sum[LOW_BITS], 1, f"{name}_carry")
    rest = delay(m, term[LOW_BITS:].as_signed(), 1, f"{name}_rest")
    m.d.comb += high_sum.eq(_added(high, rest, carry))
    return (
        _keep(m, f"{name}_low", low, low_sum, control),
        _keep(m, f"{name}_high", high, high_sum, delayed),
    )


class PixelLane(Component):
    """N sums of products for one pixel.

    Time: ``low`` holds a group's sums ``latency.array_sum(arch)`` + 1 cycles after the last tap's
    activations came, ``high`` one cycle later, both c cycles later still for output block c; they
    stay until the next group's. A tap enters every cycle.

    Ports
    -----
    acts, entry:
        A tap's activations, and its control in the same cycle.
    pairs:
        The weights as the multipliers' operand registers hold them: index channel * N/2 + pair,
        skewed like the activations (by channel mod CHAIN_LENGTH, plus c).
    control:
        For each output block c, the tap's control when its products reach the accumulators.
    low, high:
        Halves of the results, index n.
    """

    def __init__(self, arch: Arch) -> None:
        M, N, k = arch.in_channels, arch.out_channels, arch.planes
        self.arch = arch
        super().__init__({
            "acts": In(data.ArrayLayout(signed(8), M)),
            "entry": In(EntryControl()),
            "pairs": In(data.ArrayLayout(signed(PAIR_BITS), M * N // 2)),
            "control": In(data.ArrayLayout(SumControl(), k)),
            "low": Out(data.ArrayLayout(LOW_BITS, N)),
            "high": Out(data.ArrayLayout(arch.acc_bits - LOW_BITS, N)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        M, k = self.arch.in_channels, self.arch.planes
        acts = [self._operands(m, channel) for channel in range(M)]
        for c in range(k):
            control = self.control[c]
            delayed = delay(m, control, 1, f"control{c}")
            for pair in range(c * M // 2, (c + 1) * M // 2):
                terms = self._pair_terms(m, pair, [act[c] for act in acts])
                for n, (term, carries) in zip((2 * pair, 2 * pair + 1), terms, strict=True):
                    bits = self.arch.acc_bits
                    low, high = _accumulator(m, f"acc{n}", term, carries, control, delayed, bits)
                    m.d.comb += [self.low[n].eq(low), self.high[n].eq(high)]
        return m

    def _operands(self, m: Module, channel: int):
        """The channel's activation as each output block's multipliers take it.

        The first register also finds the running maximum: it keeps a larger earlier value.
        """
        act = self.acts[channel]
        entry = self.entry
        running = Signal(signed(8), name=f"act{channel}", reset_less=True)
        with m.If(entry.valid & (~entry.maximum | entry.first | (act > running))):
            m.d.sync += running.eq(act)
        skew = channel % CHAIN_LENGTH
        operand = delay(m, running, latency.ARRAY_EXPAND - 1 + skew, f"act{channel}_skewed")
        blocks = []
        for c in range(self.arch.planes):
            operand = delay(m, operand, latency.ARRAY_OPERAND, f"operand{channel}_{c}")
            blocks.append(operand)
        return blocks

    def _pair_terms(self, m: Module, pair: int, acts):
        """A tap's sum, and a carry due, for the pair's even and odd output."""
        M, N = self.arch.in_channels, self.arch.out_channels
        chains = [
            _chain(
                m,
                f"pair{pair}_{channels.start}",
                [self.pairs[channel * N // 2 + pair] for channel in channels],
                [acts[channel] for channel in channels],
            )
            for channels in (range(s, s + CHAIN_LENGTH) for s in range(0, M, CHAIN_LENGTH))
        ]
        evens = [chain[:FIELD_BITS].as_signed() for chain in chains]
        odds = [chain[FIELD_BITS : 2 * FIELD_BITS].as_signed() for chain in chains]
        borrows = [even[-1] for even in evens]
        name = f"output{2 * pair}", f"output{2 * pair + 1}"
        return _tree(m, name[0], evens, []), _tree(m, name[1], odds, borrows)
