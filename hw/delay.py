"""Shift registers without reset: synthesis maps them to SRLs or registers of DSP and BRAM."""

from amaranth import Cat, Module, Signal, Value
from amaranth.hdl import ValueCastable

PACKED_BITS = 64
"""Shift registers up to this size are one vector: a simulator moves it with one operation."""


def delay(m: Module, signal, cycles: int, name: str | None = None):
    """``signal`` as it was ``cycles`` clock cycles ago, in its own shape; zero after configuration.

    Parameters
    ----------
    signal:
        A value or a view (``amaranth.lib.data``).
    cycles:
        0 returns ``signal`` itself.
    name:
        Prefix of the registers' names; that of ``signal`` where it has one.

    Raises
    ------
    ValueError
        ``cycles`` is negative.
    """
    if cycles < 0:
        raise ValueError(f"cannot delay by {cycles} cycles; only the future would know")
    if cycles == 0:
        return signal
    value = Value.cast(signal)
    name = name or getattr(value, "name", "delay")
    shape = signal.shape() if isinstance(signal, ValueCastable) else value.shape()
    if cycles > 1 and len(value) * cycles <= PACKED_BITS:
        line = Signal(len(value) * cycles, name=f"{name}_line", reset_less=True)
        m.d.sync += line.eq(Cat(value, line))
        delayed = Signal(shape, name=f"{name}_d{cycles}")
        m.d.comb += Value.cast(delayed).eq(line[-len(value) :])
        return delayed
    for cycle in range(1, cycles + 1):
        stage = Signal(shape, name=f"{name}_d{cycle}", reset_less=True)
        m.d.sync += Value.cast(stage).eq(value)
        value = Value.cast(stage)
    return stage
