"""What a board's remote services do, in terms of the board: one class a service.

Methods take the fields of the request and return those of the response. A stream of requests is one
call with its data joined, a stream of responses is cut from one answer: ``sim.board.server``.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from sim.board.board import Board
from sim.board.errors import BoardError
from sim.board.memory import Allocation

Answer = Mapping[str, Any]


class FileService:
    """``remote_device.RemoteDevice``."""

    def __init__(self, board: Board) -> None:
        self._files = board.files

    def existsfile(self, file_path: str) -> Answer:
        return {"exists": self._files.exists(file_path)}

    def readfile(self, file_path: str) -> Answer:
        return {"data": self._files.read(file_path)}

    def writefile(self, file_path: str, data: bytes) -> Answer:
        self._files.write(file_path, data)
        return {}

    def set_bitstream_attrs(self, binfile_name: str, partial: bool) -> Answer:
        if partial:
            raise BoardError(f"{binfile_name}: partial reconfiguration is not simulated")
        return {"status": True}


class MmioService:
    """``mmio.Mmio``: windows into the board's address space."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._windows: dict[str, tuple[int, int]] = {}

    def get_mmio(self, base_addr: int, length: int) -> Answer:
        if base_addr % 4 or not length:
            raise BoardError(
                f"a window of {length} bytes at 0x{base_addr:08X}: it begins at a multiple of 4 "
                "and is not empty"
            )
        # the client never gives windows back: equal ones are shared, so that none pile up
        key = f"0x{base_addr:X}+{length}"
        self._windows[key] = (base_addr, length)
        return {"status": True, "mmio_id": key}

    def read(self, mmio_id: str, length: int, offset: int, word_order: str) -> Answer:
        return {
            "status": True,
            "data": self._board.read(self._address(mmio_id, offset, length), length),
        }

    def write(self, mmio_id: str, offset: int, data: bytes) -> Answer:
        self._board.write(self._address(mmio_id, offset, len(data)), data)
        return {"status": True}

    def _address(self, mmio_id: str, offset: int, nbytes: int) -> int:
        if mmio_id not in self._windows:
            raise BoardError(f"no window {mmio_id!r} is open: the board has been started anew")
        base, length = self._windows[mmio_id]
        if offset + nbytes > length:
            raise BoardError(f"bytes {offset}..{offset + nbytes - 1} lie beyond window {mmio_id}")
        return base + offset


class BufferService:
    """``buffer.RemoteBuffer``: contiguous buffers; the logic sees what was flushed."""

    def __init__(self, board: Board) -> None:
        self._memory = board.memory
        self._buffers: dict[str, Allocation] = {}
        self._numbers = count(1)

    def allocate(self, size: int, dtype: str, cacheable: bool) -> Answer:
        key = str(next(self._numbers))
        self._buffers[key] = self._memory.allocate(size)
        return {"buffer_id": key}

    def write(self, buffer_id: str, data: bytes, start: int, end: int) -> Answer:
        buffer = self._buffer(buffer_id)
        if start or end:
            raise BoardError(f"a write of bytes {start}..{end}: the server writes from the start")
        if len(data) > len(buffer.cache):
            raise BoardError(f"{len(data)} bytes for a buffer of {len(buffer.cache)}")
        buffer.cache.data[: len(data)] = data
        return {}

    def read(self, buffer_id: str, start: int, end: int) -> Answer:
        if start or end:
            raise BoardError(f"a read of bytes {start}..{end}: the server reads whole buffers")
        return {"data": self._buffer(buffer_id).cache.tobytes()}

    def freebuffer(self, buffer_id: str) -> Answer:
        self._memory.free(self._buffer(buffer_id))
        del self._buffers[buffer_id]
        return {}

    def flush(self, buffer_id: str) -> Answer:
        self._buffer(buffer_id).flush()
        return {}

    def invalidate(self, buffer_id: str) -> Answer:
        self._buffer(buffer_id).invalidate()
        return {}

    def physical_address(self, buffer_id: str) -> Answer:
        return {"address": self._buffer(buffer_id).address}

    def virtual_address(self, buffer_id: str) -> Answer:
        return {"address": self._buffer(buffer_id).cache.ctypes.data}

    def cacheable(self, buffer_id: str) -> Answer:
        self._buffer(buffer_id)
        return {"cacheable": True}

    def _buffer(self, buffer_id: str) -> Allocation:
        if buffer_id not in self._buffers:
            raise BoardError(
                f"no buffer {buffer_id!r}: it was freed, never allocated (out of memory?), or the "
                "board has been started anew"
            )
        return self._buffers[buffer_id]


class GpioService:
    """``gpio.Gpio``: pins of the processing system; an output reads back what was written."""

    def __init__(self, board: Board) -> None:
        self._soc = board.model.soc
        self._pins: dict[str, int] = {}

    def get_gpio(self, index: int, direction: str) -> Answer:
        first = self._soc.gpio_chip
        if not first <= index < first + self._soc.gpio_pins or direction not in ("in", "out"):
            last = first + self._soc.gpio_pins - 1
            return {"message": f"no pin {index} ({first}..{last}) with direction {direction!r}"}
        self._pins.setdefault(str(index), 0)
        return {"gpio_id": str(index)}

    def read(self, gpio_id: str) -> Answer:
        if gpio_id not in self._pins:
            return {"message": f"pin {gpio_id!r} is not exported"}
        return {"value": self._pins[gpio_id]}

    def write(self, gpio_id: str, value: int) -> Answer:
        if gpio_id not in self._pins:
            raise BoardError(f"pin {gpio_id!r} is not exported")
        self._pins[gpio_id] = value & 1
        return {}

    def unexport(self, gpio_id: str) -> Answer:
        self._pins.pop(gpio_id, None)
        return {}

    def is_exported(self, gpio_id: str) -> Answer:
        return {"is_exported": gpio_id in self._pins}

    def get_gpio_base_path(self, target_label: str) -> Answer:
        return {"base_path": f"/sys/class/gpio/gpiochip{self._soc.gpio_chip}/"}

    def get_gpio_npins(self, target_label: str) -> Answer:
        return {"npins": self._soc.gpio_pins}


def services(board: Board) -> Mapping[str, Any]:
    """Every service of a board, by the names of ``sim.board.protocol.SERVICES``."""
    return {
        "remote_device.RemoteDevice": FileService(board),
        "mmio.Mmio": MmioService(board),
        "buffer.RemoteBuffer": BufferService(board),
        "gpio.Gpio": GpioService(board),
    }
