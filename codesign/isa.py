"""The instruction set, defined once.

RTL decoder, checked encoder, disassembler, machine reference and ``docs/isa.md`` all walk
``LAYOUTS``. An instruction is INSTRUCTION_BYTES long, little-endian, its fields packed from bit 0
upwards in the order given, no gaps; the bits above the last field are zero. What the instructions
do, and when, is told in ``docs/machine.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from types import MappingProxyType

from codesign.arch import MAX_PLANES, PARAM_RECORD_BITS, TAP_ENTRY_BITS
from codesign.arith import MULTIPLIER_BITS, SHIFT_BITS, SHIFT_MAX, SHIFT_MIN, TWICE_SHIFT_MIN
from codesign.errors import EncodingError

INSTRUCTION_BYTES = 64


class Opcode(IntEnum):
    """0 is left illegal on purpose: memory that was never written stops the machine."""

    BEGIN = 1
    LOAD = 2
    CALC = 3
    SAVE = 4
    END = 5


class Target(IntEnum):
    """Memory that a LOAD fills."""

    ACT = 0
    WGT = 1
    PARAM = 2
    TAP = 3
    TABLE = 4


class Base(IntEnum):
    """Base-address register that a DRAM offset is relative to."""

    PROGRAM = 0
    INPUT = 1
    OUTPUT = 2
    SCRATCH = 3


class Mode(IntEnum):
    """What a tap does: see the tap loop in docs/machine.md."""

    DENSE = 0
    DEPTHWISE = 1
    MAX = 2


class ErrorCode(IntEnum):
    """Why the accelerator stopped (register ERROR_CODE)."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    ARCH_MISMATCH = 2
    MALFORMED = 3
    ADDRESS_RANGE = 4
    AXI_READ = 5
    AXI_WRITE = 6
    WATCHDOG = 7


class Unit(IntEnum):
    """Units that execute instructions, in the order of trace records and token matrices."""

    LOAD = 0
    CALC = 1
    SAVE = 2
    FETCH = 3


TOKEN_PEERS: Mapping[Unit, tuple[Unit, Unit]] = MappingProxyType(
    {
        Unit.LOAD: (Unit.CALC, Unit.SAVE),
        Unit.CALC: (Unit.LOAD, Unit.SAVE),
        Unit.SAVE: (Unit.LOAD, Unit.CALC),
    }
)
"""Bit i of a unit's ``wait`` consumes one token from peer i, bit i of its ``signal`` gives one to
peer i."""
TOKEN_BITS = 8
"""Width of a token counter: a program never lets one pass 255 (the verifier checks)."""


@dataclass(frozen=True)
class Field:
    """A bit field: ``what`` is its meaning, ``signed`` two's complement."""

    name: str
    bits: int
    what: str
    signed: bool = False

    @property
    def range(self) -> tuple[int, int]:
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1


REGION, BANK, ROW, EXTENT = 3, 5, 16, 12
"""Widths shared by many fields: region number, bank of a pixel, row of a bank, height or width of a
map."""

_TOKENS = (
    Field("wait", 2, "token counters to take one token from before starting, a bit per peer"),
    Field("signal", 2, "token counters to add one token to when complete, a bit per peer"),
)


def _map(prefix: str, what: str) -> tuple[Field, ...]:
    """How a pixel-addressed map lies in a region; the same for the destination and the residual."""
    return (
        Field(f"{prefix}_region", REGION, f"region of the {what}"),
        Field(
            f"{prefix}_bank",
            BANK,
            f"bank of the {what}'s pixel (y_start, 0); with split: of (y_start & ~1, 0)",
        ),
        Field(f"{prefix}_row", ROW, "row of that pixel"),
        Field(
            f"{prefix}_pitch_bank",
            BANK,
            f"pixels from one line of the {what} to the next, mod P (split: of a phase plane)",
        ),
        Field(f"{prefix}_pitch_row", ROW, "pixels from line to line, div P"),
        Field(
            f"{prefix}_split",
            1,
            "phase-split: pixel (y, x) lies at (y/2, x/2) of phase plane 2*(y&1) + (x&1)",
        ),
        Field(f"{prefix}_phase_rows", ROW, "rows from one phase plane to the next"),
        Field(f"{prefix}_plane_rows", ROW, "rows from one block of M channels to the next"),
    )


