"""Every fault ends in an error that says what to do, and leaves a device that works."""

import gc
import multiprocessing
import os
import weakref

import numpy as np
import pytest

from codesign.isa import ErrorCode
from host import errors
from host.device import Overlay
from host.driver import Accelerator
from host.errors import (
    REMEDIES,
    AllocationError,
    DeviceBusyError,
    DeviceLostError,
    DeviceMismatchError,
    DeviceTimeoutError,
    DriverError,
    ProgramFileError,
)
from host.lock import BoardLock
from tests.host.fake import BASE, FakeDevice, manifest, write_program

OVERLAY = Overlay("net.bit", 77, 100e6, 32)


@pytest.fixture
def program(tmp_path):
    return write_program(tmp_path / "net.zip", manifest())


def codes(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 127, (samples, 5, 2, 3), np.int8)


def works(accelerator: Accelerator, seed: int = 9) -> None:
    x = codes(2, seed)
    assert np.array_equal(accelerator.run(x), x + 1)


def test_every_error_code_has_a_remedy():
    assert REMEDIES.keys() == {code.name for code in ErrorCode} - {"NONE"}


def test_one_root_holds_all():
    own = [at for at in vars(errors).values() if isinstance(at, type)]
    assert all(issubclass(at, DriverError) for at in own)
    assert issubclass(AllocationError, MemoryError)
    assert issubclass(DeviceTimeoutError, TimeoutError)
    assert issubclass(DeviceLostError, ConnectionError)


def test_an_overlay_of_another_design(program):
    device = FakeDevice(77, overlay=Overlay("other.bit", 0xABCD, 100e6, 32))
    message = "overlay 'other.bit' holds design 0x0000ABCD.*load the overlay of 'tiny'"
    with pytest.raises(DeviceMismatchError, match=message):
        Accelerator(device).load(program)
    assert device.buffers == []
    assert device.runs == []


def test_a_board_that_runs_another_bitstream_than_its_file(program):
    device = FakeDevice(78, overlay=OVERLAY)
    message = "FINGERPRINT reads 0x0000004E.*another bitstream than 'net.bit': load it again"
    with pytest.raises(DeviceMismatchError, match=message):
        Accelerator(device).load(program)


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (125e6, r"runs at 125.000 MHz, but overlay 'net.bit' works up to 100.000 MHz: set"),
        (0.0, "stands still; load the overlay again"),
        (float("nan"), "stands still"),
    ],
)
def test_a_clock_that_the_hardware_was_not_built_for(program, clock, message):
    device = FakeDevice(77, overlay=OVERLAY)
    device.clock_hz = clock
    with pytest.raises(DeviceMismatchError, match=message):
        Accelerator(device).load(program)


@pytest.mark.parametrize("clock", [100.05e6, 50e6])
def test_slower_clocks_and_those_of_dividers_do(program, clock):
    device = FakeDevice(77, overlay=OVERLAY)
    device.clock_hz = clock
    accelerator = Accelerator(device)
    accelerator.load(program)
    works(accelerator)
    assert accelerator.report().latency_ms == pytest.approx(1e3 * (1000 + (1 << 32)) / clock)


@pytest.mark.parametrize("missing", range(1, 7))
def test_memory_that_runs_out_is_given_back(program, missing):
    sizes = [512, 96, 96, 96, 96, 96]
    device = FakeDevice(77, memory_bytes=sum(sizes[:missing]) - 1)
    accelerator = Accelerator(device)
    message = r"has no \d+ bytes left for buffer .* takes 992 in all\): unload other programs"
    with pytest.raises(AllocationError, match=message):
        accelerator.load(program)
    assert device.buffers == []
    device.give_back(992)
    accelerator.load(program)
    works(accelerator)


@pytest.mark.parametrize(
    ("base", "bits"), [((1 << 32) - 0x10000, 32), ((1 << 40) - 0x10000, 64), (BASE + 8, 32)]
)
def test_memory_that_the_accelerator_does_not_reach(program, base, bits):
    device = FakeDevice(77, base=base, overlay=Overlay("net.bit", 77, 100e6, bits))
    with pytest.raises(AllocationError, match=r"lies at 0x.*reaches (32|40) bits of address"):
        Accelerator(device).load(program)
    assert device.buffers == []


