"""Tokens balance, and fences stand where the machine reference would refuse the program."""

import dataclasses

import numpy as np
import pytest

from codesign import isa
from codesign.arch import preset
from codesign.compiler import compile
from codesign.errors import ProgramError
from codesign.isa import INSTRUCTION_BYTES, TOKEN_PEERS, Opcode, Unit
from tests.compiler.builder import Builder
from tests.compiler.execution import check
from tests.compiler.networks import ROOMY, TINY, random_network, resnet8

UNITS = {Opcode.LOAD: Unit.LOAD, Opcode.CALC: Unit.CALC, Opcode.SAVE: Unit.SAVE}


def instructions(program):
    first = program.infer.offset
    words = [program.image[first + i * INSTRUCTION_BYTES :] for i in range(program.infer.count)]
    return [isa.decode(word[:INSTRUCTION_BYTES]) for word in words]


def without(program, opcode, field):
    """The program with that field cleared in all instructions of that opcode."""
    image = bytearray(program.image)
    for index, at in enumerate(instructions(program)):
        if at.opcode is opcode:
            first = program.infer.offset + index * INSTRUCTION_BYTES
            changed = isa.make(opcode, **{**at.values, field: 0})
            image[first : first + INSTRUCTION_BYTES] = isa.encode(changed)
    return dataclasses.replace(program, image=bytes(image))


@pytest.mark.parametrize("number", range(15))
def test_every_token_given_is_taken(number):
    program = compile(random_network(number), ROOMY)
    given = {(giver, taker): 0 for giver, takers in TOKEN_PEERS.items() for taker in takers}
    taken = dict.fromkeys(given, 0)
    for at in instructions(program):
        if at.opcode in UNITS:
            unit = UNITS[at.opcode]
            for bit, peer in enumerate(TOKEN_PEERS[unit]):
                given[unit, peer] += at["signal"] >> bit & 1
                taken[peer, unit] += at["wait"] >> bit & 1
                assert taken[peer, unit] <= given[peer, unit]
    assert given == taken


def vectors():
    b = Builder(np.random.default_rng(0))
    return b.graph(b.linear(b.linear(b.linear(b.input((9, 1, 1)), 9), 9), 5))


def test_a_layer_that_needs_the_result_before_it_at_once_gets_a_fence():
    program = compile(vectors(), TINY)
    fences = [at["fence"] for at in instructions(program) if at.opcode is Opcode.CALC]
    assert fences == [0, 0, 0, 1, 0, 0, 1, 0]
    with pytest.raises(ProgramError, match="set its fence or start it later"):
        check(without(program, Opcode.CALC, "fence"), np.random.default_rng(0))


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.CALC])
def test_no_token_is_idle(opcode):
    program = without(compile(vectors(), TINY), opcode, "signal")
    following = Opcode.CALC if opcode is Opcode.LOAD else Opcode.SAVE
    with pytest.raises(ProgramError, match="let a token order the two"):
        check(without(program, following, "wait"), np.random.default_rng(0))


def test_large_layers_follow_each_other_without_fences():
    program = compile(resnet8(np.random.default_rng(0)), preset("pynq_z2"))
    fences = [at["fence"] for at in instructions(program) if at.opcode is Opcode.CALC]
    assert sum(fences) == 1  # the classifier behind the global pooling
