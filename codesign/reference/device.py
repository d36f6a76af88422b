"""The machine reference behind registers and shared memory: a device that the host's driver runs.

It has the methods of ``host.device.Device`` without knowing that module.
"""

from __future__ import annotations

import time
from types import TracebackType

import numpy as np

from codesign import registers
from codesign.arch import ISA_VERSION, Arch
from codesign.errors import MachineError
from codesign.isa import Base, ErrorCode
from codesign.reference import trace
from codesign.reference.machine import Machine, Run
from codesign.reference.memory import ByteArray
from codesign.reference.timing import Dram
from codesign.registers import (
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    STATUS_BUSY,
    STATUS_DONE,
    STATUS_ERROR,
    TRACE_RECORD_BYTES,
)

_PAGE = 4096
"""Buffers begin at multiples of it, as a board's do."""
_WORD = (1 << 32) - 1
_NAMES = {register.offset: register for register in registers.REGISTERS}


class ReferenceBuffer:
    """Memory that host and reference share; the host's view is always up to date."""

    def __init__(self, address: int, nbytes: int, owner: dict[int, ByteArray]) -> None:
        self._address, self._owner = address, owner
        self._array: ByteArray = np.zeros(nbytes, np.uint8)
        owner[address] = self._array

    @property
    def array(self) -> ByteArray:
        """The buffer's bytes."""
        return self._array

    @property
    def address(self) -> int:
        """Where the accelerator sees the first byte."""
        return self._address

    def flush(self) -> None:
        """Nothing lies between host and reference."""

    def invalidate(self) -> None:
        """Nothing lies between host and reference."""

    def free(self) -> None:
        """Give the memory back; a run that uses it afterwards is refused."""
        self._owner.pop(self._address, None)


