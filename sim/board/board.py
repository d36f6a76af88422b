"""A simulated board: processing system, memory and programmable logic on one bus."""

from __future__ import annotations

from functools import partial
from typing import Any

from bitstreams.bit import BitError, simulation_description, user_access
from sim.board.boards import BoardModel
from sim.board.errors import BoardError
from sim.board.fabric import Fabric, Make
from sim.board.files import FIRMWARE, MANAGER, Files, rail_files, system_files
from sim.board.memory import Bytes, Memory
from sim.board.soc import ProcessingSystem

_WORD_BYTES = 4


class Board:
    """A board after boot, its programmable logic empty; calls must not overlap.

    It is as strict as hardware: what hardware answers with a bus error, a hanging bus or a crash
    is a ``BoardError``, and buffers that were not flushed or invalidated hold other data.

    Parameters
    ----------
    model:
        Which board.
    make:
        What stands for the designs that it is programmed with.

    Attributes
    ----------
    files, memory, system:
        Its file system, its contiguous buffers, the processing system's registers.
    description:
        What the bitstream in the logic tells of its design; empty while there is none.
    """

    def __init__(self, model: BoardModel, make: Make) -> None:
        self.model = model
        self.system = ProcessingSystem(model.soc)
        self.memory = Memory(*model.pool, self._map, self._unmap)
        self.files = Files()
        self.description: dict[str, Any] = {}
        self._make = make
        self._fabric: Fabric | None = None
        self._flags = b"0"
        self._firmware = b""
        self._asked_at = 0
        self._provide_files()

    def _provide_files(self) -> None:
        for path, content in system_files(self.model).items():
            self.files.provide(path, partial(bytes, content))
        for path, read in rail_files(self.model, self._worked).items():
            self.files.provide(path, read)
        self.files.provide(f"{MANAGER}/state", self._state)
        self.files.provide(f"{MANAGER}/flags", lambda: self._flags, self._set_flags)
        self.files.provide(f"{MANAGER}/firmware", lambda: self._firmware, self._program)

    # --- programmable logic -----------------------------------------------------------------------
    @property
    def fabric(self) -> Fabric:
        """The design that is in the logic.

        Raises
        ------
        BoardError
            There is none.
        """
        if self._fabric is None:
            raise BoardError("the programmable logic is empty: the bus would hang; load an overlay")
        return self._fabric

    def program(self, content: bytes) -> None:
        """Configure the logic with a bitstream as the FPGA manager takes it.

        Raises
        ------
        BoardError
            It is none, or no design of this board's.
        """
        description = _description(content)
        if description["board"] != self.model.name:
            raise BoardError(
                f"the bitstream is for {description['board']}, not for {self.model.name}: "
                "its device would refuse the configuration"
            )
        self.close()
        self._fabric, self.description = self._make(description), description
        for buffer in self.memory.allocations:
            self._fabric.map(buffer.address, buffer.dram)

    def close(self) -> None:
        """Empty the programmable logic."""
        if self._fabric is not None:
            self._fabric.close()
            self._fabric, self.description = None, {}

    def _program(self, name: bytes) -> None:
        self._firmware = name
        self.program(self.files.read(FIRMWARE + name.decode().strip()))

    def _state(self) -> bytes:
        return b"unknown\n" if self._fabric is None else b"operating\n"

    def _set_flags(self, content: bytes) -> None:
        if content.strip() != b"0":
            raise BoardError(
                f"FPGA manager flags {content.decode()!r}: only full configuration (0) is simulated"
            )
        self._flags = content

    def _worked(self) -> bool:
        """Whether the logic has worked since this was asked last."""
        cycles = 0 if self._fabric is None else self._fabric.busy_cycles
        worked, self._asked_at = cycles != self._asked_at, cycles
        return worked

    def _map(self, address: int, dram: Bytes) -> None:
        if self._fabric is not None:
            self._fabric.map(address, dram)

    def _unmap(self, address: int) -> None:
        if self._fabric is not None:
            self._fabric.unmap(address)

    # --- bus --------------------------------------------------------------------------------------
    def read(self, address: int, nbytes: int = _WORD_BYTES) -> int:
        """One word of the bus.

        Raises
        ------
        BoardError
            Nothing answers at ``address``, it is no multiple of 4, or ``nbytes`` is not 4.
        """
        _check_access("read", address, nbytes)
        if address in self.system:
            return self.system.read(address)
        return self.fabric.read(self._offset(address))

    def write(self, address: int, data: bytes) -> None:
        """Write one little-endian word; refuses what ``read`` refuses."""
        _check_access("write", address, len(data))
        value = int.from_bytes(data, "little")
        if address in self.system:
            self.system.write(address, value)
        else:
            self.fabric.write(self._offset(address), value)

    def _offset(self, address: int) -> int:
        """Byte offset in the fabric's registers."""
        first, last = self.model.soc.pl_window
        if not first <= address <= last:
            raise BoardError(f"nothing is mapped at 0x{address:08X}: a bus error on the board")
        fabric, base = self.fabric, self.description["registers"]
        offset: int = address - base
        if not 0 <= offset < fabric.space:
            raise BoardError(
                f"the design decodes {fabric.space} bytes from 0x{base:08X} on, "
                f"not 0x{address:08X}: the bus would hang"
            )
        return offset


def _description(content: bytes) -> dict[str, Any]:
    """What a bitstream for simulated boards tells of its design."""
    try:
        identity, description = user_access(content), simulation_description(content)
    except BitError as error:
        raise BoardError(f"configuration fails: {error}") from error
    if description is None:
        raise BoardError(
            "a simulated board cannot tell what this bitstream does: load the one that "
            "`codesign overlay` writes into folder 'simulated'"
        )
    if identity != description["design_id"]:
        raise BoardError(
            f"configuration fails: USR_ACCESS is {identity}, the description has "
            f"{description['design_id']}; write the overlay again"
        )
    return description


def _check_access(what: str, address: int, nbytes: int) -> None:
    if nbytes != _WORD_BYTES:
        raise BoardError(
            f"a {what} of {nbytes} bytes at 0x{address:08X}: registers are words of {_WORD_BYTES}; "
            "hardware and the remote server do only the first word"
        )
    if address % _WORD_BYTES:
        raise BoardError(f"a {what} at 0x{address:08X}, no multiple of {_WORD_BYTES}")
