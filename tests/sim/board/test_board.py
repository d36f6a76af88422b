"""A board as its bus and its files show it."""

import struct
from pathlib import Path

import numpy as np
import pytest

from bitstreams import bit
from codesign import boards
from codesign.registers import MAGIC, OFFSETS
from sim.board.board import Board
from sim.board.boards import SIMULATED, board_model
from sim.board.errors import BoardError
from sim.board.fabric import fabrics
from sim.board.files import FIRMWARE, MANAGER
from sim.board.leds import write_leds


def image(path: Path) -> bytes:
    """A .bit file as the FPGA manager takes it."""
    return np.frombuffer(bit.BitFile.decode(path.read_bytes()).body, "<u4").byteswap().tobytes()


def base(board: Board) -> int:
    return board.model.board.processor.base


def test_programming_goes_through_the_manager(board: Board, overlays: dict[str, Path]) -> None:
    assert board.files.read(f"{MANAGER}/state") == b"unknown\n"
    board.files.write(f"{FIRMWARE}a.bin", image(overlays["pynq-z2"]))
    board.files.write(f"{MANAGER}/flags", b"0")
    board.files.write(f"{MANAGER}/firmware", b"a.bin")
    assert board.files.read(f"{MANAGER}/state") == b"operating\n"
    assert board.read(base(board) + OFFSETS["ID"]) == MAGIC


def test_programming_again_resets_the_logic(board: Board, overlays: dict[str, Path]) -> None:
    scratch = base(board) + OFFSETS["PART_COUNT"]
    for _ in range(2):
        board.program(image(overlays["pynq-z2"]))
        assert board.read(scratch) == 0
        board.write(scratch, struct.pack("<I", 7))
        assert board.read(scratch) == 7


def test_the_bus_answers_where_something_is(board: Board, overlays: dict[str, Path]) -> None:
    with pytest.raises(BoardError, match="the programmable logic is empty"):
        board.read(base(board))
    board.program(image(overlays["pynq-z2"]))
    with pytest.raises(BoardError, match=r"decodes 4096 bytes from 0x43C00000 on, not 0x43C01000"):
        board.read(base(board) + 4096)
    with pytest.raises(BoardError, match="nothing is mapped at 0xE0000000"):
        board.write(0xE0000000, bytes(4))
    with pytest.raises(BoardError, match="read at 0x43C00002, no multiple of 4"):
        board.read(base(board) + 2)
    with pytest.raises(BoardError, match="write of 8 bytes at 0x43C00080"):
        board.write(base(board) + 0x80, bytes(8))
    with pytest.raises(BoardError, match="read of 8 bytes"):
        board.read(base(board), 8)


def test_only_its_own_bitstreams_configure_it(board: Board, overlays: dict[str, Path]) -> None:
    with pytest.raises(BoardError, match="is for zcu104, not for pynq-z2"):
        board.program(image(overlays["zcu104"]))
    with pytest.raises(BoardError, match="no synchronisation word"):
        board.program(bytes(64))
    with pytest.raises(BoardError, match="a simulated board cannot tell what this bitstream does"):
        board.program(
            struct.pack("<4I", bit.SYNC, 1 << 29 | 2 << 27 | 13 << 13 | 1, 1, 0x2000_0000)
        )
    with pytest.raises(BoardError, match="only full configuration"):
        board.files.write(f"{MANAGER}/flags", b"1")
    with pytest.raises(BoardError, match=r"/lib/firmware/none.bin: there is no such file"):
        board.files.write(f"{MANAGER}/firmware", b"none.bin")


def test_an_overlay_of_another_version_is_refused(board: Board) -> None:
    arch = {**fabric_description(), "fingerprint": 1}
    content = bit.simulation_body(5, {**arch, "board": "pynq-z2", "design_id": 5})
    with pytest.raises(BoardError, match="architecture 0x00000001, which this version makes as"):
        board.program(content)


def fabric_description() -> dict[str, object]:
    from codesign.arch import preset

    return {"arch": preset("tiny").to_dict(), "registers": 0x43C0_0000}


@pytest.mark.parametrize("name", SIMULATED)
def test_a_booted_board_has_clocks_and_a_name(name: str) -> None:
    board = Board(board_model(name), fabrics("reference"))
    assert board.system.pl_clock_hz(0) == pytest.approx(100e6, rel=1e-4)
    assert board.files.read("/proc/device-tree/chosen/pynq_board").endswith(b"\0")
    clock = boards.board(name).clock(150.0)
    board.system.set_pl_clock(0, clock)
    assert board.system.pl_clock_hz(0) == pytest.approx(1e6 * clock.mhz)
    assert board.system.pl_clock_hz(1) == pytest.approx(100e6, rel=1e-4)


def test_a_stopped_clock_is_told(board: Board) -> None:
    control = board.model.soc.pl_clocks[0]
    board.write(control, bytes(4))
    assert board.read(control) == 0
    with pytest.raises(BoardError, match="PL clock 0 does not run: its register holds 0x00000000"):
        board.system.pl_clock_hz(0)


def test_there_is_no_such_board() -> None:
    with pytest.raises(ValueError, match="no simulated board is called 'kv260'; there are pynq-z1"):
        board_model("kv260")


def test_there_is_no_such_fabric() -> None:
    with pytest.raises(ValueError, match="fabric 'fpga': there are rtl and reference"):
        fabrics("fpga")


def test_files_are_kept_where_a_board_lets_them(board: Board) -> None:
    board.files.write("/tmp/x", b"1")
    board.files.write("/tmp/x", b"23")
    assert board.files.read("/tmp/x") == b"23"
    with pytest.raises(BoardError, match=r"/etc/passwd: not writable; .*/lib/firmware/ and /tmp/"):
        board.files.write("/etc/passwd", b"")
    with pytest.raises(BoardError, match=r"/proc/version: not writable"):
        board.files.write("/proc/version", b"")
    with pytest.raises(BoardError, match="no space left"):
        board.files.write("/tmp/y", bytes(300 << 20))


def test_rails_are_read_as_the_kernel_tells_them() -> None:
    board = Board(board_model("zcu104"), fabrics("reference"))
    folder = "/sys/class/hwmon/hwmon0"
    texts = {
        name: board.files.read(f"{folder}/{name}").decode().strip()
        for name in ("name", "in1_input", "power1_label", "power1_input", "curr1_input")
    }
    rail = board.model.rails[0]
    assert texts["name"], texts["power1_label"] == (rail.chip, rail.label)
    assert float(texts["power1_input"]) == pytest.approx(1e6 * rail.idle_w)
    volts, amperes = float(texts["in1_input"]) / 1e3, float(texts["curr1_input"]) / 1e3
    assert volts * amperes == pytest.approx(rail.idle_w, rel=1e-3)
    assert not board.files.exists("/sys/class/hwmon/hwmon2/name")


def test_leds_keep_what_is_written(tmp_path: Path) -> None:
    board = Board(board_model("zcu104"), fabrics("reference"))
    board.program(image(write_leds("zcu104", tmp_path)))
    board.write(base(board), struct.pack("<I", 0x15))
    assert board.read(base(board)) == 0x5
    assert board.read(base(board) + 8) == 0
