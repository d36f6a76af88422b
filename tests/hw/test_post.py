"""Post-processing against ``codesign.arith``, cycle by cycle."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from codesign import arith, isa, latency
from codesign.arch import PARAM_RECORD_BITS, TABLE_ENTRIES, Arch, preset
from codesign.isa import LAYOUTS, Opcode
from hw.post import CONFIG_FIELDS, Post

PERIOD = 1e-8
FIELDS = {field.name: field for field in LAYOUTS[Opcode.CALC]}
TINY = preset("tiny")
LARGEST = (1 << arith.MAGNITUDE_BITS) - 1
DRAINING_TWO = TINY.replace(pixels=4, drain=2, acc_bits=24, tables=3)


def random_record(rng) -> dict[str, int]:
    """A channel's parameters, over the whole range of every field."""
    twice = int(rng.integers(0, 2))
    least = arith.TWICE_SHIFT_MIN if twice else arith.SHIFT_MIN
    shift = int(rng.integers(least, arith.SHIFT_MAX + 1))
    bias = int(rng.integers(-(1 << 31), 1 << 31)) >> int(rng.integers(0, 32))
    multiplier = int(rng.integers(-LARGEST - 1, LARGEST + 1))
    return {"bias": bias, "multiplier": multiplier, "shift": shift, "twice": twice}


def random_config(rng, arch: Arch) -> dict[str, int]:
    config = {}
    for name in CONFIG_FIELDS:
        low, high = FIELDS[name].range
        config[name] = int(rng.integers(low, high + 1))
    config["table_id"] %= arch.tables
    config["add_shift"] = int(rng.integers(arith.SHIFT_MIN, 38))
    config["low"], config["high"] = sorted((config["low"], config["high"]))
    return config


class Step:
    """One step's inputs: sums and residual by lane, records by channel, config."""

    def __init__(self, arch: Arch, rng, config=None, records=None, sums=None):
        lanes = arch.drain * arch.in_channels
        bits = arch.acc_bits
        self.config = random_config(rng, arch) if config is None else config
        self.records = records or [random_record(rng) for _ in range(arch.in_channels)]
        wide = rng.integers(-(1 << bits - 1), 1 << bits - 1, lanes)
        self.sums = wide >> rng.integers(0, bits, lanes) if sums is None else np.array(sums)
        self.residual = rng.integers(-128, 128, lanes)
        self.param_word = sum(
            isa.pack_parameter(record) << (PARAM_RECORD_BITS * channel)
            for channel, record in enumerate(self.records)
        )

    def words(self, tables) -> list[int]:
        """The definition (docs/machine.md, post-processing)."""
        c = self.config
        times = len(self.sums) // len(self.records)
        bias, multiplier, shift, twice = (
            np.array([record[name] for record in self.records] * times)
            for name in ("bias", "multiplier", "shift", "twice")
        )
        v = arith.wrap(self.sums + bias, 32)
        q = arith.requantize(v, multiplier, shift, c["zero_point"], twice.astype(bool))
        limits = c["low"], c["high"]
        q = arith.saturate(q, *((-128, 127) if c["residual"] else limits))
        if c["residual"]:
            q = arith.add_requantized(
                q, c["zero_point"], c["acc_multiplier"], self.residual, c["res_zero_point"],
                c["res_multiplier"], c["add_shift"], c["out_zero_point"],
            )  # fmt: skip
            q = arith.saturate(q, *limits)
        if c["table"]:
            return tables[c["table_id"]][q + 128].tolist()
        return (q & 0xFF).tolist()


def simulate(arch: Arch, steps, tables, gap: int = 0) -> dict[int, list[int]]:
    """The words of every cycle, counted from the first step's sums; a step every gap + 1 cycles."""
    dut = Post(arch)
    words = {}
    stride = gap + 1
    looked_up = any(step.config["table"] for step in steps)

    async def bench(ctx):
        ctx.set(dut.table_write.enable, 1)
        for address, byte in enumerate(tables.reshape(-1).tolist() if looked_up else []):
            ctx.set(dut.table_write.address, address)
            ctx.set(dut.table_write.data, byte)
            await ctx.tick()
        ctx.set(dut.table_write.enable, 0)
        for cycle in range(stride * len(steps) + latency.post(arch)):
            step, offset = divmod(cycle, stride)
            if step < len(steps) and offset == 0:
                drive(ctx, dut, steps[step])
            else:  # nothing may be looked at later than it is there
                drive(ctx, dut, steps[0])
            step, offset = divmod(cycle - latency.residual(), stride)
            if 0 <= step < len(steps) and offset == 0:
                for lane, byte in enumerate(steps[step].residual.tolist()):
                    ctx.set(dut.residual[lane], byte & 0xFF)
            words[cycle] = [ctx.get(word) for word in dut.words]
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(PERIOD)
    simulator.add_testbench(bench)
    simulator.run()
    return words


def drive(ctx, dut, step) -> None:
    for lane, value in enumerate(step.sums.tolist()):
        ctx.set(dut.sums[lane], value)
    ctx.set(dut.params, step.param_word)
    ctx.set(dut.config, step.config)


def check(arch: Arch, steps, rng, gap: int = 0) -> None:
    tables = rng.integers(0, 256, (arch.tables, TABLE_ENTRIES))
    words = simulate(arch, steps, tables, gap)
    for i, step in enumerate(steps):
        cycle = (gap + 1) * i + latency.post(arch)
        assert words[cycle] == step.words(tables), (i, step.config, step.records, step.sums)