def test_less_memory_than_was_asked_for(program):
    device = FakeDevice(77)
    allocate = device.allocate
    device.allocate = lambda nbytes: allocate(nbytes - 1)
    with pytest.raises(AllocationError, match="gave 511 of 512 bytes"):
        Accelerator(device).load(program)


def test_a_file_that_is_refused_leaves_the_program(program, tmp_path):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    with pytest.raises(ProgramFileError, match="compile the network again"):
        accelerator.load(write_program(tmp_path / "old.prog", manifest(format=2)))
    works(accelerator)


def test_a_run_that_does_not_end(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device, timeout_s=10.0)
    accelerator.load(program)
    device.stuck = True
    with pytest.raises(DeviceTimeoutError, match=r"'infer' has not ended after 10 s.*timeout_s"):
        accelerator.run(codes(2))
    assert device.time >= 10
    device.stuck = False
    works(accelerator)
    assert "reset" in device.log


def test_a_lost_connection(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    works(accelerator)
    device.lost = True
    for use in (lambda: accelerator.run(codes(2)), accelerator.report):
        with pytest.raises(DeviceLostError, match=r"connection to the fake board is lost.*again"):
            use()
    device.lost = False
    works(accelerator)


def test_a_connection_lost_in_the_middle_of_a_run(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    wait = device.wait

    def lose() -> None:
        wait()
        device.lost = True

    device.wait = lose
    with pytest.raises(DeviceLostError):
        accelerator.run(codes(2))
    device.lost, device.wait = False, wait
    works(accelerator)


def test_leaving_a_lost_device_is_no_second_error(program):
    device = FakeDevice(77)
    with Accelerator(device) as accelerator:
        accelerator.load(program)
        device.lost = True
    with pytest.raises(DeviceLostError):
        accelerator.load(program)
    device.lost = False
    accelerator.load(program)
    works(accelerator)


def test_a_device_that_lost_its_program_gets_it_again(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    for name in device.registers:
        if name not in ("ID", "ISA_VERSION", "FINGERPRINT"):
            device.registers[name] = 0
    works(accelerator)
    assert len(device.runs) == 3


def hold(folder, ready, done) -> None:
    with BoardLock("zcu104 at 192.168.2.99", folder):
        ready.set()
        done.wait(60)


def test_two_processes_on_a_board(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(DeviceBusyError, match=f"in use by process {other.pid}: end it") as caught:
        BoardLock("zcu104 at 192.168.2.99", tmp_path)
    assert caught.value.owner == str(other.pid)
    with BoardLock("another", tmp_path):
        pass
    done.set()
    other.join()
    with BoardLock("zcu104 at 192.168.2.99", tmp_path):
        pass


def test_a_killed_process_gives_its_board_back(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    other.kill()
    other.join()
    with BoardLock("zcu104 at 192.168.2.99", tmp_path):
        pass


def test_one_process_twice_on_a_board(tmp_path):
    lock = BoardLock("board", tmp_path)
    assert lock.path.read_text().strip() == str(os.getpid())
    with pytest.raises(DeviceBusyError, match=r"in use by this process: close its other device"):
        BoardLock("board", tmp_path)
    lock.release()
    lock.release()
    BoardLock("board", tmp_path).release()


def test_a_lock_that_nobody_holds_any_more_is_given_back(tmp_path):
    lock = BoardLock("board", tmp_path)
    del lock
    gc.collect()
    BoardLock("board", tmp_path).release()


def test_every_buffer_is_tried_before_what_fails_is_told(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    last, free = device.buffers[-1], device.buffers[-1].free

    def fails() -> None:
        free()
        raise RuntimeError("no such buffer")

    last.free = fails
    with pytest.raises(RuntimeError, match="no such buffer"):
        accelerator.unload()
    assert device.buffers == []


def test_memory_of_a_failed_load_stays_where_the_logic_may_write(program):
    device = FakeDevice(77, fail_at=(0,), resets=False)
    with pytest.raises(errors.AcceleratorError):
        Accelerator(device).load(program)
    kept = [weakref.ref(buffer) for buffer in device.buffers]
    assert len(kept) == 6
    device.buffers.clear()
    gc.collect()
    assert all(at() is not None for at in kept)
