"""A device that speaks the register protocol and computes something trivial instead of a program.

Output byte i is input byte i plus one, whatever the program says: what is tested with it is the
driver's side of the protocol.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from codesign.artifact import FORMAT_VERSION, MANIFEST_DIGEST, manifest_digest
from codesign.registers import (
    ADDRESS_BITS,
    ALIGNMENT,
    CONTROL_ACKNOWLEDGE,
    CONTROL_RESET,
    CONTROL_START,
    COUNTERS,
    MAGIC,
    OFFSETS,
    STATUS_BUSY,
    STATUS_DONE,
    STATUS_ERROR,
    STATUS_RESETTING,
    TRACE_RECORD_BYTES,
)
from host.device import Overlay

NAMES = {offset: name for name, offset in OFFSETS.items()}
BASE = 0x100000


class FakeBuffer:
    """Memory whose flushes and invalidates are counted."""

    def __init__(self, device: FakeDevice, nbytes: int, address: int) -> None:
        self.array = np.zeros(nbytes, np.uint8)
        self.address = address
        self._device = device

    def flush(self) -> None:
        self._device.reach()
        self._device.log.append("flush")

    def invalidate(self) -> None:
        self._device.reach()
        self._device.log.append("invalidate")

    def free(self) -> None:
        assert not self._device.registers["STATUS"] & STATUS_BUSY, "freed under a run"
        self._device.reach()
        self._device.buffers.remove(self)
        self._device.give_back(len(self.array))


class FakeDevice:
    """``fail_at`` lists the numbers of the runs (from 0) that stop with ADDRESS_RANGE.

    ``interrupt_at`` lists those whose ``wait`` raises KeyboardInterrupt and that go on. A START
    while busy is ignored, as in hardware. Memory freed during a run is an assertion's failure.
    ``memory_bytes`` is all that can be allocated, from address ``base`` on. ``log`` tells in which
    order the driver worked. ``lost`` makes every use a ``ConnectionError``; ``stuck`` never ends a
    run.
    """

    clock_hz = 100e6
    name = "the fake board"

    def __init__(
        self,
        fingerprint: int,
        fail_at: tuple[int, ...] = (),
        interrupt_at: tuple[int, ...] = (),
        *,
        resets: bool = True,
        overlay: Overlay | None = None,
        memory_bytes: int = 1 << 20,
        base: int = BASE,
    ) -> None:
        self.overlay = overlay
        self.simulation_s: float | None = None
        self.lost = self.stuck = False
        self.time = 0.0
        self._free_bytes = memory_bytes
        self.registers = dict.fromkeys(OFFSETS, 0)
        self.registers |= {"ID": MAGIC, "ISA_VERSION": 1, "FINGERPRINT": fingerprint}
        self.buffers: list[FakeBuffer] = []
        self.log: list[str] = []
        self.runs: list[int] = []
        self._fail_at = fail_at
        self._interrupt_at = interrupt_at
        self._resets = resets
        self._started = 0
        self._next = base

    def seconds(self) -> float:
        return self.time

    def close(self) -> None:
        pass

    def give_back(self, nbytes: int) -> None:
        self._free_bytes += nbytes

    def reach(self) -> None:
        if self.lost:
            raise ConnectionResetError("no answer")

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def allocate(self, nbytes: int) -> FakeBuffer:
        self.reach()
        if nbytes > self._free_bytes:
            raise MemoryError("the pool is empty")
        self._free_bytes -= nbytes
        buffer = FakeBuffer(self, nbytes, self._next)
        self._next += 0x10000
        self.buffers.append(buffer)
        return buffer

    def read_register(self, offset: int) -> int:
        self.reach()
        self.log.append(f"read {NAMES[offset]}")
        return self.registers[NAMES[offset]]

    def write_register(self, offset: int, value: int) -> None:
        self.reach()
        name = NAMES[offset]
        self.log.append(f"write {name}")
        if name != "CONTROL":
            self.registers[name] = value
            return
        if value == CONTROL_RESET:
            self.log.append("reset")
            self.registers["STATUS"] = STATUS_RESETTING
        elif value == CONTROL_START and self.registers["STATUS"] != STATUS_BUSY:
            assert self.registers["STATUS"] & ~STATUS_DONE == 0, "started while not idle"
            self.registers["STATUS"] = STATUS_BUSY
            self.log.append("start")
            self.runs.append(self.registers["PART_OFFSET"])

    def _wide(self, name: str) -> int:
        return self.registers[f"{name}_LOW"] | self.registers[f"{name}_HIGH"] << 32

    def wait(self) -> None:
        self.reach()
        self.log.append("wait")
        self.time += 0.5
        if self.stuck:
            return
        if self.registers["STATUS"] == STATUS_RESETTING:
            self.registers["STATUS"] = 0 if self._resets else STATUS_RESETTING
            return
        number, self._started = self._started, self._started + 1
        if number in self._interrupt_at:
            raise KeyboardInterrupt
        if number in self._fail_at:
            self.registers |= {"STATUS": STATUS_ERROR, "ERROR_CODE": 4, "ERROR_INDEX": 2}
            return
        memory = {buffer.address: buffer.array for buffer in self.buffers}
        source = memory[self._wide("INPUT_BASE")]
        memory[self._wide("OUTPUT_BASE")][: len(source)] = source + 1
        for i, name in enumerate(COUNTERS):
            self.registers[f"{name}_LOW"] = 100 + i
        self.registers["CYCLES_LOW"], self.registers["CYCLES_HIGH"] = 1000, 1
        if self.registers["TRACE_ENABLE"]:
            records = np.array(
                [[5, 90, 1, 0], [100, 400, 1 << 24 | 2, 0], [350, 800, 1 << 24 | 3, 0]], "<u4"
            )
            trace = memory[self._wide("TRACE_BASE")]
            trace[: records.nbytes] = records.view(np.uint8).ravel()
            self.registers["TRACE_COUNT"] = len(records)
        self.registers["STATUS"] = STATUS_DONE


def layout(shape: tuple[int, int, int], **changes: object) -> dict[str, object]:
    """A map in blocks of 4 channels, line after line."""
    channels, height, width = shape
    plane = height * width * 4
    values = {
        "name": "x", "shape": shape, "batch": 2, "scale": 0.5, "zero_point": 3, "offset": 0,
        "block": 4, "pitch": width, "split": False, "phase_bytes": 0, "plane_bytes": plane,
        "sample_bytes": plane * (-(-channels // 4)), "fold": [[0, 0]], "factor": 2,
    }  # fmt: skip
    return values | changes


def manifest(shape: tuple[int, int, int] = (5, 2, 3), **changes: object) -> dict[str, object]:
    """A program of two layers: instructions 1..2 and 3."""
    at = layout(shape)
    size = at["batch"] * at["sample_bytes"]
    values = {
        "format": FORMAT_VERSION, "name": "net", "id": MAGIC, "isa_version": 1, "fingerprint": 77,
        "arch": {"name": "tiny", "pixels": 3, "in_channels": 4, "out_channels": 4, "dma_bits": 64},
        "setup": {"offset": 0, "count": 3}, "infer": {"offset": 192, "count": 5},
        "input_bytes": size, "output_bytes": size, "scratch_bytes": size,
        "inputs": [at], "outputs": [layout(shape, name="y", scale=0.25)],
        "tensors": {"inner": layout(shape, name="inner")},
        "layers": [
            {"name": "conv", "op": "Conv2d", "first": 1, "last": 3, "macs": 4800},
            {"name": "pool", "op": "MaxPool2d", "first": 3, "last": 4, "macs": 0},
        ],
        "host_steps": [], "predicted_cycles": 999, "seed": 0, "versions": {},
        "registers": OFFSETS, "counters": list(COUNTERS),
        "control": {"start": CONTROL_START, "reset": CONTROL_RESET,
                    "acknowledge": CONTROL_ACKNOWLEDGE},
        "status": {"busy": STATUS_BUSY, "done": STATUS_DONE, "error": STATUS_ERROR,
                   "resetting": STATUS_RESETTING},
        "errors": {"NONE": 0, "ADDRESS_RANGE": 4}, "units": ["LOAD", "CALC", "SAVE", "FETCH"],
        "trace_record_bytes": TRACE_RECORD_BYTES, "address_bits": ADDRESS_BITS,
        "alignment": ALIGNMENT, "energy": None,
    }  # fmt: skip
    return values | changes


def write_program(path: Path, values: dict[str, object], image: bytes = bytes(512)) -> Path:
    """A program file with that manifest, its image's digest and its own."""
    values = {"image_sha256": hashlib.sha256(image).hexdigest()} | values
    text = json.dumps({MANIFEST_DIGEST: manifest_digest(values)} | values)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", text)
        archive.writestr("image.bin", image)
    return path
