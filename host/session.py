"""One program on one device: its buffers and tables, and the steps of an inference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from host.control import Control
from host.device import Buffer, ByteArray, Device
from host.errors import DeviceLostError, DeviceTimeoutError
from host.inputs import Array
from host.manifest import Manifest, MapLayout
from host.maps import Codes, MapTable, MapView, check_apart
from host.memory import SLOTS, Memory, slot_name

_NO_RECORDS: ByteArray = np.zeros(0, np.uint8)
_written: list[Memory] = []
"""Buffers of failed loads whose reset did not end: the logic may still write there, so they are
kept as long as this process."""


@dataclass(frozen=True)
class Settings:
    """How a program runs; see ``Accelerator``."""

    trace: bool
    watchdog_cycles: int
    timeout_s: float


class Reach:
    """Tells what was lost where a device's ``ConnectionError`` ends a ``with`` block."""

    def __init__(self, device: Device) -> None:
        self._name = device.name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, ConnectionError) and not isinstance(error, DeviceLostError):
            raise DeviceLostError(self._name, error) from error


class Session:
    """A program that is set up on a device.

    A batch goes through ``pack``, ``start``, ``finish``, ``unpack``; while one runs, the next may
    be packed, and the one before unpacked, in the other slot.

    Parameters
    ----------
    image:
        The program's memory image.

    Raises
    ------
    As ``Accelerator.load``; then nothing is left on the device.
    """

    def __init__(
        self, device: Device, manifest: Manifest, image: bytes, settings: Settings
    ) -> None:
        self.manifest = manifest
        self.inputs = _tables(manifest.inputs, manifest.input_bytes)
        self.outputs = _tables(manifest.outputs, manifest.output_bytes)
        self.batch = manifest.inputs[0].batch
        self._device, self._settings = device, settings
        self._reach = Reach(device)
        self._control = Control(device, manifest, settings.timeout_s)
        tensors = _tables(manifest.tensors.values(), manifest.scratch_bytes)
        self._tensors = dict(zip(manifest.tensors, tensors, strict=True))
        self._slot = 0
        self._ready = False
        """The device's memories hold what part ``setup`` put there, and nothing runs."""
        self._finished = False
        self._results: tuple[dict[str, int], ByteArray] | None = None
        check_apart(self.inputs)
        with self._reach:
            self._control.check_device()
            self._memory = Memory(device, manifest, image, settings.trace)
            try:
                self._inputs, self._outputs = self._slots("INPUT"), self._slots("OUTPUT")
                self._packed = _views(self.inputs, self._inputs)
                self._unpacked = _views(self.outputs, self._outputs)
                for view in (view for slot in self._packed for view in slot):
                    view.clear()
                self._prepare()
            except BaseException:
                self._give_up()
                raise

    def pack(self, slot: int, inputs: Iterable[Array]) -> None:
        """Put up to a batch of checked inputs where the accelerator will read them."""
        for view, samples in zip(self._packed[slot], inputs, strict=True):
            view.pack(samples)
        with self._reach:
            self._inputs[slot].flush()

    def start(self, slot: int) -> None:
        """Begin the batch that was packed; set the program up again where another was there."""
        with self._reach:
            if not (self._ready and self._control.is_bound(self._memory["PROGRAM"])):
                self._prepare()
            if slot != self._slot:
                self._move(slot)
            # until the end memories may hold anything: an error leaves them to be prepared again
            self._ready = self._finished = False
            self._results = None
            self._control.start()

    def finish(self) -> None:
        """Wait until the batch is done."""
        with self._reach:
            self._control.finish("infer")
        self._ready = self._finished = True

    def unpack(self, slot: int, real: bool) -> list[Array]:
        """The batch's outputs [B, C, H, W], as codes or as real values."""
        with self._reach:
            self._outputs[slot].invalidate()
        views = self._unpacked[slot]
        return [view.read_values() if real else view.read() for view in views]

    def tensor(self, name: str) -> Codes:
        """Codes of an inner tensor that a debug build saves."""
        if name not in self._tensors:
            raise KeyError(f"the program saves no tensor {name!r}; it saves {list(self._tensors)}")
        buffer = self._memory["SCRATCH"]
        with self._reach:
            buffer.invalidate()
        return MapView(self._tensors[name], buffer.array).read()

    def results(self) -> tuple[dict[str, int], ByteArray]:
        """Counters and trace records of the last batch, read when they are asked for.

        Raises
        ------
        RuntimeError
            There are none (any more).
        """
        if self._results is None:
            with self._reach:
                self._require_results()
                self._results = self._control.counters(), self._records()
        return self._results

    def close(self) -> None:
        """Stop a run that was interrupted, and free the buffers.

        Raises
        ------
        DeviceTimeoutError
            A run does not stop; its buffers stay, for the device may still write there.
        """
        try:
            if self._control.is_bound(self._memory["PROGRAM"]):
                self._control.stop()
                self._control.bind({})
        except ConnectionError:
            # nothing can be stopped any more; what the driver holds is given up all the same
            self._ready = False
        self._memory.free()

    def _give_up(self) -> None:
        """After an error, which is what is wrong: what fails here is not told."""
        try:
            self.close()
        except DeviceTimeoutError:
            _written.append(self._memory)
        except Exception:  # the device fails on
            self._ready = False

    def _prepare(self) -> None:
        self._ready = self._finished = False
        control, settings = self._control, self._settings
        control.stop()
        self._slot = 0
        control.bind(self._memory.regions(self._slot))
        control.write("WATCHDOG", settings.watchdog_cycles)
        control.write("INTERRUPT_ENABLE", 1)
        control.write("TRACE_ENABLE", int(settings.trace))
        control.choose(self.manifest.setup)
        control.start()
        control.finish("setup")
        control.choose(self.manifest.infer)
        self._ready = True

    def _slots(self, region: str) -> list[Buffer]:
        """The region's buffer of each slot."""
        return [self._memory[slot_name(region, slot)] for slot in range(SLOTS)]

    def _move(self, slot: int) -> None:
        """Let the device work on the inputs and outputs of another slot."""
        for region, buffers in (("INPUT", self._inputs), ("OUTPUT", self._outputs)):
            self._control.rebase(region, buffers[self._slot].address, buffers[slot].address)
        self._slot = slot

    def _require_results(self) -> None:
        if not self._finished:
            raise RuntimeError(
                "there is nothing to report: no run has come to its end since the program was "
                "loaded, or one failed or is under way; run, or let the stream end, and ask again"
            )
        if not self._control.is_bound(self._memory["PROGRAM"]):
            raise RuntimeError(
                "there is nothing to report any more: another program has been on the device "
                "since; run again and report before it is used"
            )

    def _records(self) -> ByteArray:
        if not self._settings.trace:
            return _NO_RECORDS
        buffer = self._memory["TRACE"]
        buffer.invalidate()
        size = self._control.read("TRACE_COUNT") * self.manifest.trace_record_bytes
        records: ByteArray = buffer.array[:size].copy()
        return records


def _tables(layouts: Iterable[MapLayout], buffer_bytes: int) -> list[MapTable]:
    return [MapTable(layout, buffer_bytes) for layout in layouts]


def _views(tables: list[MapTable], slots: list[Buffer]) -> list[list[MapView]]:
    """Of each slot the views of its maps."""
    return [[MapView(table, buffer.array) for table in tables] for buffer in slots]
