"""The machine reference against the transcribed loop, on random instructions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.arch import Arch, preset
from codesign.arith import MULTIPLIER_BITS, SHIFT_MAX, SHIFT_MIN, TWICE_SHIFT_MIN
from codesign.isa import Mode, Opcode, Target
from tests.reference import naive
from tests.reference.assembly import (
    LOAD_TO_CALC,
    Assembly,
    pack_dense,
    param_words,
    tap_words,
)

TINY = preset("tiny")
WIDE = Arch("wide", pixels=5, in_channels=4, out_channels=8, drain=1, regions=2, act_depth=300,
            wgt_depth=32, param_depth=16, tap_depth=32, dma_bits=128, acc_bits=24)  # fmt: skip
DRAINED = TINY.replace(pixels=6, drain=3, act_depth=160)
MULTIPLIERS = -(1 << (MULTIPLIER_BITS - 1)), (1 << (MULTIPLIER_BITS - 1)) - 1
ROWS = 60
"""A tap's reach; a CALC's groups and the sums of banks reach 6 rows further at most."""


def random_state(arch, rng, extreme):
    """Plain memory contents for ``naive``, and an assembly that loads them."""
    program = Assembly(arch)
    low = -128 if not extreme else 120
    shape = (arch.regions, arch.act_region_words, arch.in_channels)
    act = rng.integers(low, 128, shape).astype(np.int8)
    for region in range(arch.regions):
        program.load(Target.ACT, act[region], region=region)
    words = 20
    w = rng.integers(-127, 128, (words, arch.in_channels, arch.out_channels))
    packed = pack_dense(w)
    program.load(Target.WGT, packed)
    taps = [
        {"bank": int(rng.integers(arch.pixels)), "row": int(rng.integers(-ROWS, ROWS + 1)),
         "dy": int(rng.integers(-3, 4)), "dx": int(rng.integers(-3, 4)),
         "short_y": int(rng.integers(2)), "short_x": int(rng.integers(2))}
        for _ in range(20)
    ]  # fmt: skip
    program.load(Target.TAP, tap_words(taps))
    count = 6 * arch.in_channels
    shifts = (
        rng.integers(SHIFT_MIN, SHIFT_MAX + 1, count) if extreme else rng.integers(20, 37, count)
    )
    params = (
        rng.integers(-(1 << 31), 1 << 31, count) if extreme else rng.integers(-9999, 9999, count),
        rng.integers(*MULTIPLIERS, count, endpoint=True),
        shifts,
        rng.integers(0, 2, count) * (shifts >= TWICE_SHIFT_MIN),
    )
    program.load(Target.PARAM, param_words(*params))
    tables = rng.integers(-128, 128, (arch.tables, 256)).astype(np.int8)
    program.load(Target.TABLE, tables, **LOAD_TO_CALC[0])
    records = [tuple(map(int, r)) for r in zip(*params, strict=True)]
    state = {
        "act": act.tolist(),
        "taps": taps,
        "dense": w.tolist(),
        "slices": packed.reshape(-1, arch.in_channels).tolist(),
        "params": np.array(records).reshape(6, arch.in_channels, len(params)).tolist(),
        "tables": tables.tolist(),
    }
    return program, state


@st.composite
def calc_fields(draw, arch):
    def number(low, high):
        return draw(st.integers(low, high))

    mode = draw(st.sampled_from(Mode))
    dst = number(0, arch.regions - 1)
    src = draw(st.sampled_from([r for r in range(arch.regions) if r != dst]))
    lanes = arch.pixels
    low, high = sorted((number(-128, 127), number(-128, 127)))
    fields = {
        "mode": mode, "residual": number(0, 1), "table": number(0, 1),
        "table_id": number(0, arch.tables - 1), "groups": number(1, 4), "taps": number(1, 9),
        "tap_base": number(0, 5), "wgt_base": number(0, 5), "src_region": src,
        "src_bank": number(0, lanes - 1), "src_row": number(ROWS, arch.act_depth - 1 - ROWS - 6),
        "grid_width": number(arch.drain, 9), "in_height": number(1, 8), "in_width": number(1, 9),
        "y_start": number(0, 3), "pad": number(-128, 127), "out_height": number(1, 7),
        "out_width": number(1, 9), "param_base": number(0, 4),
        "planes": number(1, arch.planes) if mode == Mode.DENSE else 1,
        "dst_region": dst,
        "low": low, "high": high, "add_shift": number(SHIFT_MIN, SHIFT_MAX),
    }  # fmt: skip
    for prefix in ("dst", "res"):
        fields |= {
            f"{prefix}_bank": number(0, lanes - 1), f"{prefix}_row": number(0, 3),
            f"{prefix}_pitch_bank": number(0, lanes - 1), f"{prefix}_split": number(0, 1),
            f"{prefix}_pitch_row": 9 // lanes + 1 + number(0, 1),
            f"{prefix}_phase_rows": 32 + number(0, 2), f"{prefix}_plane_rows": 138,
        }  # fmt: skip
    if arch.drain > 1:  # a drain step's pixels must lie in different banks
        for prefix in ("dst", "res"):
            pitch = divmod(fields["grid_width"], lanes)
            names = (f"{prefix}_pitch_row", f"{prefix}_pitch_bank")
            fields |= dict(zip(names, pitch, strict=True))
            if fields["grid_width"] % arch.drain:  # a drain step of a split map lies in one line
                fields[f"{prefix}_split"] = 0
    others = [r for r in range(arch.regions) if r not in (src, dst)]
    fields["res_region"] = others[0] if others else dst
    if not others:  # in place
        fields |= {f"res{name[3:]}": v for name, v in fields.items() if name.startswith("dst_")}
    for name in ("zero_point", "res_zero_point", "out_zero_point"):
        fields[name] = number(-128, 127)
    for name in ("acc_multiplier", "res_multiplier"):
        fields[name] = number(*MULTIPLIERS)
    return fields


@pytest.mark.parametrize("arch", [TINY, WIDE, DRAINED], ids=lambda arch: f"P{arch.pixels}")
@pytest.mark.parametrize("extreme", [False, True])
@settings(max_examples=25)
@given(data=st.data())
def test_calc_is_the_loop(arch, extreme, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    fields = data.draw(calc_fields(arch))
    program, state = random_state(arch, rng, extreme)
    index = program.add(Opcode.CALC, **fields, **LOAD_TO_CALC[1])
    expected = np.array(state["act"])
    for (region, word), values in naive.calc(arch, program.instructions[index], state).items():
        expected[region, word] = values
    machine, _ = program.run()
    assert np.array_equal(machine.memories.act.view(np.int8), expected)


@pytest.mark.parametrize("arch", [TINY, WIDE], ids=lambda arch: arch.name)
def test_transfers_walk_rows_and_mask_the_last_beat(arch):
    rng = np.random.default_rng(3)
    program = Assembly(arch)
    rows, words, pitch = 4, 3, arch.pixels + 2
    size = arch.act_word_bytes
    image = rng.integers(0, 256, (rows, 48), dtype=np.uint8)
    walk = {"stride_bank": pitch % arch.pixels, "stride_address": pitch // arch.pixels}
    walk |= {"rows": rows, "words": words}
    give, take = {"signal": 2}, {"wait": 1}  # LOAD to SAVE
    program.load(Target.ACT, image, word=7, stride=48, **walk, **give)
    program.output[:] = 0xEE
    program.save(0, 7, offset=16, stride=64, **walk, **take)
    machine, _ = program.run()
    expected = np.full(len(program.output), 0xEE, np.uint8)
    for row in range(rows):
        data = image[row, : words * size]
        first = 7 + row * pitch
        assert np.array_equal(machine.memories.act[0, first : first + words].ravel(), data)
        expected[16 + row * 64 : 16 + row * 64 + words * size] = data
    assert np.array_equal(program.output, expected)


def test_memories_keep_their_contents_from_run_to_run():
    rng = np.random.default_rng(4)
    program, _ = random_state(TINY, rng, extreme=False)
    machine, _ = program.run()
    before = machine.memories.act.copy()
    second = Assembly(TINY)
    second.save(1, 0, words=5)
    machine.buffers = second.machine().buffers
    second.run(machine)
    saved = second.output[: 5 * TINY.act_word_bytes]
    assert np.array_equal(saved, before[1, :5].ravel())
