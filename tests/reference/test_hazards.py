"""Programs that leave their result to chance, and programs that stop the machine."""

import numpy as np
import pytest

from codesign import isa, latency
from codesign.arch import preset
from codesign.errors import MachineError, ProgramError
from codesign.isa import Base, ErrorCode, Mode, Opcode, Target
from tests.reference.assembly import (
    CALC_TO_LOAD,
    CALC_TO_SAVE,
    LOAD_TO_CALC,
    Assembly,
    pack_dense,
    param_words,
    tap_words,
)

TINY = preset("tiny")
CHANNELS = TINY.in_channels
PIXELS = 30


def copying(multiplier=1 << 16, shift=16, twice=0):
    """A program with data loaded such that a CALC with ``copy`` copies PIXELS pixels."""
    rng = np.random.default_rng(5)
    program = Assembly(TINY)
    program.load(Target.ACT, rng.integers(-128, 128, (PIXELS, CHANNELS)).astype(np.int8))
    program.load(Target.TAP, tap_words([{}] * 4))
    identity = np.eye(CHANNELS, TINY.out_channels, dtype=np.int64)[None]
    program.load(Target.WGT, pack_dense(np.concatenate([identity, 0 * identity])))
    program.load(
        Target.PARAM,
        param_words(*([value] * CHANNELS for value in (0, multiplier, shift, twice))),
        **LOAD_TO_CALC[0],
    )
    return program


def copy(source=0, target=1, **fields):
    """Fields of a CALC that copies region ``source`` to region ``target``."""
    plain = {
        "mode": Mode.DENSE, "groups": PIXELS // TINY.pixels, "taps": 1, "grid_width": 10,
        "in_height": 3, "in_width": 10, "out_height": 3, "out_width": 10, "planes": 1,
        "src_region": source, "dst_region": target, "low": -128, "high": 127,
        "dst_pitch_row": 3, "dst_pitch_bank": 1,
    }  # fmt: skip
    return plain | fields


def words(machine, region):
    return machine.memories.act[region, :PIXELS]


def test_a_copy_copies():
    program = copying()
    program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    machine, _ = program.run()
    assert np.array_equal(words(machine, 1), words(machine, 0))


@pytest.mark.parametrize(
    ("shift", "twice", "text"),
    [
        (0, 0, r"shifts by 0; a parameter record's shift then lies in 1\.\.55"),
        (56, 0, r"shifts by 56; a parameter record's shift then lies in 1\.\.55"),
        (24, 1, r"shifts by 24, rounding twice; a parameter record's shift then lies in 25\.\.55"),
        (63, 1, r"shifts by 63, rounding twice; a parameter record's shift then lies in 25\.\.55"),
    ],
)
def test_shifts_that_arithmetic_does_not_define(shift, twice, text):
    program = copying(1 << 23, shift, twice)
    index = program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    with pytest.raises(ProgramError, match=rf"instruction {index} \(CALC\) {text}"):
        program.run()


@pytest.mark.parametrize("row", [TINY.act_depth - 5, TINY.act_depth - 1])
def test_sources_outside_the_region(row):
    program = copying()
    index = program.add(Opcode.CALC, **copy(src_row=row), **LOAD_TO_CALC[1])
    group = TINY.act_depth - row
    text = rf"instruction {index} \(CALC\): tap 0 of lane 0 in group {group} lies in the source map"
    with pytest.raises(ProgramError, match=text):
        program.run()


def test_lanes_that_are_not_written_or_not_inside_may_leave_the_region():
    last = TINY.act_depth - 1
    for fields in ({"out_width": 3, "out_height": 1}, {"in_width": 3, "in_height": 1}):
        program = copying()
        program.load(Target.ACT, np.zeros(3 * CHANNELS, np.uint8), word=3 * last)
        program.instructions.insert(1, program.instructions.pop())  # before the token
        program.add(Opcode.CALC, **copy(src_row=last, **fields), **LOAD_TO_CALC[1])
        program.run()


def test_reading_results_that_are_still_in_the_pipeline():
    program = copying()
    first = program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    second = program.add(Opcode.CALC, **copy(1, 2))
    text = (
        rf"instruction {second} \(CALC\) reads ACT region 1 pixel \d+ in cycle \d+, "
        rf"but instruction {first} \(CALC\) writes it only in cycle \d+"
    )
    with pytest.raises(ProgramError, match=text):
        program.run()
    program.instructions[second] = isa.make(Opcode.CALC, **copy(1, 2), fence=1)
    machine, _ = program.run()
    assert np.array_equal(words(machine, 2), words(machine, 0))


def test_results_can_be_read_from_their_cycle_on():
    """A third instruction reads the first's last group, after ``groups`` others."""
    slots, last = TINY.drain_steps, PIXELS // TINY.pixels - 1
    verdicts = set()
    for groups in range(1, 25):
        program = copying()
        program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
        program.add(Opcode.CALC, **copy(target=2, groups=groups))
        third = copy(1, 2, groups=1, src_row=last, dst_row=last, in_height=1)
        program.add(Opcode.CALC, **third)
        distance = groups * slots + slots  # from the first's last tap to the third's tap
        allowed = distance > TINY.drain_steps - 1 + latency.calc_write(TINY)
        verdicts.add(allowed)
        if allowed:
            program.run()
        else:
            with pytest.raises(ProgramError, match="writes it only in cycle"):
                program.run()
    assert verdicts == {True, False}


