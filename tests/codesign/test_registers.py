"""The register map's rules."""

from codesign import registers
from codesign.isa import Unit


def test_offsets_are_multiples_of_4_without_collision_inside_the_space():
    offsets = [register.offset for register in registers.REGISTERS]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 4 == 0 for offset in offsets)
    assert max(offsets) < 1 << registers.REGISTER_SPACE_BITS


def test_wide_registers_are_pairs():
    for name in (*registers.COUNTERS, "PROGRAM_BASE", "TRACE_SIZE"):
        low, high = registers.OFFSETS[f"{name}_LOW"], registers.OFFSETS[f"{name}_HIGH"]
        assert (low % 8, high) == (0, low + 4)


def test_names_access_and_bits():
    names = [register.name for register in registers.REGISTERS]
    assert len(set(names)) == len(names)
    assert {register.access for register in registers.REGISTERS} == {"ro", "rw", "wo"}
    control = (
        registers.CONTROL_START,
        registers.CONTROL_RESET,
        registers.CONTROL_ACKNOWLEDGE,
    )
    assert sum(control) == 0b111
    status = (
        registers.STATUS_BUSY,
        registers.STATUS_DONE,
        registers.STATUS_ERROR,
        registers.STATUS_RESETTING,
    )
    assert sum(status) == 0b1111
    assert len(Unit) <= 1 << 8, "units have 8 bits in a trace record"
