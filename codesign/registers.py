"""The AXI4-Lite register map, defined once: RTL, hardware description, manifest and docs walk it.

Registers are 32 bits wide at multiples of 4; 64-bit values lie in a LOW/HIGH pair, of which
addresses and sizes keep ADDRESS_BITS and read as zero above. The host takes the offsets from a
program's manifest, so that it never repeats them.
"""

from __future__ import annotations

from dataclasses import dataclass

MAGIC = 0xC0DE516E
"""Value of the ID register."""
ADDRESS_BITS = 40
"""Width of DRAM addresses."""
WATCHDOG_CYCLES = 1 << 24
"""WATCHDOG after a reset."""
ALIGNMENT = 16
"""Buffers, offsets and strides in DRAM are multiples of so many bytes."""
REGISTER_SPACE_BITS = 12
"""The register file decodes 4 KiB."""


@dataclass(frozen=True)
class Register:
    """``access`` is ``ro``, ``rw`` or ``wo`` (reads as zero); ``initial`` what it holds after a
    reset by ``aresetn`` (soft resets keep what the host wrote).
    """

    name: str
    offset: int
    access: str
    what: str
    initial: int = 0


def _counters() -> tuple[tuple[str, str], ...]:
    """64-bit counters, cleared by a start. busy = cycles with an instruction in execution; the
    stalls are idle causes. Each half is read as it is then: they belong together while nothing
    runs."""
    return (
        ("CYCLES", "cycles from the doorbell to done"),
        ("LOAD_BUSY", "cycles with a LOAD in execution"),
        ("LOAD_WAIT_TOKEN", "cycles in which LOAD had an instruction but lacked a token"),
        ("LOAD_WAIT_DRAM", "busy cycles of LOAD without read data"),
        ("LOAD_WAIT_PORT", "busy cycles of LOAD in which CALC held the write port"),
        ("CALC_BUSY", "cycles in which CALC issued taps or held the array for the drain"),
        ("CALC_ACTIVE", "cycles in which a tap entered the array"),
        ("CALC_WAIT_TOKEN", "cycles in which CALC had an instruction but lacked a token"),
        ("CALC_WAIT_FENCE", "cycles in which CALC waited at a fence"),
        ("CALC_WAIT_INSTRUCTION", "cycles in which CALC, idle, had no instruction"),
        ("SAVE_BUSY", "cycles with a SAVE in execution"),
        ("SAVE_WAIT_TOKEN", "cycles in which SAVE had an instruction but lacked a token"),
        ("SAVE_WAIT_PORT", "busy cycles of SAVE in which CALC held the read port"),
        ("SAVE_WAIT_DRAM", "busy cycles of SAVE with data that the bus did not take"),
        ("READ_BEATS", "AXI read data beats (instructions included)"),
        ("WRITE_BEATS", "AXI write data beats (trace included)"),
        ("TRACE_DROPPED", "trace records lost because their queue was full"),
    )


def _register_map() -> tuple[Register, ...]:
    plain = [
        ("ID", "ro", f"0x{MAGIC:08X}"),
        ("ISA_VERSION", "ro", "version of the instruction set"),
        ("FINGERPRINT", "ro", "fingerprint of the architecture"),
        (
            "CONTROL",
            "wo",
            "bit 0: start; bit 1: soft reset; bit 2: acknowledge (clears done and the interrupt)",
        ),
        ("STATUS", "ro", "bit 0: busy; bit 1: done; bit 2: error; bit 3: soft reset in progress"),
        ("ERROR_CODE", "ro", "why the run stopped (ErrorCode)"),
        ("ERROR_INDEX", "ro", "index of the offending instruction in the part that ran"),
        (
            "PART_OFFSET",
            "rw",
            "byte offset of the part's first instruction from PROGRAM_BASE; a multiple of 64",
        ),
        ("PART_COUNT", "rw", "instructions in the part, BEGIN and END included"),
        (
            "WATCHDOG",
            "rw",
            "cycles without any progress after which the run stops; 0 turns it off; "
            f"0x{WATCHDOG_CYCLES:08X} after a reset",
        ),
        ("INTERRUPT_ENABLE", "rw", "bit 0: raise the interrupt on done or error"),
        ("TRACE_ENABLE", "rw", "bit 0: write a trace record for every instruction"),
        ("TRACE_COUNT", "ro", "trace records written since the start; valid while nothing runs"),
    ]
    wide = [
        *((f"{name}_BASE", "rw", f"DRAM address of the {name.lower()} buffer; a multiple of 16")
          for name in ("PROGRAM", "INPUT", "OUTPUT", "SCRATCH", "TRACE")),
        *((f"{name}_SIZE", "rw", f"bytes of the {name.lower()} buffer: no transfer reaches beyond")
          for name in ("PROGRAM", "INPUT", "OUTPUT", "SCRATCH", "TRACE")),
        *((name, "ro", what) for name, what in _counters()),
    ]  # fmt: skip
    registers = [
        Register(name, 4 * i, access, what, WATCHDOG_CYCLES if name == "WATCHDOG" else 0)
        for i, (name, access, what) in enumerate(plain)
    ]
    start = 0x80
    for i, (name, access, what) in enumerate(wide):
        registers += [
            Register(f"{name}_LOW", start + 8 * i, access, f"{what} (bits 31..0)"),
            Register(f"{name}_HIGH", start + 8 * i + 4, access, f"{what} (bits 63..32)"),
        ]
    return tuple(registers)


REGISTERS = _register_map()
COUNTERS = tuple(name for name, _ in _counters())
OFFSETS = {register.name: register.offset for register in REGISTERS}

CONTROL_START, CONTROL_RESET, CONTROL_ACKNOWLEDGE = 1, 2, 4
STATUS_BUSY, STATUS_DONE, STATUS_ERROR, STATUS_RESETTING = 1, 2, 4, 8

TRACE_RECORD_BYTES = 16
"""A trace record: start cycle (32 bits), end cycle (32), instruction index (24), unit (8), zero
(32); little-endian.

Cycles count from the doorbell. start: the cycle in which the unit took the instruction's tokens and
began; end: the cycle in which it completed and gave its tokens.
"""