def test_reading_what_the_same_instruction_wrote():
    program = copying()
    program.add(Opcode.CALC, **copy(target=0, dst_row=2), **LOAD_TO_CALC[1])
    with pytest.raises(ProgramError, match="but writes it itself in group 0: separate the maps"):
        program.run()


def test_a_map_may_be_replaced_in_place():
    program = copying()
    program.add(Opcode.CALC, **copy(target=0), **LOAD_TO_CALC[1])
    machine, _ = program.run()
    assert words(machine, 0).any()


def test_two_reads_of_a_region_in_one_cycle():
    """The residual of the first is read while the second reads its source from there."""
    program = copying()
    residual = {"residual": 1, "res_region": 2, "res_pitch_row": 3, "res_pitch_bank": 1}
    residual |= {"acc_multiplier": 1, "res_multiplier": 1, "add_shift": 1}
    program.add(Opcode.CALC, **copy(target=2), **LOAD_TO_CALC[1])
    program.add(Opcode.CALC, **copy(), **residual, fence=1)
    second = program.add(Opcode.CALC, **copy(2, 1, groups=2, dst_row=30))
    with pytest.raises(ProgramError, match=rf"instruction {second} .* both read ACT region 2"):
        program.run()


def test_reading_what_nothing_has_written():
    program = copying()
    index = program.add(Opcode.CALC, **copy(2, 1), **LOAD_TO_CALC[1])
    with pytest.raises(
        ProgramError, match=f"instruction {index} reads ACT region 2 pixel 0, which"
    ):
        program.run()
    program.instructions[index] = isa.make(Opcode.CALC, **copy(2, 1, wgt_base=1), **LOAD_TO_CALC[1])
    program.run()  # zero weights: what is read does not matter
    program.instructions[index] = isa.make(
        Opcode.CALC, **copy(2, 1, in_height=0), **LOAD_TO_CALC[1]
    )
    program.run()  # all padding


@pytest.mark.parametrize(
    ("field", "what"), [("tap_base", "TAP word 4"), ("param_base", "PARAM word 1")]
)
def test_memories_that_were_never_loaded(field, what):
    program = copying()
    value = 4 if field == "tap_base" else 1
    program.add(Opcode.CALC, **copy(**{field: value}), **LOAD_TO_CALC[1])
    with pytest.raises(ProgramError, match=f"reads {what}, which nothing has written"):
        program.run()


def test_races_between_units():
    program = copying()
    program.add(Opcode.CALC, **copy())
    with pytest.raises(ProgramError, match=r"\(CALC\) reads .* \(LOAD\) writes: let a token"):
        program.run()

    program = copying()
    program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    data = np.zeros((1, CHANNELS), np.int8)
    load = program.load(Target.ACT, data, word=3)
    text = rf"reads ACT region 0 pixel 3, which instruction {load} \(LOAD\) writes: let a token"
    with pytest.raises(ProgramError, match=text):
        program.run()

    program = copying()
    program.add(Opcode.CALC, **copy(), **{**LOAD_TO_CALC[1], **CALC_TO_LOAD[0]})
    program.load(Target.ACT, data, word=3, **CALC_TO_LOAD[1])
    program.run()

    program = copying()
    program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    program.save(1, 0, words=PIXELS)
    with pytest.raises(ProgramError, match="reads ACT region 1 pixel 0, which nothing"):
        program.run()


def test_a_token_orders_calc_and_save():
    program = copying()
    program.add(Opcode.CALC, **copy(), wait=LOAD_TO_CALC[1]["wait"], **CALC_TO_SAVE[0])
    program.save(1, 0, words=PIXELS, **CALC_TO_SAVE[1])
    machine, run = program.run()
    saved = program.output[: PIXELS * CHANNELS].reshape(PIXELS, CHANNELS)
    assert np.array_equal(saved, words(machine, 0))
    calc, save = run.trace[-3:-1]
    assert calc.end < save.start


def test_unchecked_programs_run():
    program = copying()
    program.add(Opcode.CALC, **copy(), **LOAD_TO_CALC[1])
    program.add(Opcode.CALC, **copy(1, 2))
    machine, _ = program.run(check=False)
    assert np.array_equal(words(machine, 2), words(machine, 0))


def test_a_token_counter_that_overflows():
    program = copying()
    for _ in range(1 << isa.TOKEN_BITS):
        program.load(Target.TABLE, np.zeros(16, np.uint8), signal=1)
    with pytest.raises(ProgramError, match="tokens from LOAD to CALC reaches 257, above 255"):
        program.run()


def stopped(program):
    with pytest.raises(MachineError) as caught:
        program.run()
    return caught.value.code, caught.value.index