def _dram(direction: str, other: str) -> tuple[Field, ...]:
    return (
        Field("base", 2, "base-address register (Base)"),
        Field(
            "offset", 32, "byte offset of the first transfer row from the base; a multiple of 16"
        ),
        Field("stride", 32, "bytes from one transfer row to the next in DRAM; a multiple of 16"),
        Field("rows", 16, "transfer rows, at least 1"),
        Field(
            "words",
            20,
            f"words of the {other} in a transfer row, at least 1; rows fill whole beats in DRAM",
        ),
        Field("region", REGION, "ACT region"),
        Field("bank", BANK, f"bank of the first word {direction}"),
        Field(
            "address",
            20,
            "ACT: row of the first word; other memories: word address (TABLE: table number * 256)",
        ),
        Field("stride_bank", BANK, "ACT: on-chip pixels from one transfer row to the next, mod P"),
        Field("stride_address", 20, "ACT: the same, div P; other memories: words"),
    )


_OPCODE = Field("opcode", 4, "operation (Opcode)")

LAYOUTS: Mapping[Opcode, tuple[Field, ...]] = MappingProxyType({
    Opcode.BEGIN: (
        _OPCODE,
        Field("isa_version", 8, "version of this instruction set"),
        Field("fingerprint", 32, "fingerprint of the architecture that the program is for"),
    ),
    Opcode.LOAD: (
        _OPCODE,
        *_TOKENS,
        Field("target", 3, "memory to fill (Target)"),
        *_dram("written", "target"),
    ),
    Opcode.CALC: (
        _OPCODE,
        *_TOKENS,
        Field("fence", 1, "start only when every earlier CALC instruction has written its results"),
        Field("mode", 2, "what a tap does (Mode)"),
        Field("residual", 1, "add the residual map"),
        Field("table", 1, "map the result through a table"),
        Field("table_id", 4, "which table"),
        Field("groups", 16, "groups of P consecutive grid pixels, at least 1"),
        Field("taps", 12, "tap entries for each group, at least 1"),
        Field("tap_base", ROW, "address of the first tap entry"),
        Field("wgt_base", 20, "address of the first weight word"),
        Field("src_region", REGION, "region of the source map"),
        Field("src_bank", BANK, "bank of the source pixel that tap offset 0 of grid pixel 0 reads"),
        Field("src_row", ROW, "row of that pixel"),
        Field("grid_width", EXTENT, "pixels from line to line of the source: the grid, >= D"),
        Field("in_height", EXTENT, "lines of the source map: a tap outside reads `pad`"),
        Field("in_width", EXTENT, "columns of the source map: likewise"),
        Field("y_start", EXTENT, "line of grid pixel 0"),
        Field("pad", 8, "value that a tap outside the source map reads", signed=True),
        Field("out_height", EXTENT, "grid lines from here on are not written"),
        Field("out_width", EXTENT, "grid columns from here on are not written"),
        Field(
            "planes",
            MAX_PLANES.bit_length(),
            "blocks of M output channels to write, 1..N/M; 1 unless dense",
        ),
        Field("param_base", ROW, "address of the first parameter word; a word for each block"),
        *_map("dst", "destination"),
        *_map("res", "residual"),
        Field("zero_point", 8, "zero point of the requantised accumulator", signed=True),
        Field("low", 8, "lower clamp of the result (before the table)", signed=True),
        Field("high", 8, "upper clamp of the result", signed=True),
        Field("res_zero_point", 8, "zero point of the residual map", signed=True),
        Field("out_zero_point", 8, "zero point of the sum", signed=True),
        Field("acc_multiplier", MULTIPLIER_BITS, "of the convolution in the sum", signed=True),
        Field("res_multiplier", MULTIPLIER_BITS, "of the residual in the sum", signed=True),
        Field("add_shift", SHIFT_BITS, f"right shift of the sum, {SHIFT_MIN}..{SHIFT_MAX}"),
    ),
    Opcode.SAVE: (_OPCODE, *_TOKENS, *_dram("read", "ACT")),
    Opcode.END: (_OPCODE,),
})  # fmt: skip
"""Every instruction's fields, bit 0 first."""

