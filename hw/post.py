"""Post-processing: accumulators become int8 words (``codesign.arith``), D*M channels per cycle."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from codesign import isa, latency
from codesign.arch import PARAM_RECORD_BITS, TABLE_ENTRIES, Arch
from codesign.arith import INT8_MAX, INT8_MIN, MULTIPLIER_BITS, TWICE_SHIFT
from hw.delay import delay

SUM_BITS = 32
"""Width of a sum with its bias."""
LOW_BITS = 17
"""Low bits of the sum, one cycle ahead of the rest: what a DSP multiplies without a sign, and the
shift of the cascade to the next DSP (7 Series DSP48E1, UG479)."""
PRODUCT_BITS = SUM_BITS + MULTIPLIER_BITS
DSP_RESULT_BITS = 48
ADD_BITS = MULTIPLIER_BITS + 10
"""Width of the sum of two products with a difference of bytes."""
ROWS = 4
"""Radix-4 digits of a difference of bytes, beside its lowest bit."""
ROW_SPLIT = 15
"""Bits of a product in LUTs that are added one cycle ahead of the rest."""
ROUND_BITS = 10
"""Twice a shifted value: beyond this, every zero point leaves it outside int8."""

CONFIG_FIELDS = (
    "residual", "table", "table_id", "zero_point", "low", "high", "res_zero_point",
    "out_zero_point", "acc_multiplier", "res_multiplier", "add_shift",
)  # fmt: skip
"""Fields of a CALC instruction that post-processing takes."""


def _shape(field: isa.Field):
    return signed(field.bits) if field.signed else field.bits


class PostConfig(data.StructLayout):
    """Fields of CALC that say what happens to a sum, with the widths of ``isa``; low <= high."""

    def __init__(self) -> None:
        fields = {field.name: field for field in isa.LAYOUTS[isa.Opcode.CALC]}
        super().__init__({name: _shape(fields[name]) for name in CONFIG_FIELDS})


class TableWrite(data.StructLayout):
    """One byte of a table; the address is table * TABLE_ENTRIES + entry."""

    def __init__(self, arch: Arch) -> None:
        depth = arch.tables * TABLE_ENTRIES
        super().__init__({"enable": 1, "address": range(depth), "data": 8})


class _Timeline:
    """A value after any number of cycles; what two users share is registered once."""

    def __init__(self, m: Module, value, name: str) -> None:
        self._m, self._name = m, name
        self._known = {0: value}

    def at(self, cycle: int):
        if cycle not in self._known:
            start = max(known for known in self._known if known < cycle)
            value = self._known[start]
            name = f"{self._name}_{cycle}"
            self._known[cycle] = delay(self._m, value, cycle - start, name)
        return self._known[cycle]


def _register(m: Module, name: str, value):
    """``value`` one cycle later."""
    return delay(m, value, 1, name)


def _shifted(m: Module, name: str, value, shift: _Timeline, cycle: int):
    """2 * value / 2**shift rounded down, saturated to ROUND_BITS, after POST_SHIFT cycles.

    ``value`` is there at ``cycle`` of the timeline. The shift goes by two bits of the amount at a
    time; of each result the bits that the rest can still bring into range are kept, and a flag
    tells whether they hold the value.
    """
    amount, rest = shift.at(cycle), shift.at(cycle + 1)
    doubled = Signal(signed(len(value) + 1), name=f"{name}_doubled")
    m.d.comb += doubled.eq(Cat(0, value))
    coarse, beyond16 = _fit(m, f"{name}_coarse", doubled, amount, 4, ROUND_BITS + 15)
    medium, beyond4 = _fit(m, f"{name}_medium", coarse, amount, 2, ROUND_BITS + 3)
    near = _register(m, f"{name}_near", medium)
    far = _register(m, f"{name}_far", Cat(beyond16, beyond4))
    negative = _register(m, f"{name}_negative", value[-1])
    fine, beyond1 = _fit(m, f"{name}_fine", near, rest, 0, ROUND_BITS)
    largest = (1 << (ROUND_BITS - 1)) - 1
    extreme = Mux(negative, Const(~largest, signed(ROUND_BITS)), largest)
    return _register(m, f"{name}_half", Mux(far.any() | beyond1, extreme, fine))


def _fit(m: Module, name: str, value, amount, position: int, bits: int):
    """A signed value shifted right by two bits of the amount, which is one LUT6 a bit.

    Returns the low bits of the result, and whether they do not hold it. That is told from the value
    as it comes, beside the shift.
    """
    steps = amount[position : position + 2]
    shifted = Signal.like(value, name=name)
    m.d.comb += shifted.eq(value >> Cat(Const(0, position), steps))
    top, beyond = len(value) - 1, 0
    for most in range(4):  # bits that a shift by so many steps or fewer leaves above the result
        first = bits - 1 + (most << position)
        end = top if most == 3 else first + (1 << position)
        above = value[min(first, top) : min(end, top)]
        differs = (above ^ value[top].replicate(len(above))).any()
        beyond |= differs & (steps <= most)
    return shifted[:bits].as_signed(), beyond


def _rounded(m: Module, name: str, half, zero_point):
    """(half + 1) // 2 + zero_point, registered: ties go towards plus infinity."""
    total = half + Cat(1, zero_point).as_signed()
    return _register(m, name, total[1:].as_signed())


