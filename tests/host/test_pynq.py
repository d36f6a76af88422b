"""What the device body for PYNQ does without PYNQ; with it: ``tests/sim/board/test_pynq.py``."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import host.pynq
from host.device import ByteArray
from host.errors import DriverError
from host.pynq import PynqBuffer, PynqDevice


def test_an_overlay_is_two_files(tmp_path: Path) -> None:
    (tmp_path / "a.bit").touch()
    with pytest.raises(
        FileNotFoundError, match=r"a\.hwh is missing: an overlay is a .bit file and"
    ):
        PynqDevice(tmp_path / "a.bit")
    with pytest.raises(FileNotFoundError, match=r"b\.bit is missing"):
        PynqDevice(tmp_path / "b.bit")


@pytest.mark.skipif(importlib.util.find_spec("pynq") is not None, reason="PYNQ is installed here")
def test_pynq_is_missed_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.bit").touch()
    (tmp_path / "a.hwh").touch()
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[pynq31\]'.*in a checkout"):
        PynqDevice(tmp_path / "a.bit")


class Raises:
    """Anything of PYNQ's: calls fail in a way of their own."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.freed = 0

    def read(self, offset: int) -> int:
        raise self._error

    def write(self, offset: int, value: int) -> None:
        raise self._error

    def get_pl_clk(self, index: int) -> float:
        raise self._error

    def invalidate(self) -> None:
        raise self._error

    flush = invalidate

    def freebuffer(self) -> None:
        self.freed += 1
        raise self._error

    def __array__(self, *_: object, **__: object) -> ByteArray:
        return np.ones(16, np.uint8)


def opened(remote: bool, error: Exception) -> PynqDevice:
    """A device whose board has restarted since."""
    device = object.__new__(PynqDevice)
    device.__dict__.update(
        _remote=remote, _where="board", _mmio=Raises(error), _clocks=Raises(error),
        _device=SimpleNamespace(name="Board"),
    )  # fmt: skip
    return device


@pytest.mark.parametrize("remote", [True, False])
def test_a_remote_board_that_knows_nothing_any_more_is_lost(remote: bool) -> None:
    error = RuntimeError("no such window")
    device, buffer = opened(remote, error), PynqBuffer(Raises(error), 4096, remote)
    kind = ConnectionError if remote else RuntimeError
    for call in (
        lambda: device.read_register(0),
        lambda: device.write_register(0, 1),
        lambda: device.clock_hz,
        buffer.flush,
        buffer.invalidate,
        buffer.free,
    ):
        with pytest.raises(kind, match="no such window"):
            call()


def test_a_buffer_that_cannot_be_cleared_is_given_back() -> None:
    device, made = opened(True, RuntimeError()), Raises(RuntimeError("restarted"))
    made.device_address = 4096
    device._allocate = lambda *_, **__: made
    with pytest.raises(ConnectionError, match="restarted"):
        device.allocate(16)
    assert made.freed == 1


def test_allocation_tells_what_pynq_says() -> None:
    device = opened(True, RuntimeError())

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("XRT is not there")

    device._allocate = fails
    with pytest.raises(MemoryError, match="gives no 16 contiguous bytes: XRT is not there"):
        device.allocate(16)


def test_a_board_tells_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = opened(False, RuntimeError())
    monkeypatch.setattr(host.pynq, "_BOARD_NAME", tmp_path / "pynq_board")
    assert device.name == "Board"
    (tmp_path / "pynq_board").write_bytes(b"Pynq-Z2\0")
    assert device.name == "Pynq-Z2"


def test_only_root_reaches_a_boards_registers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bit").touch()
    (tmp_path / "a.hwh").touch()
    local = SimpleNamespace(has_capability=lambda _: False)
    monkeypatch.setattr(host.pynq, "_pynq", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(DriverError, match="as root alone: run Python with sudo"):
        PynqDevice(tmp_path / "a.bit", device=local)
