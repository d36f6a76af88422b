"""Faults on the machine reference and in RTL: the error, then a run that is right."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from codesign import isa, registers
from codesign.arch import preset
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.reference.device import ReferenceDevice
from host.device import Buffer
from host.driver import Accelerator
from host.errors import (
    AcceleratorError,
    AllocationError,
    DeviceLostError,
    DeviceMismatchError,
    DeviceTimeoutError,
)
from sim.benches import network
from sim.device import RtlDevice

TINY = preset("tiny")
Device = ReferenceDevice | RtlDevice


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    made = compile_graph(network.graph(), TINY)
    path = tmp_path_factory.mktemp("program") / "net.prog"
    made.save(path)
    return made, path


@pytest.fixture(params=[ReferenceDevice, RtlDevice])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with request.param(TINY) as opened:
        yield opened


def works(accelerator: Accelerator, seed: int = 5) -> None:
    x = network.inputs(2, seed)
    assert np.array_equal(accelerator.run(x), network.expected(x))


def bound(device: Device, accelerator: Accelerator, region: str) -> Buffer:
    """The buffer that the device has for a region."""
    address = device.read_register(registers.OFFSETS[f"{region}_BASE_LOW"])
    (found,) = (
        buffer
        for buffer in accelerator._session._memory._buffers.values()
        if buffer.address == address
    )
    return found


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("opcode", 0, "ILLEGAL_OPCODE"),
        ("fingerprint", 1, "ARCH_MISMATCH"),
        ("rows", 0, "MALFORMED"),
        ("offset", 1 << 30, "ADDRESS_RANGE"),
    ],
)
def test_a_damaged_program(program, device, field, value, code):
    """Memory that something else has written to: the error names it, loading again mends it."""
    made, path = program
    accelerator = Accelerator(device)
    accelerator.load(path)
    buffer = bound(device, accelerator, "PROGRAM")
    opcode = {"fingerprint": isa.Opcode.BEGIN}.get(field, isa.Opcode.LOAD)
    first = made.infer.offset
    count = made.infer.count * isa.INSTRUCTION_BYTES
    part = bytes(buffer.array[first : first + count])
    words = [part[i : i + isa.INSTRUCTION_BYTES] for i in range(0, count, isa.INSTRUCTION_BYTES)]
    index = next(i for i, word in enumerate(words) if isa.decode(word).opcode is opcode)
    at = first + index * isa.INSTRUCTION_BYTES
    changed = _changed(words[index], field, value)
    buffer.array[at : at + isa.INSTRUCTION_BYTES] = np.frombuffer(changed, np.uint8)
    with pytest.raises(AcceleratorError, match=code) as caught:
        accelerator.run(network.inputs(2))
    assert (caught.value.code, caught.value.index) == (code, index)
    with pytest.raises(RuntimeError, match="nothing to report"):
        accelerator.report()
    accelerator.load(path)
    works(accelerator)


def _changed(word: bytes, field: str, value: int) -> bytes:
    """An instruction with one field changed, whatever the encoder would say."""
    if field == "opcode":
        return bytes([value]) + word[1:]
    opcode = isa.decode(word).opcode
    position = 0
    number = int.from_bytes(word, "little")
    for at in isa.LAYOUTS[opcode]:
        if at.name == field:
            mask = (1 << at.bits) - 1
            number = number & ~(mask << position) | value << position
        position += at.bits
    return number.to_bytes(len(word), "little")


def test_a_program_for_another_design(program, device, tmp_path):
    other = TINY.replace(name="other", tap_depth=256)
    compile_graph(network.graph(), other).save(tmp_path / "other.prog")
    accelerator = Accelerator(device)
    with pytest.raises(DeviceMismatchError, match=r"compile the program for.*or load the overlay"):
        accelerator.load(tmp_path / "other.prog")
    accelerator.load(program[1])
    works(accelerator)


def test_memory_that_runs_out(program, device):
    allocate, given = device.allocate, []

    def scarce(nbytes: int) -> Buffer:
        if len(given) == 3:
            raise MemoryError
        given.append(allocate(nbytes))
        return given[-1]

    accelerator = Accelerator(device)
    device.allocate = scarce
    with pytest.raises(AllocationError, match="unload other programs"):
        accelerator.load(program[1])
    device.allocate = allocate
    accelerator.load(program[1])
    works(accelerator)


@pytest.mark.parametrize("method", ["read_register", "write_register", "wait"])
def test_a_connection_that_breaks_and_comes_back(program, device, method):
    accelerator = Accelerator(device)
    accelerator.load(program[1])
    working = getattr(device, method)

    def broken(*_: int) -> None:
        raise BrokenPipeError("no route to host")

    setattr(device, method, broken)
    with pytest.raises(DeviceLostError, match="no route to host"):
        accelerator.run(network.inputs(2))
    setattr(device, method, working)
    works(accelerator)


def test_a_run_that_takes_too_long(program):
    with RtlDevice(TINY) as device:
        accelerator = Accelerator(device, watchdog_cycles=0, timeout_s=1e-3)
        accelerator.load(program[1])
        answer = device.read_register
        status = registers.OFFSETS["STATUS"]

        def busy(offset: int) -> int:
            return registers.STATUS_BUSY if offset == status else answer(offset)

        device.read_register = busy
        with pytest.raises(DeviceTimeoutError, match=r"has not ended after 0.001 s"):
            accelerator.run(network.inputs(2))
        device.read_register = answer
        works(accelerator)


def test_the_interrupted_user(program, device):
    accelerator = Accelerator(device)
    accelerator.load(program[1])
    wait = device.wait

    def interrupted() -> None:
        raise KeyboardInterrupt

    device.wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        accelerator.run(network.inputs(2))
    device.wait = wait
    works(accelerator)
    with accelerator:
        pass
    with pytest.raises(RuntimeError, match="no program"):
        accelerator.report()
