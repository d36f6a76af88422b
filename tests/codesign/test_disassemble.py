"""Programs as text."""

import pytest

from codesign import isa
from codesign.arch import ISA_VERSION, preset
from codesign.artifact import LayerSpan, Part, Program
from codesign.disassemble import describe, disassemble
from codesign.isa import Base, Opcode, Target
from tests.reference.assembly import Assembly, param_words, tap_words

TINY = preset("tiny")


@pytest.fixture
def program():
    source = Assembly(TINY)
    source.load(Target.TAP, tap_words([{"dy": -1, "row": 2}, {"short_x": 1}]), word=7)
    source.load(Target.PARAM, param_words([5] * 4, [-3] * 4, [9] * 4), signal=1)
    source.add(Opcode.CALC, wait=1, groups=2, taps=3, mode=1, pad=-4)
    image = source.image().tobytes()
    part = Part(0, len(source.instructions) + 1)
    span = LayerSpan("features.0", "Conv2d", 3, 4, 100)
    empty = Part(0, 1)
    return Program(
        "net", TINY, None, image, empty, part, (), (), 0, 0, 0, (span,), {}, 0, 0, {}
    )  # fmt: skip


def test_lines(program):
    lines = disassemble(program).splitlines()
    assert lines[0] == f"program net for tiny, fingerprint 0x{TINY.fingerprint:08X}"
    assert "setup: 1 instructions at byte 0" in lines
    first = lines.index("infer: 5 instructions at byte 0") + 1
    offset = 1 << 16
    assert [line.strip() for line in lines[first:]] == [
        f"0  BEGIN isa_version={ISA_VERSION} fingerprint=0x{TINY.fingerprint:08X}",
        f"1  LOAD  target=TAP offset={offset} rows=1 words=2 address=7",
        f"2  LOAD  signal=CALC target=PARAM offset={offset + 16} rows=1 words=1",
        "features.0 (Conv2d):",
        "3  CALC  wait=LOAD mode=DEPTHWISE groups=2 taps=3 pad=-4",
        "4  END",
    ]


def test_tables(program):
    lines = disassemble(program, tables=True).splitlines()
    shown = [line.strip() for line in lines if "TAP 7:" in line or "PARAM 0.3:" in line]
    assert shown == [
        "TAP 7: bank=0 row=2 dy=-1 dx=0 short_y=0 short_x=0",
        "PARAM 0.3: bias=5 multiplier=-3 shift=9 twice=0",
    ]


@pytest.mark.parametrize("opcode", Opcode)
def test_every_field_that_is_not_zero_is_named(opcode):
    fields = isa.LAYOUTS[opcode][1:]
    text = describe(isa.make(opcode, **{field.name: 1 for field in fields}))
    assert [word.split("=")[0] for word in text.split()[1:]] == [field.name for field in fields]
    assert describe(isa.make(opcode)) == opcode.name


def test_values_that_are_no_names_and_bytes_that_are_no_instructions(program):
    load = isa.make(Opcode.LOAD, target=7, base=Base.SCRATCH, wait=3)
    assert describe(load) == "LOAD  wait=CALC+SAVE target=7 base=SCRATCH"
    image = bytearray(program.image)
    image[isa.INSTRUCTION_BYTES] = 0
    damaged = Program(**{**vars(program), "image": bytes(image)})
    assert "     1  illegal: opcode 0 is illegal" in disassemble(damaged)
