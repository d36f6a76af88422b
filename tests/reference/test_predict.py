"""A machine that does not compute takes the same time, and writes nothing."""

import numpy as np
import pytest

from codesign.arch import preset
from codesign.compiler import compile
from codesign.errors import ProgramError
from codesign.isa import Base, Opcode, Target
from codesign.reference.machine import Machine
from codesign.reference.timing import Calendar
from tests.compiler.networks import TINY, random_network
from tests.compiler.test_order import without
from tests.compiler.topologies import resnet18

SMALL = TINY.replace(act_depth=128, wgt_depth=256, tap_depth=256)


def buffers(program):
    sizes = {
        Base.INPUT: program.input_bytes,
        Base.OUTPUT: program.output_bytes,
        Base.SCRATCH: program.scratch_bytes,
    }
    found = {base: np.full(size, 5, np.uint8) for base, size in sizes.items()}
    return found | {Base.PROGRAM: np.frombuffer(program.image, np.uint8)}


def run(program, compute):
    machine = Machine(program.arch, buffers(program), compute=compute)
    machine.run(program.setup.offset, program.setup.count)
    return machine, machine.run(program.infer.offset, program.infer.count)


@pytest.mark.parametrize("arch", [TINY, SMALL, preset("pynq_z2")])
def test_cycles_and_counters_are_the_same(arch):
    graph = resnet18(np.random.default_rng(0), 32, 8, 10) if arch is SMALL else random_network(5)
    program = compile(graph, arch)
    computed, told = run(program, True)
    skipped, foretold = run(program, False)
    assert told == foretold
    assert (computed.buffers[Base.OUTPUT] != 5).any()
    for base in (Base.OUTPUT, Base.SCRATCH):
        assert (skipped.buffers[base] == 5).all()


def test_memories_are_filled_as_by_a_run():
    program = compile(random_network(5), TINY)
    ran = Machine(TINY, buffers(program))
    ran.run(program.setup.offset, program.setup.count)
    filled = Machine(TINY, buffers(program))
    filled.fill(program.setup.offset, program.setup.count)
    for target in Target:
        np.testing.assert_array_equal(filled.memories.words(target), ran.memories.words(target))
    part = program.infer.offset, program.infer.count
    assert filled.run(*part) == ran.run(*part)


def test_only_loads_fill_memories():
    program = compile(random_network(5), TINY)
    machine = Machine(TINY, buffers(program))
    with pytest.raises(ValueError, match=r"instruction \d+ (is a CALC|has tokens): run the part"):
        machine.fill(program.infer.offset, program.infer.count)


def test_hazards_are_refused():
    program = without(compile(random_network(5), TINY), Opcode.CALC, "wait")
    with pytest.raises(ProgramError, match="let a token order the two"):
        run(program, False)


def test_first_free_cycle_of_a_calendar():
    port = Calendar(0)
    port.book(np.arange(4000, 9000))
    assert port.first_free(3999) == 3999
    assert port.first_free(4000) == 9000
    assert port.first_free(50_000) == 50_000
    assert port.book(np.array([8999, 9001])) == 8999
    assert port.first_free(9001) == 9002