PARAM_RECORD = (
    Field("bias", 32, "added to the accumulator", signed=True),
    Field("multiplier", MULTIPLIER_BITS, "of the requantisation", signed=True),
    Field("shift", SHIFT_BITS, f"right shift of the requantisation, {SHIFT_MIN}..{SHIFT_MAX}"),
    Field("twice", 1, f"round twice; only with a shift of {TWICE_SHIFT_MIN} or more"),
)
"""One output channel; a parameter word holds M records, channel 0 lowest."""

TAP_ENTRY = (
    Field("bank", BANK, "bank offset of the tap's source pixel, 0..P-1"),
    Field("row", ROW + 1, "row offset", signed=True),
    Field("dy", 8, "line offset, for the range check", signed=True),
    Field("dx", 8, "column offset, for the range check", signed=True),
    Field("short_y", 1, "the plane that this tap reads has one line less than in_height"),
    Field("short_x", 1, "the plane that this tap reads has one column less than in_width"),
)
"""One tap; a tap word in DRAM is TAP_ENTRY_BITS wide."""


def width(fields: tuple[Field, ...]) -> int:
    """Bits that the fields take together."""
    return sum(field.bits for field in fields)


for _layout, _limit in (
    *((f, 8 * INSTRUCTION_BYTES) for f in LAYOUTS.values()),
    (PARAM_RECORD, PARAM_RECORD_BITS),
    (TAP_ENTRY, TAP_ENTRY_BITS),
):
    if width(_layout) > _limit:
        raise ValueError(f"a layout of {width(_layout)} bits exceeds {_limit}")


def offsets(fields: tuple[Field, ...]) -> Iterator[tuple[Field, int]]:
    """Each field with the position of its lowest bit."""
    position = 0
    for field in fields:
        yield field, position
        position += field.bits


Layout = tuple[tuple[str, int, int, int, int], ...]
"""Of each field its name, lowest bit, mask, least and greatest value."""


@lru_cache
def layout(fields: tuple[Field, ...]) -> Layout:
    """The fields as those need them who pack many records."""
    return tuple(
        (field.name, position, (1 << field.bits) - 1, *field.range)
        for field, position in offsets(fields)
    )


def pack(fields: tuple[Field, ...], values: Mapping[str, int], what: str = "record") -> int:
    """The fields' values as one integer; every field must be given and must fit.

    Raises
    ------
    EncodingError
        A value is missing, unknown, no integer, or does not fit its field.
    """
    return _pack(layout(fields), values, what)


def _pack(fields: Layout, values: Mapping[str, int], what: str) -> int:
    word = 0
    for name, position, mask, low, high in fields:
        value = values.get(name)
        if type(value) is int and low <= value <= high:
            word |= (value & mask) << position
        else:
            word |= (_checked(name, values, low, high, what) & mask) << position
    if len(values) > len(fields):
        names = [name for name, *_ in fields]
        unknown = sorted(values.keys() - set(names))
        raise EncodingError(f"{what} has no field {unknown[0]!r}; its fields are {names}")
    return word


