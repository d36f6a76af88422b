"""The encoder, record by record and field by field, and the document made from the layouts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign import isa, isa_doc
from codesign.errors import EncodingError
from codesign.isa import Opcode
from codesign.reference.memory import unpack_all

DOCS = Path(__file__).parents[2] / "docs"
RECORDS = {"PARAM": isa.PARAM_RECORD, "TAP": isa.TAP_ENTRY}
LAYOUTS = {opcode.name: layout[1:] for opcode, layout in isa.LAYOUTS.items()} | RECORDS
FIELDS = [(name, field) for name, layout in LAYOUTS.items() for field in layout]


def encoded(name, values):
    if name in RECORDS:
        return isa.pack(RECORDS[name], values)
    return isa.encode(isa.Instruction(Opcode[name], values))


@st.composite
def instructions(draw):
    name = draw(st.sampled_from(sorted(LAYOUTS)))
    return name, {field.name: draw(st.integers(*field.range)) for field in LAYOUTS[name]}


@given(instructions())
def test_decoding_inverts_encoding(case):
    name, values = case
    if name in RECORDS:
        word = encoded(name, values)
        assert isa.unpack(RECORDS[name], word) == values
        many = unpack_all(RECORDS[name], np.array([word, 0], "<u8"))
        assert {field: int(column[0]) for field, column in many.items()} == values
    else:
        data = encoded(name, values)
        assert len(data) == isa.INSTRUCTION_BYTES
        assert isa.decode(data) == isa.Instruction(Opcode[name], values)


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=lambda x: getattr(x, "name", x))
def test_every_field_holds_its_range_and_refuses_what_is_outside(name, field):
    zeros = {f.name: 0 for f in LAYOUTS[name]}
    low, high = field.range
    assert high - low + 1 == 1 << field.bits
    for value in (low, high):
        encoded(name, zeros | {field.name: value})
    for value in (low - 1, high + 1):
        text = rf"{field.name}={value} does not fit {field.bits} bits \({low}..{high}\)"
        with pytest.raises(EncodingError, match=text):
            encoded(name, zeros | {field.name: value})
    for value in (True, 0.0, "0", None):
        with pytest.raises(EncodingError, match=f"{field.name}={value!r} is not an integer"):
            encoded(name, zeros | {field.name: value})


@pytest.mark.parametrize("opcode", Opcode)
def test_fields_do_not_overlap(opcode):
    """One field at its largest sets exactly its own bits, the opcode apart."""
    for field, position in list(isa.offsets(isa.LAYOUTS[opcode]))[1:]:
        value = field.range[0] if field.signed else field.range[1]
        ones = 1 << (field.bits - 1) if field.signed else (1 << field.bits) - 1
        word = int.from_bytes(isa.encode(isa.make(opcode, **{field.name: value})), "little")
        assert word == int(opcode) | ones << position


def test_numpy_integers_are_integers():
    assert isa.make(Opcode.SAVE, rows=np.int64(3))["rows"] == 3


def test_refusals():
    with pytest.raises(EncodingError, match="SAVE has no field 'colour'"):
        isa.make(Opcode.SAVE, colour=1)
    with pytest.raises(EncodingError, match="field 'wait' is not given"):
        isa.encode(isa.Instruction(Opcode.SAVE, {}))
    with pytest.raises(EncodingError, match="64 bytes, not 3"):
        isa.decode(bytes(3))
    with pytest.raises(EncodingError, match="opcode 0 is illegal; legal are"):
        isa.decode(bytes(isa.INSTRUCTION_BYTES))
    for opcode in Opcode:
        word = int(opcode) | 1 << isa.width(isa.LAYOUTS[opcode])
        with pytest.raises(EncodingError, match=f"{opcode.name} has bits set above its last"):
            isa.decode(word.to_bytes(isa.INSTRUCTION_BYTES, "little"))


def test_parameters_that_arithmetic_does_not_define_are_refused():
    right = {"bias": -5, "multiplier": 1 << 23, "shift": 25, "twice": 1}
    word = isa.pack_parameter(right)
    assert word == 1 << 63 | 25 << 57 | 1 << 55 | (1 << 32) - 5
    for changes, text in (
        ({"shift": 24}, r"channel 3: shift=24 with twice is outside 25\.\.55"),
        ({"shift": 56}, r"shift=56 with twice is outside 25\.\.55"),
        ({"shift": 0, "twice": 0}, r"shift=0 is outside 1\.\.55"),
        ({"shift": 56, "twice": 0}, r"shift=56 is outside 1\.\.55"),
        ({"shift": 64}, "shift=64 does not fit 6 bits"),
    ):
        with pytest.raises(EncodingError, match=text):
            isa.pack_parameter(right | changes, "channel 3")
    isa.pack_parameter(right | {"shift": 24, "twice": 0})


def test_bytes_are_pinned():
    """Encoding is a contract with programs on disk: it changes with ISA_VERSION only."""
    save = isa.make(Opcode.SAVE, wait=2, signal=1, base=2, offset=0x120, rows=3, words=5, region=1)
    word = 4 | 2 << 4 | 1 << 6 | 2 << 8 | 0x120 << 10 | 3 << 74 | 5 << 90 | 1 << 110
    assert isa.encode(save) == word.to_bytes(64, "little")


def test_the_document_is_up_to_date():
    committed = (DOCS / "isa.md").read_text(encoding="utf-8")
    assert committed == isa_doc.isa_document(), "run python -m codesign.isa_doc docs/isa.md"


def test_the_document_is_written(tmp_path):
    isa_doc.main([str(tmp_path / "isa.md")])
    assert (tmp_path / "isa.md").read_text(encoding="utf-8") == isa_doc.isa_document()
    with pytest.raises(SystemExit, match="usage"):
        isa_doc.main([])