@pytest.mark.parametrize("arch", [TINY, DRAINING_TWO], ids=["tiny", "drain two"])
def test_random_steps_with_a_config_each(arch):
    rng = np.random.default_rng(1)
    check(arch, [Step(arch, rng) for _ in range(300)], rng)


def test_steps_apart():
    rng = np.random.default_rng(2)
    check(TINY, [Step(TINY, rng) for _ in range(20)], rng, gap=3)


def plain_config(rng, **changes) -> dict[str, int]:
    config = random_config(rng, TINY)
    return config | {"residual": 0, "table": 0, "low": -128, "high": 127} | changes


def around_ties(rng, twice: int, shift: int) -> Step:
    """Sums next to the ties of a shift, for multipliers of every size and both signs."""
    records, sums = [], []
    powers = 1 << arith.MAGNITUDE_BITS - 1, -(1 << arith.MAGNITUDE_BITS - 1), -LARGEST - 1
    for _ in range(TINY.in_channels):
        multiplier = int(rng.choice([*powers, LARGEST, -LARGEST, 3, -1]))
        target = int(rng.integers(-140, 140)) * (1 << shift) + (1 << (shift - 1))
        if twice:  # on or beside a tie of the first step as well
            target += int(rng.integers(-1, 2)) << arith.TWICE_SHIFT - 1
        value = target // multiplier + int(rng.integers(-1, 2))
        sums.append(int(arith.wrap(value, 32)))
        records.append({"bias": 0, "multiplier": multiplier, "shift": shift, "twice": twice})
    zero_point = int(rng.choice([-128, 127, 0, int(rng.integers(-128, 128))]))
    return Step(TINY, rng, plain_config(rng, zero_point=zero_point), records, sums)


@pytest.mark.parametrize("twice", [0, 1], ids=["once", "twice"])
def test_values_around_every_rounding_and_clamp(twice):
    """Sums that fall on ties and on either side of them, for every shift and both signs."""
    rng = np.random.default_rng(3)
    least = arith.TWICE_SHIFT_MIN if twice else arith.SHIFT_MIN
    shifts = range(least, arith.SHIFT_MAX + 1)
    check(TINY, [around_ties(rng, twice, shift) for shift in shifts for _ in range(3)], rng)


def test_both_roundings_meet_at_small_values():
    """Products around zero and around every tie of both steps, exactly: v itself in a step of 2."""
    rng = np.random.default_rng(8)
    half = 1 << arith.MAGNITUDE_BITS - 1
    steps, differ = [], 0
    for shift in (arith.TWICE_SHIFT_MIN, arith.TWICE_SHIFT_MIN + 1, arith.TWICE_SHIFT_MIN + 3):
        for first in range(-40, 40, TINY.in_channels):
            sums = list(range(first, first + TINY.in_channels))
            for multiplier in (half, -half, half + 1, -half + 1):
                record = {"bias": 0, "multiplier": multiplier, "shift": shift, "twice": 1}
                config = plain_config(rng, zero_point=0)
                steps.append(Step(TINY, rng, config, [record] * TINY.in_channels, sums))
                once = arith.requantize(np.array(sums), multiplier, shift, 0)
                twice = arith.requantize_twice(np.array(sums), multiplier, shift, 0)
                differ += int((once != twice).sum())
    assert differ > 100
    check(TINY, steps, rng)


def test_largest_products():
    rng = np.random.default_rng(4)
    steps = []
    ends = -(1 << 31), (1 << 31) - 1
    for shift in (1, 2, 16, 17, 24, 25, 32, 33, 48, 49, 54, 55):
        for multiplier in (-LARGEST - 1, LARGEST, LARGEST // 2 + 1):
            twice = int(shift >= arith.TWICE_SHIFT_MIN and rng.integers(0, 2))
            record = {"bias": 0, "multiplier": multiplier, "shift": shift, "twice": twice}
            sums = [*ends, ends[0] + 1, 1 << 24]
            config = plain_config(rng, zero_point=int(rng.choice([-128, 0, 127])))
            steps.append(Step(TINY, rng, config, [record] * 4, sums))
    check(TINY, steps, rng)


def test_bias_wraps_to_32_bits():
    rng = np.random.default_rng(5)
    ends = -(1 << 31), (1 << 31) - 1
    biases, sums = (ends[0], ends[1], -1, 0xFFFF), (-1, 1, ends[0], ends[1])
    multiplier = 1 << arith.MAGNITUDE_BITS - 1
    records = [{"bias": bias, "multiplier": multiplier, "shift": 49, "twice": 0} for bias in biases]
    check(TINY, [Step(TINY, rng, plain_config(rng), records, sums)], rng)


def test_residual_at_its_extremes():
    """Multipliers, zero points and shifts of the residual add at their ends, ties included."""
    rng = np.random.default_rng(6)
    steps = []
    for add_shift in range(arith.SHIFT_MIN, arith.SHIFT_MAX + 1):
        ends = {name: int(rng.choice(FIELDS[name].range)) for name in CONFIG_FIELDS}
        config = ends | {"residual": 1, "table": 0, "add_shift": add_shift}
        if add_shift % 2:
            tie = 1 << min(add_shift - 1, arith.MAGNITUDE_BITS - 1)
            config |= {"acc_multiplier": tie, "res_multiplier": -tie}
        config |= {"low": -128, "high": int(rng.integers(-128, 128))}
        steps.append(Step(TINY, rng, config))
    check(TINY, steps, rng)


def test_table_is_chosen_by_every_step():
    rng = np.random.default_rng(7)
    steps = [
        Step(TINY, rng, plain_config(rng, table=i % 2, table_id=i % TINY.tables)) for i in range(40)
    ]
    check(TINY, steps, rng)