def _checked(name: str, values: Mapping[str, int], low: int, high: int, what: str) -> int:
    """The value of a field, an integer of any type."""
    if name not in values:
        raise EncodingError(f"{what}: field {name!r} is not given")
    value = values[name]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise EncodingError(f"{what}: {name}={value!r} is not an integer")
    if not low <= value <= high:
        bits = (high - low).bit_length()
        raise EncodingError(f"{what}: {name}={value} does not fit {bits} bits ({low}..{high})")
    return int(value)


def pack_parameter(values: Mapping[str, int], what: str = "parameter") -> int:
    """A PARAM_RECORD that ``codesign.arith`` defines, as one integer.

    Raises
    ------
    EncodingError
        As ``pack``; or the shift is out of range, or too small to be rounded twice.
    """
    word = pack(PARAM_RECORD, values, what)
    low = TWICE_SHIFT_MIN if values["twice"] else SHIFT_MIN
    if not low <= values["shift"] <= SHIFT_MAX:
        rule = " with twice" if values["twice"] else ""
        raise EncodingError(f"{what}: shift={values['shift']}{rule} is outside {low}..{SHIFT_MAX}")
    return word


def unpack(fields: tuple[Field, ...], word: int) -> dict[str, int]:
    """The inverse of ``pack``."""
    return _unpack(layout(fields), word)


def _unpack(fields: Layout, word: int) -> dict[str, int]:
    values = {}
    for name, position, mask, _, high in fields:
        value = word >> position & mask
        values[name] = value if value <= high else value - mask - 1
    return values


_LAYOUTS = {opcode: layout(fields) for opcode, fields in LAYOUTS.items()}
_ZEROS = {
    opcode: dict.fromkeys([field.name for field in fields[1:]], 0)
    for opcode, fields in LAYOUTS.items()
}
_OPCODES = {int(opcode): opcode for opcode in Opcode}
_WIDTHS = {opcode: width(fields) for opcode, fields in LAYOUTS.items()}


@dataclass(frozen=True)
class Instruction:
    """An opcode and a value for every field of its layout but the opcode itself."""

    opcode: Opcode
    values: Mapping[str, int]

    def __getitem__(self, field: str) -> int:
        return self.values[field]

    @cached_property
    def encoded(self) -> bytes:
        """Its INSTRUCTION_BYTES in memory; raises as ``pack``."""
        values = {"opcode": int(self.opcode), **self.values}
        word = _pack(_LAYOUTS[self.opcode], values, self.opcode.name)
        return word.to_bytes(INSTRUCTION_BYTES, "little")


def make(opcode: Opcode, **values: int) -> Instruction:
    """An instruction whose unnamed fields are zero; refuses what does not fit."""
    instruction = Instruction(opcode, MappingProxyType(_ZEROS[opcode] | values))
    encode(instruction)
    return instruction


def encode(instruction: Instruction) -> bytes:
    """The instruction's INSTRUCTION_BYTES in memory."""
    return instruction.encoded


def decode(data: bytes) -> Instruction:
    """The instruction in INSTRUCTION_BYTES of memory.

    Raises
    ------
    EncodingError
        The length is wrong, the opcode unknown, or a bit above the last field is set.
    """
    return _decode(bytes(data))


def opcode(data: bytes) -> Opcode | None:
    """The opcode of an instruction in memory, None if it is illegal."""
    return _OPCODES.get(data[0] & _OPCODE.range[1])


@lru_cache(maxsize=1024)
def _decode(data: bytes) -> Instruction:
    if len(data) != INSTRUCTION_BYTES:
        raise EncodingError(f"an instruction has {INSTRUCTION_BYTES} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    kind = opcode(data)
    if kind is None:
        raise EncodingError(
            f"opcode {word & 0xF} is illegal; legal are {[f'{int(o)} {o.name}' for o in Opcode]}"
        )
    if word >> _WIDTHS[kind]:
        raise EncodingError(
            f"{kind.name} has bits set above its last field (bit {word.bit_length() - 1})"
        )
    values = _unpack(_LAYOUTS[kind], word)
    del values["opcode"]
    return Instruction(kind, MappingProxyType(values))