class ReferenceDevice:
    """An accelerator that computes with ``Machine``, in ``wait`` and nowhere else.

    A deadlock shows as the watchdog's error even where WATCHDOG is 0, for a reference cannot hang.
    A program that leaves its result to chance raises ``ProgramError`` from ``wait``.

    Parameters
    ----------
    dram:
        Latencies of the memory.
    check:
        As of ``Machine``.
    """

    def __init__(self, arch: Arch, *, dram: Dram | None = None, check: bool = True) -> None:
        self._machine = Machine(arch, {}, dram=dram, check=check)
        self._buffers: dict[int, ByteArray] = {}
        self._next_address = _PAGE
        self._simulation_s = 0.0
        self._cycles = 0
        self._values = {register.name: register.initial for register in registers.REGISTERS}
        self._values["ID"] = registers.MAGIC
        self._values["ISA_VERSION"] = ISA_VERSION
        self._values["FINGERPRINT"] = arch.fingerprint

    @property
    def clock_hz(self) -> float:
        """Frequency that the architecture aims at."""
        return self._machine.arch.clock_mhz * 1e6

    @property
    def machine(self) -> Machine:
        """What computes, with its memories."""
        return self._machine

    @property
    def name(self) -> str:
        """What a message calls it."""
        return f"the machine reference of {self._machine.arch.name!r}"

    @property
    def overlay(self) -> None:
        """No file was loaded."""
        return None

    @property
    def simulation_s(self) -> float:
        """Wall-clock seconds spent on executing programs."""
        return self._simulation_s

    def seconds(self) -> float:
        """Time at the clock, as far as runs have come to an end."""
        return self._cycles / self.clock_hz

    def allocate(self, nbytes: int) -> ReferenceBuffer:
        """A buffer of ``nbytes`` zero bytes, at least 1."""
        if nbytes < 1:
            raise ValueError(f"a buffer of {nbytes} bytes; ask for at least 1")
        buffer = ReferenceBuffer(self._next_address, nbytes, self._buffers)
        self._next_address += -(-nbytes // _PAGE) * _PAGE
        return buffer

    def map(self, address: int, memory: ByteArray) -> None:
        """Let the reference see memory of the caller's (contiguous bytes) at ``address``."""
        self._buffers[address] = memory

    def unmap(self, address: int) -> None:
        """Take memory away; a run that uses it afterwards is refused."""
        self._buffers.pop(address, None)

    def read_register(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``; 0 where there is none, as in hardware."""
        register = _NAMES.get(_checked(offset))
        return 0 if register is None or register.access == "wo" else self._values[register.name]

    def write_register(self, offset: int, value: int) -> None:
        """Write 32 bits; what cannot be written stays as it is."""
        if not 0 <= value <= _WORD:
            raise ValueError(f"register value {value} does not fit 32 bits")
        register = _NAMES.get(_checked(offset))
        if register is None:
            return
        if register.name == "CONTROL":
            self._control(value)
        elif register.access == "rw":
            self._values[register.name] = value

    def wait(self) -> None:
        """Execute the part that was started, if any."""
        if self._values["STATUS"] & STATUS_BUSY:
            self._values["STATUS"] &= ~STATUS_BUSY
            begin = time.perf_counter()
            try:
                run = self._execute()
            except MachineError as error:
                self._values["STATUS"] |= STATUS_ERROR
                self._values["ERROR_CODE"], self._values["ERROR_INDEX"] = error.code, error.index
                return
            finally:
                self._simulation_s += time.perf_counter() - begin
            self._cycles += run.cycles
            self._values["STATUS"] |= STATUS_DONE
            self._count(run)

    def close(self) -> None:
        """Give all buffers back."""
        self._buffers.clear()

    def __enter__(self) -> ReferenceDevice:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _control(self, value: int) -> None:
        if value & CONTROL_RESET:
            self._values |= {"STATUS": 0, "ERROR_CODE": ErrorCode.NONE, "ERROR_INDEX": 0}
        if value & CONTROL_ACKNOWLEDGE:
            self._values["STATUS"] &= ~STATUS_DONE
        if value & CONTROL_START and not self._values["STATUS"] & (STATUS_BUSY | STATUS_ERROR):
            self._values["STATUS"] = STATUS_BUSY

    def _execute(self) -> Run:
        machine = self._machine
        machine.buffers = {base: self._bound(base.name) for base in Base}
        machine.addresses = {base: self._wide(f"{base.name}_BASE") for base in Base}
        machine.trace = bool(self._values["TRACE_ENABLE"] & 1)
        if machine.trace and self._wide("TRACE_BASE") % TRACE_RECORD_BYTES:
            raise MachineError(
                f"TRACE_BASE=0x{self._wide('TRACE_BASE'):X} is no multiple of {TRACE_RECORD_BYTES}",
                ErrorCode.MALFORMED,
                0,
            )
        return machine.run(self._values["PART_OFFSET"], self._values["PART_COUNT"])

    def _wide(self, name: str) -> int:
        return self._values[f"{name}_LOW"] | self._values[f"{name}_HIGH"] << 32

    def _bound(self, name: str) -> ByteArray:
        """The bytes that a pair of BASE and SIZE registers names."""
        base, size = self._wide(f"{name}_BASE"), self._wide(f"{name}_SIZE")
        for address, memory in self._buffers.items():
            offset = base - address
            if offset >= 0 and offset + size <= len(memory):
                return memory[offset : offset + size]
        if size:
            raise ValueError(
                f"{name}_BASE=0x{base:X} with {size} bytes lies in no allocated buffer; "
                "bind the buffer before starting"
            )
        return np.zeros(0, np.uint8)

    def _count(self, run: Run) -> None:
        counters = dict(run.counters)
        self._values["TRACE_COUNT"] = 0
        if self._machine.trace:
            records = sorted(run.trace, key=lambda record: (record.end, record.unit))
            buffer = self._bound("TRACE")
            written = min(len(buffer) // TRACE_RECORD_BYTES, len(records))
            data = trace.encode(records[:written])
            buffer[: len(data)] = data
            self._values["TRACE_COUNT"] = written
            counters["TRACE_DROPPED"] += len(records) - written
        for name, value in counters.items():
            self._values[f"{name}_LOW"] = value & _WORD
            self._values[f"{name}_HIGH"] = value >> 32


def _checked(offset: int) -> int:
    if offset % 4 or offset < 0:
        raise ValueError(f"register offset {offset} is not a multiple of 4")
    return offset
