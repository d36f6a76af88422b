"""Runs a compiled program on a device: a board, a simulation or a reference alike."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from host import steps
from host.device import Buffer, ByteArray, Device
from host.errors import AcceleratorError, DeviceMismatchError, ProgramFileError
from host.manifest import Manifest, MapLayout, Part, read_program
from host.maps import Codes, MapTable
from host.report import Report, make_report

Array = npt.NDArray[Any]

WATCHDOG_CYCLES = 1 << 20
"""Without any progress for so long a run has failed: far above every legal pause."""
_WORD = 0xFFFFFFFF
_RESET_WAITS = 64
"""A soft reset ends with the last outstanding burst: a DRAM that answers takes a fraction of it."""
_BUFFERS = ("PROGRAM", "INPUT", "OUTPUT", "SCRATCH", "TRACE")


class Accelerator:
    """An accelerator and the program on it.

    Several may take turns on one device: each run finds out whether another program has been there
    since, and sets its own up again. A run that was interrupted is ended by a soft reset before the
    device is used again.

    Parameters
    ----------
    device:
        Where to run; it stays the caller's to close.
    trace:
        Record when each instruction runs. The records go to DRAM while the program runs, which
        costs two beats an instruction.
    watchdog_cycles:
        Cycles without any progress after which a run fails; 0 waits forever.
    """

    def __init__(
        self, device: Device, *, trace: bool = True, watchdog_cycles: int = WATCHDOG_CYCLES
    ) -> None:
        self._device = device
        self._trace = trace
        self._watchdog = watchdog_cycles
        self._manifest: Manifest | None = None
        self._buffers: dict[str, Buffer] = {}
        self._inputs: list[MapTable] = []
        self._outputs: list[MapTable] = []
        self._tensors: dict[str, MapTable] = {}
        self._prepared = False
        self._batches = 0
        self._counters: dict[str, int] | None = None
        self._records: ByteArray = np.zeros(0, np.uint8)

    def load(self, program: str | os.PathLike[str]) -> None:
        """Put a program file on the device and run its part ``setup``.

        Raises
        ------
        ProgramFileError
            The file cannot be read.
        DeviceMismatchError
            The program is for another accelerator.
        AcceleratorError
            Part ``setup`` failed.

        After any error no program is loaded.
        """
        manifest, image = read_program(program)
        steps.check(manifest.host_steps)
        self.unload()
        self._manifest = manifest
        try:
            self._check_device()
            self._allocate(image)
            self._inputs = [_table(at, manifest.input_bytes) for at in manifest.inputs]
            self._outputs = [_table(at, manifest.output_bytes) for at in manifest.outputs]
            self._tensors = {
                name: _table(at, manifest.scratch_bytes) for name, at in manifest.tensors.items()
            }
            self._prepare()
        except BaseException:
            # what a failing device says first is what is wrong
            with contextlib.suppress(Exception):
                self.unload()
            raise

    def run(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """The network's outputs for its inputs, each [samples, C, H, W].

        An input of one pixel may be given as vectors, [samples, C].

        int8 inputs are codes and give the codes that the accelerator wrote; floating-point ones are
        quantised and give real values: float32, or what the program's host steps make of them
        (int64 indices after an argmax).
        Any number of samples runs in batches of the program's size.

        Raises
        ------
        TypeError, ValueError
            An input has another type or shape than the program's.
        AcceleratorError
            The run failed; the next one starts from a soft reset.
        TimeoutError
            A soft reset does not end.
        """
        self._loaded()
        codes = self._encode(inputs)
        batch, samples = self._inputs[0].layout.batch, len(codes[0])
        collected: list[list[Codes]] = [[] for _ in self._outputs]
        for first in range(0, samples, batch):
            part = [_fill(code[first : first + batch], batch) for code in codes]
            for rows, result in zip(collected, self._infer(part), strict=True):
                rows.append(result)
        results: list[Array] = [np.concatenate(rows)[:samples] for rows in collected]
        if inputs[0].dtype != np.int8:
            results = [self._real(t, r) for t, r in zip(self._outputs, results, strict=True)]
        return results[0] if len(results) == 1 else tuple(results)

    def tensor(self, name: str) -> Codes:
        """Codes [B, C, H, W] of an inner tensor after the last run, from a debug build's program.

        Raises
        ------
        KeyError
            The program does not save that tensor.
        """
        self._loaded()
        if name not in self._tensors:
            raise KeyError(f"the program saves no tensor {name!r}; it saves {list(self._tensors)}")
        buffer = self._buffers["SCRATCH"]
        buffer.invalidate()
        return self._tensors[name].read(buffer.array)

    @property
    def trace_records(self) -> ByteArray:
        """The last run's trace records as they lie in DRAM; empty without trace."""
        return self._records

    def report(self) -> Report:
        """What the last run took.

        Raises
        ------
        RuntimeError
            Nothing has run yet.
        """
        manifest = self._loaded()
        if self._counters is None:
            raise RuntimeError("there is nothing to report before the first run")
        return make_report(
            manifest, self._batches, self._counters, self._device.clock_hz, self._records
        )

    def unload(self) -> None:
        """Stop a run that was interrupted, and free the program's buffers.

        Raises
        ------
        TimeoutError
            A run does not stop; its buffers stay, for the device may still write there.
        """
        if self._buffers and self._owns_device():
            self._stop()
            self._bind({})
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers = {}
        self._inputs, self._outputs, self._tensors = [], [], {}
        self._manifest = None
        self._prepared = False
        self._batches = 0
        self._counters = None
        self._records = np.zeros(0, np.uint8)

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # what a failing device says first, inside, is what is wrong
        with contextlib.nullcontext() if error is None else contextlib.suppress(Exception):
            self.unload()

    # --- program ------------------------------------------------------------------------------
    def _loaded(self) -> Manifest:
        if self._manifest is None:
            raise RuntimeError("no program is on the device; call load first")
        return self._manifest

    def _check_device(self) -> None:
        manifest = self._loaded()
        checks = (
            ("ID", manifest.identity, "no accelerator is at this address; load its bitstream"),
            ("ISA_VERSION", manifest.isa_version,
             "compile the program with the version that the hardware was generated with"),
            ("FINGERPRINT", manifest.fingerprint,
             f"compile the program for the device's architecture, or load the bitstream of "
             f"{manifest.arch['name']!r}"),
        )  # fmt: skip
        for register, wanted, remedy in checks:
            found = self._read(register)
            if found != wanted:
                raise DeviceMismatchError(
                    f"register {register} reads 0x{found:08X}, but program {manifest.name!r} is "
                    f"for 0x{wanted:08X}: {remedy}"
                )

    def _allocate(self, image: bytes) -> None:
        manifest = self._loaded()
        count = max(manifest.setup.count, manifest.infer.count)
        sizes = {
            "PROGRAM": len(image),
            "INPUT": manifest.input_bytes,
            "OUTPUT": manifest.output_bytes,
            "SCRATCH": manifest.scratch_bytes,
            "TRACE": count * manifest.trace_record_bytes if self._trace else 0,
        }
        for name, size in sizes.items():
            if size:
                self._buffers[name] = self._device.allocate(size)
        program = self._buffers["PROGRAM"]
        program.array[: len(image)] = np.frombuffer(image, np.uint8)
        program.flush()

    def _bind(self, buffers: Mapping[str, Buffer]) -> None:
        """Tell the device where the buffers lie; it reaches no others."""
        for name in _BUFFERS:
            buffer = buffers.get(name)
            self._write_wide(f"{name}_BASE", buffer.address if buffer else 0)
            self._write_wide(f"{name}_SIZE", len(buffer.array) if buffer else 0)

    def _owns_device(self) -> bool:
        """Whether this program's buffers are those that the device works on."""
        return self._read_wide("PROGRAM_BASE") == self._buffers["PROGRAM"].address

    def _stop(self) -> None:
        """End a run that is under way or has failed."""
        if self._read("STATUS") & ~self._loaded().status["done"]:
            self._reset()

    def _prepare(self) -> None:
        manifest = self._loaded()
        self._stop()
        self._bind(self._buffers)
        self._write("WATCHDOG", self._watchdog)
        self._write("INTERRUPT_ENABLE", 1)
        self._write("TRACE_ENABLE", int(self._trace))
        self._execute("setup", manifest.setup)

    # --- running ------------------------------------------------------------------------------
    def _encode(self, inputs: Sequence[Array]) -> list[Codes]:
        if len(inputs) != len(self._inputs):
            names = [table.layout.name for table in self._inputs]
            raise TypeError(f"{len(inputs)} inputs are given, the program takes {names}")
        codes = [_encode_one(t, x) for t, x in zip(self._inputs, inputs, strict=True)]
        if len({(len(x), x.dtype == np.int8) for x in inputs}) != 1:
            raise ValueError("all inputs must have as many samples, and all be codes or none")
        return codes

    def _real(self, table: MapTable, codes: Codes) -> Array:
        """An output's real values, the host's steps done."""
        values: Array = table.dequantize(codes)
        return steps.apply(self._loaded().host_steps, table.layout.name, values)

    def _infer(self, codes: Sequence[Codes]) -> list[Codes]:
        manifest = self._loaded()
        if not (self._prepared and self._owns_device()):
            self._prepare()
        source, target = self._buffers["INPUT"], self._buffers["OUTPUT"]
        for table, code in zip(self._inputs, codes, strict=True):
            table.write(code, source.array)
        source.flush()
        self._execute("infer", manifest.infer)
        self._batches += 1
        self._counters = {name: self._read_wide(name) for name in manifest.counters}
        if self._trace:
            self._records = self._read_trace(manifest)
        target.invalidate()
        return [table.read(target.array) for table in self._outputs]

    def _execute(self, name: str, part: Part) -> None:
        """Run a part to its end. Until there memories may hold anything: an error or an exception
        leaves them to be prepared again."""
        self._prepared = False
        manifest = self._loaded()
        control, status = manifest.control, manifest.status
        self._write("CONTROL", control["acknowledge"])
        self._write("PART_OFFSET", part.offset)
        self._write("PART_COUNT", part.count)
        self._write("CONTROL", control["start"])
        while not (found := self._read("STATUS")) & (status["done"] | status["error"]):
            self._device.wait()
        if found & status["error"]:
            raise self._failure(name)
        self._write("CONTROL", control["acknowledge"])
        self._prepared = True

    def _read_trace(self, manifest: Manifest) -> ByteArray:
        buffer = self._buffers["TRACE"]
        buffer.invalidate()
        size = self._read("TRACE_COUNT") * manifest.trace_record_bytes
        records: ByteArray = buffer.array[:size].copy()
        return records

    def _failure(self, part: str) -> AcceleratorError:
        manifest = self._loaded()
        code, index = self._read("ERROR_CODE"), self._read("ERROR_INDEX")
        layer = None
        if part == "infer":
            layer = next((s.name for s in manifest.layers if s.first <= index < s.last), None)
        return AcceleratorError(manifest.errors.get(code, f"error {code}"), part, index, layer)

    def _reset(self) -> None:
        manifest = self._loaded()
        self._write("CONTROL", manifest.control["reset"])
        for _ in range(_RESET_WAITS):
            if not self._read("STATUS") & manifest.status["resetting"]:
                return
            self._device.wait()
        raise TimeoutError(
            f"the soft reset has not ended after {_RESET_WAITS} waits: memory owes the accelerator "
            "an answer; load the bitstream again, or restart the simulation"
        )

    # --- registers ----------------------------------------------------------------------------
    def _read(self, name: str) -> int:
        return self._device.read_register(self._loaded().registers[name])

    def _write(self, name: str, value: int) -> None:
        self._device.write_register(self._loaded().registers[name], value)

    def _read_wide(self, name: str) -> int:
        return self._read(f"{name}_LOW") | self._read(f"{name}_HIGH") << 32

    def _write_wide(self, name: str, value: int) -> None:
        self._write(f"{name}_LOW", value & _WORD)
        self._write(f"{name}_HIGH", value >> 32)


