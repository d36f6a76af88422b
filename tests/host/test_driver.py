"""The driver's side of the register protocol, against a device that computes nothing real."""

import numpy as np
import pytest

from codesign.artifact import FORMAT_VERSION, MANIFEST_DIGEST, manifest_digest
from host.device import Overlay
from host.driver import Accelerator
from host.errors import AcceleratorError, DeviceMismatchError, ProgramFileError
from host.manifest import read_program
from tests.host.fake import FakeDevice, layout, manifest, write_program

SETUP, INFER = 0, 192
REGIONS = ("PROGRAM", "INPUT", "OUTPUT", "SCRATCH", "TRACE")
BUFFERS = 6
"""Program, scratch, inputs and outputs of two batches."""


@pytest.fixture
def program(tmp_path):
    return write_program(tmp_path / "net.zip", manifest())


def codes(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 127, (samples, 5, 2, 3), np.int8)


def test_codes_in_codes_out(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    x = codes(2)
    y = accelerator.run(x)
    assert y.dtype == np.int8
    assert np.array_equal(y, x + 1)
    assert device.runs == [SETUP, INFER]


def test_float_in_float_out(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    x = np.random.default_rng(1).uniform(-10, 10, (2, 5, 2, 3)).astype(np.float32)
    y = accelerator.run(x)
    quantised = np.floor(x.astype(np.float64) / 0.5 + 0.5) + 3
    assert y.dtype == np.float32
    assert np.array_equal(y, (quantised + 1 - 3) * 0.25)


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_any_number_of_samples_runs_in_batches(program, samples):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    x = codes(samples)
    assert np.array_equal(accelerator.run(x), x + 1)
    assert device.runs == [SETUP] + [INFER] * -(-samples // 2)
    assert accelerator.report().batches == -(-samples // 2)


def test_setup_runs_once(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    accelerator.run(codes(2))
    accelerator.run(codes(2))
    assert device.runs == [SETUP, INFER, INFER]


def test_buffers_are_flushed_before_and_invalidated_after(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    device.log.clear()
    accelerator.run(codes(2))
    assert [entry for entry in device.log if entry in ("flush", "start", "invalidate")] == [
        "flush", "start", "invalidate",
    ]  # fmt: skip


def test_an_inference_takes_few_operations(program):
    device = FakeDevice(77, overlay=Overlay("net.bit", 77, 100e6, 32))
    accelerator = Accelerator(device)
    accelerator.load(program)
    device.log.clear()
    accelerator.run(codes(2))
    assert [entry for entry in device.log if entry.startswith(("read", "write"))] == [
        "read PROGRAM_BASE_LOW", "write CONTROL", "read STATUS",
    ]  # fmt: skip


def test_counters_are_read_when_they_are_asked_for_and_once(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    accelerator.run(codes(2))
    device.log.clear()
    one = accelerator.report()
    assert "read CYCLES_LOW" in device.log
    device.log.clear()
    assert accelerator.report() == one
    assert device.log == []


def test_report(program):
    accelerator = Accelerator(FakeDevice(77), trace=True)
    accelerator.load(program)
    accelerator.run(codes(2))
    report = accelerator.report()
    cycles = 1000 + (1 << 32)
    assert report.cycles == cycles
    assert report.latency_ms == pytest.approx(1e3 * cycles / 100e6)
    assert report.utilization == pytest.approx(4800 / (cycles * 3 * 4 * 4))
    assert report.dram_read_bytes == 8 * report.counters["READ_BEATS"]
    first, second = report.layers
    assert (first.name, first.cycles, first.macs) == ("conv", 400, 4800)
    assert (second.name, second.cycles, second.macs) == ("pool", cycles - 400, 0)
    assert first.utilization == pytest.approx(4800 / (400 * 48))
    assert first.latency_ms == pytest.approx(1e3 * 400 / 100e6)
    assert report.stalls["LOAD"]["dram"] == report.counters["LOAD_WAIT_DRAM"]
    assert set(report.stalls) == {"LOAD", "CALC", "SAVE"}
    assert report.energy is None
    assert "no coefficients" in str(report)
    assert "conv (Conv2d): 400 cycles" in str(report)
    assert [(r.unit, r.index) for r in report.trace] == [("LOAD", 1), ("CALC", 2), ("CALC", 3)]
    assert "trace" not in report.to_dict()
    assert len(accelerator.trace_records) == 48


def test_without_trace_no_layers(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    accelerator.run(codes(1))
    assert accelerator.report().layers == ()
    assert device.registers["TRACE_SIZE_LOW"] == 0


def test_error_names_code_instruction_and_layer_and_the_next_run_works(program):
    device = FakeDevice(77, fail_at=(1,))
    accelerator = Accelerator(device)
    accelerator.load(program)
    message = "stopped with ADDRESS_RANGE at instruction 2 of part 'infer', layer 'conv'"
    with pytest.raises(AcceleratorError, match=message) as caught:
        accelerator.run(codes(2))
    assert (caught.value.code, caught.value.index) == ("ADDRESS_RANGE", 2)
    x = codes(2, seed=9)
    assert np.array_equal(accelerator.run(x), x + 1)
    assert "reset" in device.log
    assert device.runs == [SETUP, INFER, SETUP, INFER]


def test_error_in_setup(program):
    device = FakeDevice(77, fail_at=(0,))
    accelerator = Accelerator(device)
    with pytest.raises(AcceleratorError, match="instruction 2 of part 'setup'"):
        accelerator.load(program)
    assert device.buffers == []
    with pytest.raises(RuntimeError, match="call load first"):
        accelerator.run(codes(2))
    accelerator.load(program)
    x = codes(2)
    assert np.array_equal(accelerator.run(x), x + 1)


def test_a_run_after_an_interrupted_one_is_its_own(program):
    device = FakeDevice(77, interrupt_at=(1,))
    accelerator = Accelerator(device)
    accelerator.load(program)
    with pytest.raises(KeyboardInterrupt):
        accelerator.run(codes(2, seed=1))
    x = codes(2, seed=2)
    assert np.array_equal(accelerator.run(x), x + 1)
    assert device.runs == [SETUP, INFER, SETUP, INFER]


def test_memory_outlives_an_interrupted_run(program):
    device = FakeDevice(77, interrupt_at=(1,))
    with Accelerator(device) as accelerator:
        accelerator.load(program)
        with pytest.raises(KeyboardInterrupt):
            accelerator.run(codes(2))
        assert "reset" not in device.log
    assert "reset" in device.log
    assert device.buffers == []
    assert all(device.registers[f"{name}_SIZE_LOW"] == 0 for name in REGIONS)


def test_a_reset_that_does_not_end_keeps_the_memory(program):
    device = FakeDevice(77, interrupt_at=(1,), resets=False)
    accelerator = Accelerator(device)
    accelerator.load(program)
    with pytest.raises(KeyboardInterrupt):
        accelerator.run(codes(2))
    for use in (accelerator.unload, lambda: accelerator.run(codes(2))):
        with pytest.raises(TimeoutError, match=r"soft reset has not ended after \d+ waits"):
            use()
    assert len(device.buffers) == BUFFERS


def test_programs_take_turns_on_a_device(program):
    device = FakeDevice(77)
    with Accelerator(device, trace=True) as one:
        one.load(program)
        with Accelerator(device) as other:
            other.load(program)
            for turn, accelerator in enumerate((one, one, other, one)):
                x = codes(2, seed=turn)
                assert np.array_equal(accelerator.run(x), x + 1)
            with pytest.raises(RuntimeError, match="another program has been on the device"):
                other.report()
        loads, turns = [SETUP, SETUP], [SETUP, INFER, INFER, SETUP, INFER, SETUP, INFER]
        assert device.runs == loads + turns
        x = codes(2, seed=9)
        assert np.array_equal(one.run(x), x + 1)
        assert len(one.report().trace) == 3
    assert device.buffers == []


def test_inputs_that_are_no_arrays_are_refused(program):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(program)
    with pytest.raises(TypeError, match="input 'x' is a list; give a numpy array"):
        accelerator.run(codes(2).tolist())
    with pytest.raises(ValueError, match=r"shape \(\); the program takes"):
        accelerator.run(np.array(1.0))


def test_vectors_are_maps_of_one_pixel(tmp_path):
    accelerator = Accelerator(FakeDevice(77))
    accelerator.load(write_program(tmp_path / "net.zip", manifest((5, 1, 1))))
    x = np.random.default_rng(4).integers(-128, 127, (3, 5), np.int8)
    assert np.array_equal(accelerator.run(x), x[:, :, None, None] + 1)


@pytest.mark.parametrize(
    ("register", "remedy"),
    [
        ("ID", "load its overlay"),
        ("ISA_VERSION", "compile the program with the version"),
        ("FINGERPRINT", "compile the program for the device's architecture"),
    ],
)
def test_another_device_is_refused(program, register, remedy):
    device = FakeDevice(77)
    device.registers[register] ^= 1
    with pytest.raises(DeviceMismatchError, match=f"{register} reads.*{remedy}"):
        Accelerator(device).load(program)


def test_inputs_are_checked(program):
    accelerator = Accelerator(FakeDevice(77))
    with pytest.raises(RuntimeError, match="call load first"):
        accelerator.run(codes(1))
    accelerator.load(program)
    with pytest.raises(ValueError, match=r"shape \(2, 5, 3, 3\).*\(samples, 5, 2, 3\)"):
        accelerator.run(np.zeros((2, 5, 3, 3), np.int8))
    with pytest.raises(TypeError, match="type int64"):
        accelerator.run(np.zeros((2, 5, 2, 3), np.int64))
    with pytest.raises(TypeError, match="2 inputs are given"):
        accelerator.run(codes(2), codes(2))
    with pytest.raises(RuntimeError, match="no run has come to its end"):
        accelerator.report()


def test_inner_tensors(program):
    device = FakeDevice(77)
    accelerator = Accelerator(device)
    accelerator.load(program)
    scratch = next(b for b in device.buffers if b.address == device.registers["SCRATCH_BASE_LOW"])
    scratch.array[4] = 42
    assert accelerator.tensor("inner")[0, 0, 0, 1] == 42
    with pytest.raises(KeyError, match="saves no tensor 'other'"):
        accelerator.tensor("other")


def test_buffers_are_freed(program):
    device = FakeDevice(77)
    with Accelerator(device) as accelerator:
        accelerator.load(program)
        accelerator.load(program)
        assert len(device.buffers) == BUFFERS
    assert device.buffers == []


def test_programs_are_checked(tmp_path):
    accelerator = Accelerator(FakeDevice(77))
    path = tmp_path / "net.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(ProgramFileError, match="is not a program"):
        accelerator.load(path)
    message = f"has format 2, this driver reads {FORMAT_VERSION}; compile the network again"
    with pytest.raises(ProgramFileError, match=message):
        accelerator.load(write_program(path, manifest(format=2)))
    with pytest.raises(ProgramFileError, match="image does not match its digest"):
        accelerator.load(write_program(path, manifest(image_sha256="0")))
    damaged = manifest()
    del damaged["layers"]
    with pytest.raises(ProgramFileError, match=r"the manifest is damaged.*layers"):
        accelerator.load(write_program(path, damaged))


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": 3},
        {"arch": {"name": "tiny", "pixels": 0, "in_channels": 4, "out_channels": 4}},
        {"inputs": [3]},
        {"errors": []},
        {"infer": {"offset": 512, "count": 5}},
        {"setup": {"offset": 0, "count": 0}},
        {"inputs": [layout((5, 2, 3), scale=0.0)]},
        {"outputs": [layout((5, 2, 3), scale=float("nan"))]},
        {"tensors": {"inner": layout((5, 2, 3), zero_point=200)}},
        {"inputs": [layout((5, 0, 3))]},
    ],
)
def test_damaged_values_are_refused(tmp_path, changes):
    path = write_program(tmp_path / "net.zip", manifest(**changes))
    with pytest.raises(ProgramFileError, match="the manifest is damaged"):
        Accelerator(FakeDevice(77)).load(path)


def test_a_changed_manifest_is_refused(tmp_path):
    values = manifest()
    path = write_program(tmp_path / "net.zip", values | {MANIFEST_DIGEST: manifest_digest(values)})
    with pytest.raises(ProgramFileError, match="the manifest does not match its digest"):
        Accelerator(FakeDevice(77)).load(path)


def test_half_a_program_is_refused(program):
    content = program.read_bytes()
    program.write_bytes(content[: len(content) // 2])
    with pytest.raises(ProgramFileError, match=r"half of one.*compile the network again"):
        Accelerator(FakeDevice(77)).load(program)


@pytest.mark.parametrize("changes", [{"offset": 10**6}, {"offset": -1}])
def test_a_map_beyond_its_buffer_is_refused(tmp_path, changes):
    device = FakeDevice(77)
    path = write_program(tmp_path / "net.zip", manifest(inputs=[layout((5, 2, 3), **changes)]))
    with pytest.raises(ProgramFileError, match=r"map 'x' takes bytes .* of a buffer of 96"):
        Accelerator(device).load(path)
    assert device.buffers == []


def test_any_damaged_byte_is_refused_or_harmless(program):
    content = program.read_bytes()
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        program.write_bytes(damaged)
        try:
            found = read_program(program)
        except ProgramFileError:
            continue
        program.write_bytes(content)
        assert found == read_program(program)


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        Accelerator(FakeDevice(77)).load(tmp_path / "none.prog")


def test_the_package_gives_the_driver_and_loading_gives_it_back(tmp_path):
    import host

    program = write_program(tmp_path / "net.zip", manifest())
    x = np.random.default_rng(6).integers(-128, 127, (2, 5, 2, 3), np.int8)
    assert np.array_equal(host.Accelerator(FakeDevice(77)).load(program).run(x), x + 1)
