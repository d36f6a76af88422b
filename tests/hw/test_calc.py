"""CALC against the machine reference, bit for bit, and ``codesign.latency``, cycle for cycle."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from codesign import isa, latency
from codesign.arch import preset
from codesign.arith import SHIFT_MAX
from codesign.isa import ErrorCode, Mode, Opcode
from hw.sequencer import FIELDS, Checker
from tests.hw.calc_bench import (
    Bench,
    Layer,
    expected_act,
    random_memories,
    schedule,
    write_taps,
)

SMALL = preset("tiny").replace(act_depth=128, wgt_depth=64, param_depth=8, tap_depth=64, tables=2)
ARCHS = {
    "tiny": SMALL,
    "five pixels": SMALL.replace(pixels=5),
    "whole drain": SMALL.replace(pixels=3, drain=3),
    "two planes": SMALL.replace(pixels=4, out_channels=8, drain=2),
    "two planes, one drain": SMALL.replace(pixels=3, out_channels=8),
    "one lane": SMALL.replace(pixels=1),
    "odd depths": SMALL.replace(act_depth=100, wgt_depth=600, tap_depth=70),
}


def every_arch(*quick):
    """All architectures, those not named as slow tests."""
    return pytest.mark.parametrize(
        "arch",
        [
            pytest.param(arch, id=name, marks=() if name in quick else pytest.mark.slow)
            for name, arch in ARCHS.items()
        ],
    )


RESIDUAL = {
    "residual": 1,
    "res_region": 2,
    "res_bank": 0,
    "res_row": 3,
    "res_zero_point": -7,
    "out_zero_point": 11,
    "acc_multiplier": 9_000_000,
    "res_multiplier": -8_300_000,
    "add_shift": 24,
}
DENSE = Layer(Mode.DENSE, (5, 7), 7, (3, 3), (1, 1))
LAYERS = {
    "dense": DENSE,
    "dense, two input blocks": Layer(Mode.DENSE, (5, 5), 6, (3, 2), (1, 1), blocks=2),
    "dense 1x1": Layer(Mode.DENSE, (4, 6), 6, (1, 1), (0, 0)),
    "dense valid": Layer(Mode.DENSE, (6, 7), 7, (3, 3), (0, 0), source=(0, 4)),
    "depthwise": Layer(Mode.DEPTHWISE, (5, 7), 7, (3, 3), (1, 1)),
    "max": Layer(Mode.MAX, (5, 7), 8, (3, 3), (1, 1)),
    "narrow": Layer(Mode.DENSE, (6, 3), 3, (3, 3), (1, 1)),
    "vector": Layer(Mode.DENSE, (1, 1), 3, (1, 1), (0, 0), blocks=2),
    "clamp": Layer(Mode.DENSE, (4, 4), 4, (1, 1), (0, 0), fields={"low": 0, "high": 40}),
    "table": Layer(Mode.DENSE, (4, 5), 5, (2, 2), (0, 0), fields={"table": 1, "table_id": 1}),
    "lines from the middle": Layer(
        Mode.DENSE, (7, 5), 5, (3, 3), (1, 1), source=(0, 10), fields={"y_start": 2, "groups": 3}
    ),
}


def residual_of(arch, width) -> dict[str, int]:
    pitch = {"res_pitch_bank": width % arch.pixels, "res_pitch_row": width // arch.pixels}
    return RESIDUAL | pitch | {"res_plane_rows": 40}


def check(arch, memories, instructions, arrivals=None, tokens=((), ())):
    """Run; data and every start and end must be as predicted. Returns the outcome."""
    outcome = Bench(arch, memories, instructions, arrivals, tokens).run()
    predicted = schedule(arch, instructions, arrivals, tokens)
    assert not outcome.faults
    assert outcome.transfers == predicted.transfers
    assert outcome.starts == predicted.starts
    assert outcome.ends == predicted.ends
    assert outcome.gives == predicted.gives
    before = memories.act.copy()
    wanted = expected_act(memories, instructions)
    wrong = np.argwhere((outcome.act != wanted).any(axis=2))
    assert wrong.size == 0, f"region, pixel: {wrong[:8].tolist()} of {len(wrong)}"
    assert (wanted != before).any(), "the case computes nothing"
    return outcome


def prepared(arch, layers, seed=1):
    """Memories with the layers' taps, and where each layer's taps begin."""
    memories = random_memories(arch, np.random.default_rng(seed))
    bases, first = [], 0
    for layer in layers:
        taps = layer.taps(arch)
        write_taps(memories, first, taps)
        bases.append(first)
        first += len(taps)
    return memories, bases


@every_arch("tiny")
def test_layers_in_a_row(arch):
    """All layers, each behind a fence: the next one overwrites the same destination."""
    layers = list(LAYERS.values())
    arch = arch.replace(tap_depth=128, act_depth=max(arch.act_depth, 256 // arch.pixels + 60))
    memories, bases = prepared(arch, layers)
    instructions = [
        layer.instruction(arch, base, fence=1, wgt_base=5 + base % 7)
        for layer, base in zip(layers, bases, strict=True)
    ]
    check(arch, memories, instructions)


@every_arch("whole drain", "two planes")
def test_residual(arch):
    memories, _ = prepared(arch, [DENSE])
    plain = DENSE.instruction(arch, **residual_of(arch, 7))
    table = DENSE.instruction(
        arch, **residual_of(arch, 7) | {"table": 1, "low": -100, "high": 90, "dst_row": 50}
    )
    check(arch, memories, [plain, table])


@pytest.mark.parametrize(
    "arch",
    [
        *(ARCHS[name] for name in ("tiny", "five pixels", "two planes, one drain")),
        ARCHS["two planes"],
        ARCHS["whole drain"],
        SMALL.replace(pixels=4, drain=4),
        SMALL.replace(pixels=6, out_channels=8, drain=3),
        SMALL.replace(pixels=5, drain=5),
    ],
    ids=lambda arch: f"P{arch.pixels}, D{arch.drain}, N{arch.out_channels}",
)
@pytest.mark.parametrize("y_start", [0, 3])
def test_phase_split_destination_and_residual(arch, y_start):
    """Odd extents; grid lines from an odd line on write the lower half of each phase plane."""
    arch = arch.replace(act_depth=256)
    width = -(-5 // arch.drain) * arch.drain  # the grid's; the map has five columns
    layer = Layer(Mode.DENSE, (7, 5), width, (1, 1), (0, 0))
    memories, _ = prepared(arch, [layer])
    lines = {"y_start": y_start, "groups": -(-(7 - y_start) * width // arch.pixels)}
    pitch = {"pitch_bank": 3 % arch.pixels, "pitch_row": 3 // arch.pixels}
    phases = {"split": 1, "phase_rows": 9, "plane_rows": 40} | pitch
    fields = {f"dst_{k}": v for k, v in phases.items()}
    fields |= RESIDUAL | {f"res_{k}": v for k, v in phases.items()}
    check(arch, memories, [layer.instruction(arch, **fields, **lines)])


@pytest.mark.parametrize("name", ["tiny", "whole drain", "five pixels"])
def test_stride_two_reads_phase_planes(name):
    """A 3x3 kernel of stride 2 on a 7x7 map: each tap reads one of four planes of pitch 4."""
    arch = ARCHS[name].replace(act_depth=256)
    phase_rows = 16 // arch.pixels + 1
    taps = []
    for ky in range(3):
        for kx in range(3):
            y, x = ky - 1, kx - 1
            row, bank = divmod((y >> 1) * 4 + (x >> 1), arch.pixels)
            row += (2 * (y & 1) + (x & 1)) * phase_rows
            offsets = {"dy": y >> 1, "dx": x >> 1, "short_y": y & 1, "short_x": x & 1}
            taps.append({"bank": bank, "row": row} | offsets)
    layer = Layer(Mode.DENSE, (4, 4), 4, (3, 3), (1, 1))
    memories, _ = prepared(arch, [layer])
    write_taps(memories, 0, taps)
    check(arch, memories, [layer.instruction(arch)])


@every_arch("tiny", "two planes", "one lane")
def test_back_to_back_keeps_the_array_busy(arch):
    """Long and short groups follow each other without a gap (two cycles after the shortest)."""
    short = Layer(Mode.DENSE, (2, 4), 4, (1, 1), (0, 0), destination=(2, 0))
    depthwise = Layer(Mode.DEPTHWISE, (3, 4), 4, (2, 2), (1, 0), destination=(2, 0))
    layers = [DENSE, short, depthwise, short, short, DENSE]
    rows = 36 // arch.pixels + 1
    arch = arch.replace(act_depth=max(arch.act_depth, 2 * rows * len(layers)))
    memories, bases = prepared(arch, layers)
    instructions = [
        layer.instruction(arch, base, dst_row=n * rows, dst_plane_rows=rows * len(layers))
        for n, (layer, base) in enumerate(zip(layers, bases, strict=True))
    ]
    outcome = check(arch, memories, instructions)
    slots = [i["groups"] * latency.calc_interval(arch, i["taps"]) for i in instructions]
    gaps = [
        outcome.starts[n + 1] - outcome.starts[n] - slots[n] for n in range(len(instructions) - 1)
    ]
    decode = latency.CALC_ACCEPT + latency.CALC_DECODE
    assert gaps == [max(0, decode - count) for count in slots[:-1]]
    assert outcome.levels["busy"] == sum(slots)
    assert outcome.levels["active"] == sum(i["groups"] * i["taps"] for i in instructions)


def test_fence_reads_what_was_just_written():
    first = DENSE.instruction(SMALL)
    second = DENSE.instruction(SMALL, src_region=1, dst_region=0, fence=1)
    third = DENSE.instruction(SMALL, src_region=0, dst_region=2, fence=1)
    memories, _ = prepared(SMALL, [DENSE])
    outcome = check(SMALL, memories, [first, second, third])
    assert outcome.levels["wait_fence"] > latency.calc_write(SMALL)


ONE_GROUP = {"groups": 1, "taps": 1, "grid_width": 12, "in_height": 1, "in_width": 12}
ONE_GROUP |= {"out_height": 1, "out_width": 12, "planes": 1, "low": -128, "high": 127}


def results_seen(arch, first, second, distance):
    """Pixels of region 2 after two instructions whose starts lie ``distance`` cycles apart.

    With them the pixels if the second sees nothing of the first's results, and if it sees all.
    """
    arrivals = [0, distance]  # both take CALC_DECODE from transfer to start
    memories = random_memories(arch, np.random.default_rng(4))
    write_taps(memories, 0, [{}])
    outcome = Bench(arch, memories, [first, second], arrivals).run()
    assert outcome.starts[1] - outcome.starts[0] == distance
    blind = random_memories(arch, np.random.default_rng(4))
    write_taps(blind, 0, [{}])
    pixels = slice(0, arch.pixels)
    old = expected_act(blind, [second])[2, pixels].copy()
    new = expected_act(memories, [first, second])[2, pixels]
    assert (old != new).any(axis=1).all()
    return outcome.act[2, pixels], old, new


@pytest.mark.parametrize("name", ["tiny", "two planes"])
def test_results_are_readable_exactly_when_latency_tells(name):
    """A tap meets the results of the lane blocks whose cycle is past, and of no later one."""
    arch = ARCHS[name]
    first = isa.make(Opcode.CALC, dst_region=1, **ONE_GROUP)
    second = isa.make(Opcode.CALC, src_region=1, dst_region=2, wgt_base=1, **ONE_GROUP)
    lead = latency.calc_lead(arch, 1)
    for block in range(-1, arch.pixels // arch.drain):
        last_tap = latency.calc_interval(arch, 1) - 1
        written = last_tap + latency.calc_write(arch) + block * arch.planes
        seen, old, new = results_seen(arch, first, second, written + 1 - lead)
        lanes = (block + 1) * arch.drain
        assert (seen[:lanes] == new[:lanes]).all()
        assert (seen[lanes:] == old[lanes:]).all()


@pytest.mark.parametrize("name", ["tiny", "two planes"])
def test_residuals_are_read_exactly_when_latency_tells(name):
    arch = ARCHS[name]
    first = isa.make(Opcode.CALC, dst_region=1, **ONE_GROUP)
    residual = RESIDUAL | {"res_region": 1, "res_row": 0}
    second = isa.make(Opcode.CALC, dst_region=2, wgt_base=1, **ONE_GROUP | residual)
    ahead = latency.calc_write(arch) - latency.calc_residual(arch)
    for distance, all_new in ((ahead, False), (ahead + 1, True)):
        seen, old, new = results_seen(arch, first, second, distance)
        assert (seen == (new if all_new else old)).all()


def test_tokens_and_late_arrivals():
    layer = Layer(Mode.DENSE, (2, 3), 3, (1, 1), (0, 0))
    memories, _ = prepared(SMALL, [layer])
    instructions = [
        layer.instruction(SMALL, wait=1, signal=2),
        layer.instruction(SMALL, wait=3, signal=1, fence=1),
        layer.instruction(SMALL, signal=3, dst_row=20),
        layer.instruction(SMALL, wait=2, dst_row=40),
    ]
    tokens = ((13, 40), (200, 201))
    outcome = check(SMALL, memories, instructions, arrivals=[0, 5, 230, 231], tokens=tokens)
    assert outcome.levels["wait_token"] > 100
    total = sum(outcome.levels[k] for k in ("busy", "wait_token", "wait_fence", "wait_instruction"))
    assert total == outcome.cycles


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"groups": 0}, ErrorCode.MALFORMED),
        ({"taps": 0}, ErrorCode.MALFORMED),
        ({"planes": 0}, ErrorCode.MALFORMED),
        ({"planes": 2}, ErrorCode.MALFORMED),
        ({"mode": 3}, ErrorCode.MALFORMED),
        ({"grid_width": 0}, ErrorCode.MALFORMED),
        ({"src_bank": 3}, ErrorCode.MALFORMED),
        ({"dst_bank": 3}, ErrorCode.MALFORMED),
        ({"dst_pitch_bank": 3}, ErrorCode.MALFORMED),
        ({"src_region": 3}, ErrorCode.MALFORMED),
        ({"dst_region": 3}, ErrorCode.MALFORMED),
        ({"table": 1, "table_id": 2}, ErrorCode.MALFORMED),
        (RESIDUAL | {"res_region": 0}, ErrorCode.MALFORMED),
        (RESIDUAL | {"res_region": 3}, ErrorCode.MALFORMED),
        (RESIDUAL | {"res_bank": 3}, ErrorCode.MALFORMED),
        (RESIDUAL | {"res_pitch_bank": 4}, ErrorCode.MALFORMED),
        (RESIDUAL | {"add_shift": 0}, ErrorCode.MALFORMED),
        (RESIDUAL | {"add_shift": SHIFT_MAX + 1}, ErrorCode.MALFORMED),
        ({"tap_base": 56}, ErrorCode.ADDRESS_RANGE),
        ({"wgt_base": 56}, ErrorCode.ADDRESS_RANGE),
        ({"wgt_base": (1 << 20) - 1}, ErrorCode.ADDRESS_RANGE),
        ({"param_base": 8}, ErrorCode.ADDRESS_RANGE),
        ({"dst_row": 128}, ErrorCode.ADDRESS_RANGE),
        ({"dst_row": (1 << 16) - 1}, ErrorCode.ADDRESS_RANGE),
        (RESIDUAL | {"res_row": 128}, ErrorCode.ADDRESS_RANGE),
        ({"mode": int(Mode.DEPTHWISE), "wgt_base": 62}, ErrorCode.ADDRESS_RANGE),
        ({"param_base": 8, "groups": 0}, ErrorCode.MALFORMED),
    ],
)
def test_faults(changes, code):
    """The instruction at fault stops CALC; the one before it still completes."""
    memories, _ = prepared(SMALL, [DENSE])
    good, bad = DENSE.instruction(SMALL), DENSE.instruction(SMALL, **changes)
    outcome = Bench(SMALL, memories, [good, bad, good]).run()
    assert outcome.faults == [(code, 1)]
    assert len(outcome.transfers) == 2


@pytest.mark.parametrize("cycle", [5, 45, 150])
def test_reset_forgets_what_is_under_way(cycle):
    """Wherever a reset hits the pipeline, the run after it goes as if it were the first."""
    memories, _ = prepared(SMALL, [DENSE])
    short = Layer(Mode.DENSE, (2, 3), 3, (1, 1), (0, 0))
    layers = [DENSE, short, DENSE]
    instructions = [
        layer.instruction(SMALL, dst_row=20 * n, signal=1) for n, layer in enumerate(layers)
    ]
    outcome = Bench(SMALL, memories, instructions, reset_at=cycle).run()
    predicted = schedule(SMALL, instructions, arrivals=[cycle + 1] * 3)
    assert outcome.starts == predicted.starts
    assert outcome.ends == predicted.ends
    assert (outcome.act == expected_act(memories, instructions)).all()


@pytest.mark.parametrize("field", ["tap_depth", "wgt_depth", "param_depth"])
def test_depths_that_are_no_power_of_two(field):
    """Words on both sides of 1024, where a memory of 1536 may consist of two."""
    arch = SMALL.replace(**{field: 1536})
    memories, _ = prepared(arch, [DENSE])
    bases = {"tap_depth": (0, 1020), "wgt_depth": (0, 1020), "param_depth": (0, 1535)}[field]
    for base in bases if field == "tap_depth" else ():
        write_taps(memories, base, DENSE.taps(arch))
    name = field.replace("depth", "base")
    check(arch, memories, [
        DENSE.instruction(arch, **{name: base}, dst_row=30 * n) for n, base in enumerate(bases)
    ])  # fmt: skip


def test_limits_that_are_no_faults():
    """The last tap, weight and parameter words; depthwise slices that end with the memory."""
    memories, _ = prepared(SMALL, [DENSE])
    write_taps(memories, 55, DENSE.taps(SMALL))
    last = {"tap_base": 55, "wgt_base": 55, "param_base": 7}
    depthwise = {"mode": int(Mode.DEPTHWISE), "wgt_base": 61, "dst_row": 30}
    beyond = {"mode": int(Mode.MAX), "wgt_base": 1000, "dst_row": 60}
    off = {"res_region": 7, "res_bank": 31, "res_pitch_bank": 31, "add_shift": 63, "dst_row": 80}
    off |= {"res_row": 128}
    cases = [last, depthwise, beyond, off]
    check(SMALL, memories, [DENSE.instruction(SMALL, **case) for case in cases])


@pytest.mark.parametrize(
    ("pixels", "drain"), [(3, 3), (4, 2), (10, 5), (6, 6), (12, 12), (11, 11), (13, 13)]
)
@pytest.mark.parametrize("fields", [{"dst_split": 1}, RESIDUAL | {"res_split": 1}])
def test_lines_of_phase_split_maps_end_with_a_drain_step(pixels, drain, fields):
    arch = SMALL.replace(pixels=pixels, drain=drain)
    checker = Checker(arch)
    widths = [*range(drain, 4 * drain), *range(4000, 4096), 64 * drain, 65 * drain]
    found = []

    async def testbench(ctx):
        for width in widths:
            instruction = DENSE.instruction(arch, grid_width=width, **fields)
            word = int.from_bytes(isa.encode(instruction), "little")
            ctx.set(checker.fields.as_value(), word & ((1 << FIELDS.size) - 1))
            await ctx.tick().repeat(2)
            found.append(ctx.get(checker.malformed))

    simulator = Simulator(checker)
    simulator.add_clock(1e-8)
    simulator.add_testbench(testbench)
    simulator.run()
    assert found == [int(width % drain > 0) for width in widths]


def test_fault_of_a_line_that_ends_within_a_drain_step():
    arch = ARCHS["whole drain"]
    memories, _ = prepared(arch, [DENSE])
    outcome = Bench(arch, memories, [DENSE.instruction(arch, dst_split=1)]).run()
    assert outcome.faults == [(ErrorCode.MALFORMED, 0)]


def random_instruction(arch, rng, n):
    """Any legal fields whose accesses meet no hazard: regions 0 source, 1 residual, 2 result."""
    P, width = arch.pixels, int(rng.integers(max(arch.drain, 2), 9))
    mode = Mode(int(rng.integers(3)))
    split = int(rng.integers(2))
    if split:  # a drain step lies in one line
        width = -(-width // arch.drain) * arch.drain
    pitch = int(rng.integers(max(width // 2, 1), width + 1)) if not split else width // 2 + 1
    height = int(rng.integers(1, 7))

    def place(prefix, region):
        values = {"region": region, "bank": int(rng.integers(P)), "row": int(rng.integers(20))}
        values |= {"pitch_bank": pitch % P, "pitch_row": pitch // P, "split": split}
        values |= {"phase_rows": 60 // P + 1, "plane_rows": 260 // P + 1}
        return {f"{prefix}_{key}": value for key, value in values.items()}

    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    values = {
        "mode": int(mode), "groups": -(-height * width // P), "taps": int(rng.integers(1, 12)),
        "tap_base": int(rng.integers(50)), "wgt_base": int(rng.integers(50)),
        "src_bank": int(rng.integers(P)), "src_row": int(rng.integers(200)), "grid_width": width,
        "in_height": int(rng.integers(1, 9)), "in_width": int(rng.integers(1, 9)),
        "y_start": int(rng.integers(3)), "pad": int(rng.integers(-128, 128)),
        "out_height": int(rng.integers(1, 9)), "out_width": min(pitch * (1 + split), width),
        "planes": int(rng.integers(1, arch.planes + 1)) if mode == Mode.DENSE else 1,
        "param_base": int(rng.integers(4)), "zero_point": int(rng.integers(-128, 128)),
        "low": low, "high": high, "table": int(rng.integers(2)), "table_id": int(rng.integers(2)),
        "fence": int(rng.integers(4) == 0), "signal": int(rng.integers(4)),
    }  # fmt: skip
    values |= place("dst", 2) | RESIDUAL | place("res", 1) | {"residual": int(rng.integers(2))}
    if values["y_start"] >= values["out_height"]:
        values["out_height"] = values["y_start"] + 2
    return isa.make(Opcode.CALC, **values)


@every_arch("two planes, one drain", "two planes")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_random_instructions(arch, seed):
    rng = np.random.default_rng(seed)
    arch = arch.replace(act_depth=1 << (800 // arch.pixels).bit_length(), tap_depth=64)
    memories = random_memories(arch, rng)
    taps = [
        {
            "bank": int(rng.integers(arch.pixels)),
            "row": int(rng.integers(-300, 300)),
            "dy": int(rng.integers(-3, 4)),
            "dx": int(rng.integers(-3, 4)),
            "short_y": int(rng.integers(2)),
            "short_x": int(rng.integers(2)),
        }
        for _ in range(64)
    ]
    write_taps(memories, 0, taps)
    instructions = [random_instruction(arch, rng, n) for n in range(10)]
    arrivals = np.cumsum(rng.integers(0, 60, len(instructions))).tolist()
    check(arch, memories, instructions, arrivals)