def _table(layout: MapLayout, buffer_bytes: int) -> MapTable:
    table = MapTable(layout)
    if table.first < 0 or table.end > buffer_bytes:
        raise ProgramFileError(
            f"map {layout.name!r} takes bytes {table.first}..{table.end - 1} of a buffer of "
            f"{buffer_bytes}: the program is damaged; compile the network again"
        )
    return table


def _encode_one(table: MapTable, x: Array) -> Codes:
    layout = table.layout
    if not isinstance(x, np.ndarray):
        raise TypeError(f"input {layout.name!r} is a {type(x).__name__}; give a numpy array")
    if x.ndim == 2 and layout.shape[1:] == (1, 1):
        x = x[:, :, None, None]
    if x.ndim != 4 or x.shape[1:] != layout.shape or not len(x):
        raise ValueError(
            f"input {layout.name!r} has shape {x.shape}; the program takes "
            f"(samples, {', '.join(map(str, layout.shape))})"
        )
    if x.dtype == np.int8:
        return x
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(
            f"input {layout.name!r} has type {x.dtype}; give int8 codes or floating-point values"
        )
    return table.quantize(x)


def _fill(codes: Codes, batch: int) -> Codes:
    """The samples, the last of them repeated where a batch is not full."""
    missing = batch - len(codes)
    return np.concatenate([codes, np.repeat(codes[-1:], missing, axis=0)]) if missing else codes
