"""Double-buffered runs: order of work, results, what may not happen meanwhile."""

import numpy as np
import pytest

from host.device import Overlay
from host.driver import Accelerator
from host.errors import AcceleratorError
from tests.host.fake import FakeDevice, manifest, write_program

STEPS = ("flush", "start", "wait", "invalidate")


@pytest.fixture
def program(tmp_path):
    return write_program(tmp_path / "net.zip", manifest())


def codes(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 127, (samples, 5, 2, 3), np.int8)


def steps(device: FakeDevice) -> list[str]:
    return [entry for entry in device.log if entry in STEPS]


def test_the_next_batch_is_packed_and_the_last_one_read_while_one_runs(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    device.log.clear()
    accelerator.run(codes(6))
    assert steps(device) == [
        "flush", "start",
        "flush", "wait", "start", "invalidate",
        "flush", "wait", "start", "invalidate",
        "wait", "invalidate",
    ]  # fmt: skip


def test_two_sets_of_buffers_take_turns(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    bases = []
    for _ in accelerator.stream(codes(2, seed) for seed in range(5)):
        bases.append((device.registers["INPUT_BASE_LOW"], device.registers["OUTPUT_BASE_LOW"]))
    assert len(set(bases)) == 2
    assert len(device.buffers) == 6
    addresses = {buffer.address for buffer in device.buffers}
    assert {address for pair in bases for address in pair} <= addresses


def test_bases_above_four_gigabytes_are_written_where_they_change(program):
    base = (1 << 32) - 0x20000
    device = FakeDevice(77, base=base)
    accelerator = Accelerator(device)
    accelerator.load(program)
    items = [codes(2, seed) for seed in range(3)]
    for x, y in zip(items, accelerator.run_batch(items), strict=True):
        assert np.array_equal(y, x + 1)


def test_results_come_in_order_for_items_of_any_size(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    items = [codes(count, seed=count) for count in (1, 4, 2, 3, 1)]
    results = list(accelerator.stream(iter(items)))
    assert len(results) == len(items)
    for x, y in zip(items, results, strict=True):
        assert np.array_equal(y, x + 1)
    assert accelerator.report().batches == 1 + 2 + 1 + 2 + 1


def test_real_values_stream_too(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    x = codes(3).astype(np.float32)
    one, other = accelerator.run_batch([x, (x,)])
    assert np.array_equal(one, other)
    assert one.dtype == np.float32


def test_no_items_no_results(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    assert accelerator.run_batch([]) == []


def test_a_result_comes_while_the_next_is_under_way(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    device.log.clear()
    stream = accelerator.stream([codes(2), codes(2, 1)])
    next(stream)
    assert steps(device)[-3:] == ["wait", "start", "invalidate"]
    stream.close()


def test_nothing_else_runs_while_a_stream_is_open(program):
    device = FakeDevice(77)
    accelerator, other = Accelerator(device), Accelerator(device)
    accelerator.load(program)
    other.load(program)
    stream = accelerator.stream([codes(2), codes(2, 1), codes(2, 2)])
    next(stream)
    for use in (
        lambda: accelerator.run(codes(2)),
        lambda: other.run(codes(2)),
        lambda: Accelerator(device).load(program),
    ):
        with pytest.raises(RuntimeError, match="a stream is under way on the fake board"):
            use()
    with pytest.raises(RuntimeError, match="under way; run, or let the stream end"):
        accelerator.report()
    stream.close()
    for user in (accelerator, other):
        x = codes(2, seed=9)
        assert np.array_equal(user.run(x), x + 1)


def test_leaving_a_stream_ends_its_run(program):
    device = FakeDevice(77)
    with Accelerator(device) as accelerator:
        accelerator.load(program)
        for _ in accelerator.stream(codes(2, seed) for seed in range(4)):
            break
        x = codes(2, seed=8)
        assert np.array_equal(accelerator.run(x), x + 1)
        assert "reset" in device.log
    assert device.buffers == []


def test_unloading_ends_a_stream(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    stream = accelerator.stream(codes(2, seed) for seed in range(4))
    next(stream)
    accelerator.unload()
    assert device.buffers == []
    with pytest.raises(RuntimeError, match="unloaded while a stream was under way"):
        next(stream)
    accelerator.load(program)
    x = codes(2, seed=8)
    assert np.array_equal(accelerator.run(x), x + 1)


def test_a_wrong_item_ends_the_stream_and_the_next_run_is_right(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    with pytest.raises(ValueError, match=r"shape \(2, 9, 2, 3\)"):
        accelerator.run_batch([codes(2), np.zeros((2, 9, 2, 3), np.int8)])
    x = codes(2, seed=3)
    assert np.array_equal(accelerator.run(x), x + 1)


def test_an_error_in_the_middle_of_a_stream(program):
    device = FakeDevice(77, fail_at=(2,))
    accelerator = Accelerator(device)
    accelerator.load(program)
    results = []
    with pytest.raises(AcceleratorError):
        results.extend(accelerator.stream(codes(2, seed) for seed in range(4)))
    assert len(results) == 1
    x = codes(2, seed=3)
    assert np.array_equal(accelerator.run(x), x + 1)


def test_a_stream_asks_once_for_each_batch_whether_its_program_is_there(program):
    device = FakeDevice(77, overlay=Overlay("net.bit", 77, 100e6, 32))
    accelerator = Accelerator(device)
    accelerator.load(program)
    device.log.clear()
    accelerator.run_batch([codes(2)] * 4)
    assert device.log.count("read PROGRAM_BASE_LOW") == 4
    assert device.log.count("read STATUS") == 4


def test_without_a_program_there_is_no_stream():
    with pytest.raises(RuntimeError, match="call load first"):
        Accelerator(FakeDevice(77)).stream([])


def test_overhead_leaves_out_the_simulation_and_the_callers_work(program, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("host.stopwatch.time.perf_counter", lambda: clock[0])
    device = FakeDevice(77)
    device.simulation_s = 0.0
    accelerator = Accelerator(device)
    accelerator.load(program)
    wait, read = device.wait, device.read_register

    def simulate() -> None:
        clock[0] += 5.0
        device.simulation_s += 5.0
        wait()

    def driver_reads(offset: int) -> int:
        clock[0] += 0.25
        return read(offset)

    device.wait, device.read_register = simulate, driver_reads

    def caller():
        for seed in range(3):
            clock[0] += 100.0
            yield codes(2, seed)

    for _ in accelerator.stream(caller()):
        clock[0] += 100.0
    device.read_register = read
    # a batch takes two halves of PROGRAM_BASE before its start; STATUS is read beside the run
    assert accelerator.report().overhead_us == pytest.approx(0.5e6)
