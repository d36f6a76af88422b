"""Counters and sums whose carries are short."""

from amaranth.hdl import Cat, Const, Module, Signal


def add_carry(a, b, carry):
    """a + b + carry in one carry chain."""
    return (Cat(Const(1, 1), a) + Cat(carry, b))[1:]


def count_up(m: Module, counter: Signal) -> None:
    """Add one to a wide counter: its upper half steps when the lower one is all ones."""
    half = len(counter) // 2
    low, high = counter[:half], counter[half:]
    m.d.sync += low.eq(low + 1)
    with m.If(low.all()):
        m.d.sync += high.eq(high + 1)


def count_both(m: Module, counter: Signal, up, down) -> None:
    """Add one for ``up`` and take one for ``down``, in one adder."""
    m.d.sync += counter.eq(counter + Cat(up ^ down, down & ~up).as_signed())
