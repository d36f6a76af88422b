"""Many records of the instruction set at once: `isa.pack` on columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from codesign.arith import SHIFT_MAX, SHIFT_MIN, TWICE_SHIFT_MIN
from codesign.isa import PARAM_RECORD, Field, layout, pack, pack_parameter

Words = npt.NDArray[np.uint64]
"""Records of up to 64 bits, lowest byte first in memory ("<u8")."""
Columns = Mapping[str, npt.NDArray[np.int64]]
"""The values of each field, [records]."""


def pack_all(fields: Sequence[Field], columns: Columns, what: str = "record") -> Words:
    """``isa.pack`` of each record.

    Raises
    ------
    EncodingError
        As ``isa.pack`` does for the first record that does not fit.
    """
    words: Words = np.zeros(len(columns[fields[0].name]), "<u8")
    fit = True
    for name, position, mask, low, high in layout(tuple(fields)):
        values = columns[name]
        fit = fit and bool(values.min() >= low and values.max() <= high)
        words |= (values.astype(np.uint64) & np.uint64(mask)) << np.uint64(position)
    if not fit:
        for record in _records(fields, columns):
            pack(tuple(fields), record, what)
    return words


def pack_parameters(columns: Columns) -> Words:
    """``isa.pack_parameter`` of each record.

    Raises
    ------
    EncodingError
        As ``isa.pack_parameter`` does for the first record that it refuses.
    """
    shift, least = columns["shift"], np.where(columns["twice"], TWICE_SHIFT_MIN, SHIFT_MIN)
    if (shift < least).any() or (shift > SHIFT_MAX).any():
        for record in _records(PARAM_RECORD, columns):
            pack_parameter(record)
    return pack_all(PARAM_RECORD, columns, "parameter")


def _records(fields: Sequence[Field], columns: Columns) -> list[dict[str, int]]:
    names = [field.name for field in fields]
    values = zip(*(columns[name].tolist() for name in names), strict=True)
    return [dict(zip(names, record, strict=True)) for record in values]
