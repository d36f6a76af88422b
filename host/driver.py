"""Runs a compiled program on a device: a board, a simulation or a reference alike."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from host import steps
from host.device import ByteArray, Device
from host.flow import Flight, Item, Outputs, results
from host.inputs import Array, Given, check_inputs
from host.manifest import read_program
from host.maps import Codes
from host.memory import SLOTS
from host.power import Meter
from host.report import Report, Run, make_report
from host.session import Session, Settings
from host.stopwatch import Stopwatch

WATCHDOG_CYCLES = 1 << 20
"""Without any progress for so long a run has failed: far above every legal pause."""
TIMEOUT_S = 60.0
"""A part that runs for so long has failed: far above any inference."""

_in_use: dict[int, object] = {}
"""Device, by its id -> the load or flow that is under way there."""


class _Alone:
    """Within its ``with`` block nobody else of this process sends the device to work."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __enter__(self) -> None:
        mine = object()
        if _in_use.setdefault(id(self._device), mine) is not mine:
            raise RuntimeError(
                f"a stream is under way on {self._device.name}: let it end, or close() it, before "
                "anything else runs there"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del _in_use[id(self._device)]


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
        Record when each instruction runs, for the report's times by layer. The records go to DRAM
        while the program runs, which costs cycles: two beats an instruction.
    watchdog_cycles:
        Cycles without any progress after which a run fails; 0 waits for ``timeout_s``.
    timeout_s:
        Seconds of the device's own clock after which a run fails in any case.
    """

    def __init__(
        self,
        device: Device,
        *,
        trace: bool = False,
        watchdog_cycles: int = WATCHDOG_CYCLES,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._device = device
        self._settings = Settings(trace, watchdog_cycles, timeout_s)
        self._session: Session | None = None
        self._batches = 0
        self._watch = Stopwatch(device)
        self._alone = _Alone(device)

    def load(self, program: str | os.PathLike[str]) -> Accelerator:
        """Put a program file on the device and run its part ``setup``; returns this accelerator.

        Raises
        ------
        ProgramFileError
            The file is no program, is damaged, or was written by another version.
        DeviceMismatchError
            The program is for another accelerator, or the clock is none for it.
        AllocationError
            The device has no memory for it.
        AcceleratorError, DeviceTimeoutError
            Part ``setup`` failed.
        DeviceLostError
            The way to the device is gone.

        A file that is refused leaves the program that was loaded; after any other error there is
        none.
        """
        manifest, image = read_program(program)
        steps.check(manifest.host_steps)
        self.unload()
        with self._alone:
            self._session = Session(self._device, manifest, image, self._settings)
        return self

    def run(self, *inputs: Array) -> Outputs:
        """The network's outputs for its inputs, each [samples, C, H, W].

        An input of one pixel may be given as vectors, [samples, C].

        int8 inputs are codes and give the codes that the accelerator wrote; floating-point ones are
        quantised and give real values: float32, or what the program's host steps make of them
        (int64 indices after an argmax).
        Any number of samples runs in batches of the program's size; while one runs, the host packs
        the next and unpacks the one before.

        Raises
        ------
        TypeError, ValueError
            An input has another type or shape than the program's, or holds NaN.
        AcceleratorError, DeviceTimeoutError
            The run failed; the next one starts from a soft reset.
        DeviceLostError
            The way to the device is gone.
        RuntimeError
            No program is loaded, or a stream is under way.
        """
        session = self._loaded()
        with self._alone:
            self._watch.begin()
            given = check_inputs(session.inputs, inputs)
            if given.samples <= session.batch:
                return self._run_once(session, given)
        (outputs,) = self._flow(session, [inputs])
        return outputs

    def run_batch(self, items: Iterable[Array | Sequence[Array]]) -> list[Outputs]:
        """The results of many inputs: ``stream``, as a list."""
        return list(self.stream(items))

    def stream(self, items: Iterable[Array | Sequence[Array]]) -> Iterator[Outputs]:
        """The results of inputs that come one after another, in their order.

        Each item is what ``run`` takes: an array, or a sequence of them for a network with several
        inputs. An item's result comes when the next one is under way, so that the caller's own work
        on both sides of the stream overlaps with the accelerator's.

        Raises
        ------
        As ``run``.
        """
        several = (item if isinstance(item, (tuple, list)) else (item,) for item in items)
        return self._flow(self._loaded(), several)

    def _run_once(self, session: Session, given: Given) -> Outputs:
        """``_flow`` of one batch, in a straight line: what keeps two batches apart would take as
        long as packing a small network's input."""
        session.pack(0, given.arrays)
        session.start(0)
        self._watch.started()
        self._finish(session)
        outputs = results(session, given, [session.unpack(0, given.real)])
        self._watch.pause()
        return outputs

    def _flow(self, session: Session, items: Iterable[Sequence[Array]]) -> Iterator[Outputs]:
        """While a batch is on the accelerator the next is packed and the one before unpacked."""
        flight: Flight | None = None
        slot = 0
        with self._alone:
            self._watch.begin()
            for inputs in self._paused(items):
                self._require(session)
                item = Item(check_inputs(session.inputs, inputs), session)
                for last, part in item.parts():
                    session.pack(slot, part)
                    if flight:
                        self._finish(session)
                    session.start(slot)
                    self._watch.started()
                    landed, flight = flight, Flight(item, slot, last)
                    slot = (slot + 1) % SLOTS
                    if landed and (result := landed.land()) is not None:
                        self._watch.pause()
                        yield result
                        self._watch.resume()
                        self._require(session)
            result = None
            if flight:
                self._finish(session)
                result = flight.land()
            self._watch.pause()
        if result is not None:
            yield result

    def _paused(self, items: Iterable[Sequence[Array]]) -> Iterator[Sequence[Array]]:
        """The items, whose making is not the driver's time."""
        iterator = iter(items)
        while True:
            self._watch.pause()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._watch.resume()
            yield item

    def _require(self, session: Session) -> None:
        """The caller's code has run meanwhile."""
        if session is not self._session:
            raise RuntimeError("the program was unloaded while a stream was under way")

    def _finish(self, session: Session) -> None:
        session.finish()
        self._watch.ended()
        self._batches += 1
        self._watch.batches += 1

    def measure(self, meter: Meter, *inputs: Array, seconds: float = 1.0) -> Report:
        """The report of a run with its energy measured: that of the whole board, its host included,
        while it runs again and again.

        Parameters
        ----------
        seconds:
            Wall-clock time to run for, at least.
        """
        self.run(*inputs)
        batches = self._batches
        meter.start()
        begin = time.perf_counter()
        try:
            while time.perf_counter() - begin < seconds:
                self.run(*inputs)
        except BaseException:
            with contextlib.suppress(Exception):
                meter.stop()
            raise
        taken = time.perf_counter() - begin  # a meter's log may take seconds to get there
        reading = meter.stop()
        if reading.seconds <= 0:
            raise ValueError("the meter's clock stood still; measure for longer")
        count = self._batches - batches
        joules = reading.joules / reading.seconds * taken
        return self.report().with_measured(joules / count, taken / count)

    def tensor(self, name: str) -> Codes:
        """Codes [B, C, H, W] of an inner tensor after the last run of one batch, from a debug
        build's program.

        Raises
        ------
        KeyError
            The program does not save that tensor.
        """
        return self._loaded().tensor(name)

    @property
    def trace_records(self) -> ByteArray:
        """The last run's trace records as they lie in DRAM; empty without trace."""
        return self._loaded().results()[1]

    def report(self) -> Report:
        """What the last batch took; its counters are read now, and only once.

        Raises
        ------
        RuntimeError
            Nothing has run yet, the last run failed or is under way, or another program has been on
            the device since.
        """
        session = self._loaded()
        counters, records = session.results()
        clock_hz = self._device.clock_hz
        latency_s = counters["CYCLES"] / clock_hz
        overhead_s = self._watch.overhead_s(latency_s)
        run = Run(self._batches, counters, clock_hz, records, overhead_s)
        return make_report(session.manifest, run)

    def unload(self) -> None:
        """Stop a run that was interrupted, and free the program's buffers.

        Raises
        ------
        DeviceTimeoutError
            A run does not stop; its buffers stay, for the device may still write there.
        """
        if self._session is not None:
            self._session.close()
        self._session = None
        self._batches = 0

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

    def _loaded(self) -> Session:
        if self._session is None:
            raise RuntimeError("no program is on the device; call load first")
        return self._session
