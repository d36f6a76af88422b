"""The driver on a board in this process."""

from pathlib import Path

import numpy as np
import pytest

from codesign.registers import OFFSETS
from host.driver import Accelerator
from host.errors import AcceleratorError
from sim.benches import network
from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.device import BoardBuffer, BoardDevice
from sim.board.errors import BoardError
from sim.board.fabric import KINDS, fabrics
from sim.board.files import FIRMWARE


def opened(name: str, kind: str, overlays: dict[str, Path], **options: int) -> BoardDevice:
    return BoardDevice(Board(board_model(name), fabrics(kind, **options)), overlays[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pynq-z2", "zcu104"])
def test_computes_what_the_graph_says(
    name: str, kind: str, overlays: dict[str, Path], program: Path
) -> None:
    x = network.inputs(5)
    with opened(name, kind, overlays) as device, Accelerator(device) as accelerator:
        accelerator.load(program)
        assert np.array_equal(accelerator.run(x), network.expected(x))
        report = accelerator.report()
        assert report.latency_ms == pytest.approx(1e3 * report.cycles / device.clock_hz)
        assert device.clock_hz == pytest.approx(100e6, rel=1e-4)
        assert 0 < report.cycles / device.clock_hz < device.seconds()
        assert device.simulation_s > 0
    assert not device.board.memory.allocations


def test_runs_repeat_cycle_by_cycle(overlays: dict[str, Path], program: Path) -> None:
    counters = []
    for poll_cycles in (500, 500, 100_000):
        with opened("pynq-z2", "rtl", overlays, poll_cycles=poll_cycles) as device:
            accelerator = Accelerator(device)
            accelerator.load(program)
            accelerator.run(network.inputs(2))
            counters.append((accelerator.report().counters, device.seconds()))
    assert counters[0] == counters[1]
    assert counters[0][0] == counters[2][0]


@pytest.mark.parametrize("forgotten", ["flush", "invalidate"])
def test_what_is_not_synchronised_is_not_seen(
    forgotten: str, overlays: dict[str, Path], program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = network.inputs(2)
    with opened("pynq-z2", "rtl", overlays) as device:
        accelerator = Accelerator(device)
        accelerator.load(program)
        accelerator.run(network.inputs(2, seed=9))
        with monkeypatch.context() as patch:
            patch.setattr(BoardBuffer, forgotten, lambda buffer: None)
            assert not np.array_equal(accelerator.run(x), network.expected(x))
        assert np.array_equal(accelerator.run(x), network.expected(x))


def test_memory_that_was_freed_is_out_of_reach(overlays: dict[str, Path], program: Path) -> None:
    with opened("pynq-z2", "rtl", overlays) as device:
        accelerator = Accelerator(device)
        accelerator.load(program)
        for buffer in device.board.memory.allocations:
            device.board.memory.free(buffer)
        with pytest.raises(AcceleratorError, match="AXI_READ"):
            accelerator.run(network.inputs(2))


def test_buffers_begin_with_zeros_on_both_sides(overlays: dict[str, Path]) -> None:
    with opened("pynq-z2", "reference", overlays) as device:
        buffer = device.allocate(5000)
        assert not buffer.array.any()
        (allocation,) = device.board.memory.allocations
        assert not allocation.dram[:5000].any()
        buffer.free()
        with pytest.raises(
            MemoryError, match="pynq-z2, simulated in process: no 1073741824 contig"
        ):
            device.allocate(1 << 30)
        with pytest.raises(ValueError, match="a buffer of 0 bytes"):
            device.allocate(0)


def test_registers_are_the_accelerators(overlays: dict[str, Path]) -> None:
    with opened("zcu104", "reference", overlays) as device:
        assert device.overlay is not None
        assert device.read_register(OFFSETS["FINGERPRINT"]) == device.overlay.fingerprint
        with pytest.raises(BoardError, match="the bus would hang"):
            device.read_register(0x10000)


def test_rails_are_read_while_the_accelerator_works(
    overlays: dict[str, Path], program: Path
) -> None:
    with opened("zcu104", "rtl", overlays) as device:
        accelerator = Accelerator(device)
        accelerator.load(program)
        accelerator.run(network.inputs(2))
        path = "/sys/class/hwmon/hwmon0/power1_input"
        running, idle = (int(device.read_text(path)) for _ in range(2))
        rail = device.board.model.rails[0]
        assert (running, idle) == (round(1e6 * rail.running_w), round(1e6 * rail.idle_w))
        with pytest.raises(FileNotFoundError, match="hwmon7"):
            device.read_text("/sys/class/hwmon/hwmon7/name")


def test_another_boards_overlay_leaves_nothing_open(overlays: dict[str, Path]) -> None:
    board = Board(board_model("pynq-z2"), fabrics("reference"))
    with pytest.raises(BoardError, match="is for zcu104"):
        BoardDevice(board, overlays["zcu104"])
    assert board.files.exists(f"{FIRMWARE}{overlays['zcu104'].stem}.bin")
    BoardDevice(board, overlays["pynq-z2"]).close()