def test_a_deadlock_names_the_oldest_instruction_that_waits():
    program = copying()
    calc = program.add(Opcode.CALC, **copy(), wait=3)
    program.save(1, 0, words=1, wait=2, signal=2)
    assert stopped(program) == (ErrorCode.WATCHDOG, calc)


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": 0}, {"taps": 0}, {"planes": 0}, {"planes": 2}, {"mode": 3},
        {"grid_width": 0}, {"src_bank": 3}, {"dst_bank": 3}, {"dst_pitch_bank": 3},
        {"src_region": 3}, {"dst_region": 3}, {"table": 1, "table_id": 4},
        {"residual": 1, "add_shift": 1, "res_region": 0},
        {"residual": 1, "add_shift": 0, "res_region": 2},
        {"residual": 1, "add_shift": 56, "res_region": 2},
        {"residual": 1, "add_shift": 1, "res_region": 2, "res_bank": 3},
    ],
)  # fmt: skip
def test_contradictory_calcs_stop_the_machine(fields):
    program = copying()
    index = program.add(Opcode.CALC, **copy() | fields, **LOAD_TO_CALC[1])
    assert stopped(program) == (ErrorCode.MALFORMED, index)


@pytest.mark.parametrize(
    "fields",
    [
        {"tap_base": 512}, {"tap_base": 510, "taps": 4}, {"wgt_base": 1024}, {"param_base": 128},
        {"dst_row": 256}, {"residual": 1, "add_shift": 1, "res_region": 2, "res_row": 256},
    ],
)  # fmt: skip
def test_calcs_beyond_a_memory_stop_the_machine(fields):
    program = copying()
    index = program.add(Opcode.CALC, **copy() | fields, **LOAD_TO_CALC[1])
    assert stopped(program) == (ErrorCode.ADDRESS_RANGE, index)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"rows": 0}, ErrorCode.MALFORMED),
        ({"words": 0}, ErrorCode.MALFORMED),
        ({"offset": 8}, ErrorCode.MALFORMED),
        ({"stride": 24}, ErrorCode.MALFORMED),
        ({"target": 5}, ErrorCode.MALFORMED),
        ({"region": 3}, ErrorCode.MALFORMED),
        ({"bank": 3}, ErrorCode.MALFORMED),
        ({"stride_bank": 3}, ErrorCode.MALFORMED),
        ({"address": 256}, ErrorCode.ADDRESS_RANGE),
        ({"rows": 2, "stride_address": 255, "stride_bank": 2}, ErrorCode.ADDRESS_RANGE),
        ({"offset": 1 << 24}, ErrorCode.ADDRESS_RANGE),
        ({"base": Base.INPUT}, ErrorCode.ADDRESS_RANGE),
        ({"rows": 2, "stride": 1 << 24}, ErrorCode.ADDRESS_RANGE),
    ],
)
def test_impossible_transfers_stop_the_machine(fields, code):
    def changed(program, index):
        instruction = program.instructions[index]
        program.instructions[index] = isa.make(
            instruction.opcode, **{**instruction.values, **fields}
        )
        return index

    program = copying()
    load = changed(program, program.load(Target.ACT, np.zeros((2, CHANNELS), np.int8)))
    assert stopped(program) == (code, load)
    if "target" not in fields:
        program = copying()
        save = changed(program, program.save(0, 0, words=2))
        assert stopped(program) == (code, save)


def test_programs_for_other_machines():
    program = copying()
    program.instructions[0] = program.begin(fingerprint=TINY.fingerprint ^ 1)
    assert stopped(program) == (ErrorCode.ARCH_MISMATCH, 0)
    program.instructions[0] = program.begin(isa_version=99)
    assert stopped(program) == (ErrorCode.ARCH_MISMATCH, 0)


def test_misplaced_and_illegal_instructions():
    program = copying()
    program.instructions.insert(3, program.begin())
    assert stopped(program) == (ErrorCode.MALFORMED, 3)
    program.instructions[3] = isa.make(Opcode.END)
    assert stopped(program) == (ErrorCode.MALFORMED, 3)

    program = copying()
    machine = program.machine()
    machine.buffers[Base.PROGRAM][2 * isa.INSTRUCTION_BYTES] = 0
    with pytest.raises(MachineError, match="opcode 0 is illegal") as caught:
        machine.run(0, len(program.instructions) + 1)
    assert (caught.value.code, caught.value.index) == (ErrorCode.ILLEGAL_OPCODE, 2)

    machine = program.machine()
    machine.buffers[Base.PROGRAM][3 * isa.INSTRUCTION_BYTES - 1] = 1
    with pytest.raises(MachineError, match="above its last field") as caught:
        machine.run(0, len(program.instructions) + 1)
    assert (caught.value.code, caught.value.index) == (ErrorCode.MALFORMED, 2)


@pytest.mark.parametrize(
    ("offset", "count", "code"),
    [
        (32, 2, ErrorCode.MALFORMED),
        (0, 0, ErrorCode.MALFORMED),
        (0, 1 << 20, ErrorCode.ADDRESS_RANGE),
        (0, 2, ErrorCode.MALFORMED),  # no END
    ],
)
def test_impossible_parts(offset, count, code):
    machine = copying().machine()
    with pytest.raises(MachineError) as caught:
        machine.run(offset, count)
    assert caught.value.code == code