def _clamped(m: Module, name: str, value, low, high):
    """``arith.saturate``, registered."""
    result = Mux(value > high, high, Mux(value < low, low, value[:8].as_signed()))
    return _register(m, name, result[:8].as_signed())


class Post(Component):
    """Bias, requantisation, residual add, clamp and table for D*M channels.

    Time: words leave ``latency.post(arch)`` cycles after their sums, one step per cycle.

    Ports
    -----
    sums:
        Accumulators as the array drains them: index d*M + m.
    params:
        M records (``isa.PARAM_RECORD``), one for each channel m; with the sums.
    config:
        What to do with them; with the sums, and free to change every cycle.
    residual:
        Bytes of the residual map, ``latency.residual()`` cycles after their sums.
    table_write:
        Writes one byte of a table, at any time: lookups from the next cycle on see it.
    words:
        Bytes of the destination map.
    """

    def __init__(self, arch: Arch) -> None:
        lanes = arch.drain * arch.in_channels
        self.arch = arch
        super().__init__({
            "sums": In(data.ArrayLayout(signed(arch.acc_bits), lanes)),
            "params": In(8 * arch.param_word_bytes),
            "config": In(PostConfig()),
            "residual": In(data.ArrayLayout(8, lanes)),
            "table_write": In(TableWrite(arch)),
            "words": Out(data.ArrayLayout(8, lanes)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        M = self.arch.in_channels
        config = {name: _Timeline(m, self.config[name], name) for name in CONFIG_FIELDS}
        limits = self._limits(m, config)
        records = [self._record(m, channel) for channel in range(M)]
        for lane in range(self.arch.drain * M):
            q = _requantized(m, f"lane{lane}", self.sums[lane], records[lane % M], config, limits)
            q = _residual_added(m, f"lane{lane}", q, self.residual[lane].as_signed(), config)
            m.d.comb += self.words[lane].eq(self._looked_up(m, lane, q, config))
        return m

    def _record(self, m: Module, channel: int) -> dict[str, _Timeline]:
        """The fields of a channel's parameters."""
        record = self.params.word_select(channel, PARAM_RECORD_BITS)
        fields = {}
        for field, position in isa.offsets(isa.PARAM_RECORD):
            value = record[position : position + field.bits]
            value = value.as_signed() if field.signed else value
            fields[field.name] = _Timeline(m, value, f"channel{channel}_{field.name}")
        return fields

    def _limits(self, m: Module, config):
        """Low and high clamp of the requantised sum: those of int8 where a residual follows."""
        cycle = latency.post_requantize() - latency.POST_CLAMP - 1
        residual = config["residual"].at(cycle)
        low = Mux(residual, Const(INT8_MIN, signed(8)), config["low"].at(cycle))
        high = Mux(residual, Const(INT8_MAX, signed(8)), config["high"].at(cycle))
        return _register(m, "first_low", low), _register(m, "first_high", high)

    def _looked_up(self, m: Module, lane: int, q, config):
        cycle = latency.post(self.arch) - latency.POST_TABLE
        memory = Memory(shape=8, depth=self.arch.tables * TABLE_ENTRIES, init=[])
        m.submodules[f"table{lane}"] = memory
        write, read = memory.write_port(), memory.read_port()
        entry = Value.cast(q) ^ (TABLE_ENTRIES // 2)  # x + 128 in eight bits
        m.d.comb += [
            write.addr.eq(self.table_write.address),
            write.data.eq(self.table_write.data),
            write.en.eq(self.table_write.enable),
            read.addr.eq(Cat(entry[:8], config["table_id"].at(cycle))),
        ]
        plain = _register(m, f"lane{lane}_plain", q)
        use = config["table"].at(cycle + 1)
        return _register(m, f"lane{lane}_word", Mux(use, read.data, plain[:8]))


def _requantized(m: Module, name: str, value, record, config, limits):
    """``arith.requantize``, or ``requantize_twice``, and saturation of a sum with its bias."""
    low, high = _biased(m, name, value, record["bias"])
    x = _product(m, name, low, high, record)
    cycle = latency.POST_BIAS + latency.POST_MULTIPLY
    half = _shifted(m, f"{name}_acc", x, record["shift"], cycle)
    cycle += latency.POST_SHIFT
    rounded = _rounded(m, f"{name}_acc_rounded", half, config["zero_point"].at(cycle))
    return _clamped(m, f"{name}_acc_clamped", rounded, *limits)


def _biased(m: Module, name: str, value, bias: _Timeline):
    """wrap32(value + bias) in two short carry chains.

    The low half is there after one cycle, the high half after POST_BIAS.
    """
    wide = Signal(signed(SUM_BITS), name=f"{name}_sum")
    m.d.comb += wide.eq(value)
    low = _register(m, f"{name}_biased_low", wide[:LOW_BITS] + bias.at(0)[:LOW_BITS])
    high = _register(m, f"{name}_sum_high", wide[LOW_BITS:])
    # Carry-in by an extra low bit: one carry chain for three terms.
    total = Cat(1, high) + Cat(low[LOW_BITS], bias.at(1)[LOW_BITS:])
    high = _register(m, f"{name}_biased_high", total[1 : 1 + SUM_BITS - LOW_BITS].as_signed())
    return low[:LOW_BITS], high


def _product(m: Module, name: str, low, high, record):
    """(high, low) * multiplier, PRODUCT_BITS wide, on two DSPs; the second adds the first's result.

    A sum that is rounded twice takes the first rounding as an addend of the first DSP: 2**(shift -
    1) and half the first step, towards the product's sign, round at once as ``requantize_twice``
    does step by step. For h = floor((x + 2**23) / 2**24) and s = shift - 24,

        floor((h + 2**(s-1) - (h < 0)) / 2**s) = floor((x +- 2**23 + 2**(shift-1)) / 2**shift),

    where x - 2**23 stands for x < 0; whatever the sign, zero and what lies by it become zero.
    """
    multiplier, cycle = record["multiplier"], latency.POST_BIAS
    minus = _register(m, f"{name}_minus", high[-1] ^ multiplier.at(cycle)[-1])
    twice = record["twice"].at(cycle + 1)
    step = Cat(Const(0, TWICE_SHIFT - 1), twice, twice & minus).as_signed()
    lower = _multiplied(m, f"{name}_low", Cat(low, 0).as_signed(), multiplier, cycle - 1)
    lower = _accumulated(m, f"{name}_lower", lower, step)
    upper = _multiplied(m, f"{name}_high", high, multiplier, cycle)
    upper = _accumulated(m, f"{name}_upper", upper, lower[LOW_BITS:].as_signed())
    lower = _register(m, f"{name}_lower_late", lower[:LOW_BITS])
    return Cat(lower, upper)[:PRODUCT_BITS].as_signed()


def _multiplied(m: Module, name: str, value, multiplier: _Timeline, cycle: int):
    """value * multiplier with the registers of a DSP before and behind."""
    operand = _register(m, f"{name}_operand", value)
    return _register(m, f"{name}_product", operand * multiplier.at(cycle + 1))


def _accumulated(m: Module, name: str, product, addend):
    """The sum of a DSP's product and another term, as wide as the DSP's result."""
    total = Signal(signed(DSP_RESULT_BITS), name=name, reset_less=True)
    m.d.sync += total.eq(product + addend)
    return total


def _residual_added(m: Module, name: str, q, residual, config):
    """``arith.add_requantized`` where there is a residual, and the final saturation."""
    arrival = latency.post_requantize()
    cycle = arrival + latency.POST_CENTRE
    a = _register(m, f"{name}_centred", q - config["zero_point"].at(arrival))
    second = _residual_product(m, name, residual, config)
    first = _multiplied(m, f"{name}_first", a, config["acc_multiplier"], cycle)
    total = _accumulated(m, f"{name}_add", first, second)
    cycle += latency.POST_ADD
    half = _shifted(m, f"{name}_add", total[:ADD_BITS].as_signed(), config["add_shift"], cycle)
    cycle += latency.POST_SHIFT
    added = _rounded(m, f"{name}_add_rounded", half, config["out_zero_point"].at(cycle))
    cycle += latency.POST_ROUND
    alone = delay(m, q, cycle - arrival, f"{name}_alone")
    result = Mux(config["residual"].at(cycle), added, alone)
    return _clamped(m, f"{name}_clamped", result, config["low"].at(cycle), config["high"].at(cycle))


def _residual_product(m: Module, name: str, residual, config):
    """(residual - res_zero_point) * res_multiplier in LUTs, when the DSP of the sum adds it.

    The centred residual's lowest bit, then digits in -2..2 (Booth, "A signed binary multiplication
    technique", 1951; radix 4): a row of adders each, whose LUTs choose the multiple too. The bits
    from ROW_SPLIT on are added a cycle later, with the carry of those below.
    """
    cycle = latency.residual()
    centred = _register(m, f"{name}_res_centred", residual - config["res_zero_point"].at(cycle))
    value = _Timeline(m, centred, f"{name}_res_centred")
    cycle += latency.POST_CENTRE

    def multiple(row: int, late: int):
        """A row's multiple and the + 1 due; and what the lowest bit contributes."""
        bits, factor = value.at(row + late), config["res_multiplier"].at(cycle + row + late)
        label = f"{name}_row{row}_{late}"
        return *_booth(m, label, Cat(0, bits[1:])[2 * row :][:3], factor), Mux(bits[0], factor, 0)

    low, high = multiple(0, 0)[2][:ROW_SPLIT], multiple(0, 1)[2][ROW_SPLIT:]
    done = [delay(m, low[0], latency.POST_ROWS, f"{name}_row_done")]
    low = low[1:]
    for row in range(ROWS):
        # Carry-in by an extra low bit; it completes the negation of a digit.
        partial, negative, _ = multiple(row, 0)
        total = Cat(1, low) + Cat(negative, partial[: len(low)])
        total = _register(m, f"{name}_row{row}_low", total[1 : len(low) + 2])
        partial, _, _ = multiple(row, 1)
        above = Cat(1, high).as_signed() + Cat(total[-1], partial[len(low) :]).as_signed()
        width = MULTIPLIER_BITS + 3 + 2 * row - ROW_SPLIT
        high = _register(m, f"{name}_row{row}_high", above[1 : width + 1].as_signed())
        ready = 2 if row < ROWS - 1 else len(low)
        done.append(delay(m, total[:ready], ROWS - row, f"{name}_row{row}_done"))
        low = total[ready:-1]
    return Cat(*done, high).as_signed()


def _booth(m: Module, name: str, bits, factor):
    """The multiple of ``factor`` for a radix-4 digit: complement if negative, and the + 1 due."""
    negative, single = bits[2], bits[0] ^ bits[1]
    double = bits == Mux(negative, 0b100, 0b011)
    magnitude = Signal(signed(MULTIPLIER_BITS + 1), name=name)
    m.d.comb += magnitude.eq(Mux(single, factor, Mux(double, Cat(0, factor).as_signed(), 0)))
    return Mux(negative, ~magnitude, magnitude), negative
