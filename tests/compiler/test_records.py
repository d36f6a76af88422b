"""Columns of records are packed as the records one by one."""

import numpy as np
import pytest

from codesign import isa
from codesign.arith import SHIFT_MAX
from codesign.compiler.records import pack_all, pack_parameters
from codesign.errors import EncodingError

COUNT = 50


def columns(fields, rng):
    found = {
        field.name: rng.integers(field.range[0], field.range[1], COUNT, endpoint=True)
        for field in fields
    }
    for name, extreme in ((fields[0].name, 0), (fields[1].name, 1)):
        field = next(at for at in fields if at.name == name)
        found[name][:2] = field.range[extreme]
    return found


def record(found, number):
    return {name: int(values[number]) for name, values in found.items()}


def test_taps():
    found = columns(isa.TAP_ENTRY, np.random.default_rng(0))
    words = pack_all(isa.TAP_ENTRY, found)
    assert words.tolist() == [isa.pack(isa.TAP_ENTRY, record(found, i)) for i in range(COUNT)]


def test_parameters():
    found = columns(isa.PARAM_RECORD, np.random.default_rng(1))
    found["shift"] = found["shift"] % (SHIFT_MAX - 24) + 25
    words = pack_parameters(found)
    assert words.tolist() == [isa.pack_parameter(record(found, i)) for i in range(COUNT)]


def test_the_first_record_that_does_not_fit_is_told():
    found = columns(isa.TAP_ENTRY, np.random.default_rng(2))
    found["dy"][7], found["dx"][5] = 128, -129
    with pytest.raises(EncodingError, match="tap of 'conv': dx=-129 does not fit 8 bits"):
        pack_all(isa.TAP_ENTRY, found, "tap of 'conv'")


@pytest.mark.parametrize("shift", [0, SHIFT_MAX + 1])
def test_shifts_that_arithmetic_does_not_define(shift):
    found = {name: np.array([1, value]) for name, value in
             (("bias", 5), ("multiplier", 3), ("shift", shift), ("twice", 0))}  # fmt: skip
    found["twice"][0] = 0
    with pytest.raises(EncodingError, match=f"shift={shift} is outside 1"):
        pack_parameters(found)
