"""What the host's driver adds to the accelerator's own time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitstreams import write_overlay
from codesign.arch import Arch
from codesign.cli.bench.network import MODELS
from codesign.cli.bench.row import Row
from codesign.cli.bench.workload import SEED, Workload, saved, workload
from codesign.cli.console import console
from codesign.cli.model import load_quantized
from codesign.cli.session import graph_outputs
from codesign.compiler import compile as compile_graph
from codesign.errors import CodesignError
from codesign.quant.values import Coding
from codesign.registers import OFFSETS
from codesign.zoo.resnet8 import resnet8
from host.device import Buffer, Device, Overlay
from host.driver import Accelerator
from host.flow import Outputs
from host.inputs import Array
from sim.board.board import Board
from sim.board.boards import SIMULATED, board_model
from sim.board.device import BoardDevice
from sim.board.fabric import fabrics
from sim.device import verilog

NETWORK = "ic_resnet8"
REPEATS = 2000
SIMULATIONS = 45
"""Inferences that are simulated, to measure the driver beside the simulation."""
STREAM = 5
"""Inferences of each of the streams that are simulated."""
MICRO = 1e6
_OUTPUT, _WORD = OFFSETS["OUTPUT_BASE_LOW"], 0xFFFFFFFF


class Answered:
    """A board whose accelerator takes no time: it gives the answers of a run that another device
    has computed.

    Between two inferences nothing but the driver runs, so that the processor's caches are as on a
    board, where the accelerator computes by itself. Buffers are the other device's, with what its
    accelerator wrote; they hold its results from the start of a run on.
    """

    name = "a board that has computed"

    def __init__(self, device: Device) -> None:
        self._device = device
        self._answers: dict[int, int] = {}
        self._buffers: list[Buffer] = []
        self._outputs: set[int] = set()
        self._results: dict[int, tuple[Buffer, npt.NDArray[np.uint8]]] = {}

    @property
    def clock_hz(self) -> float:
        return self._device.clock_hz

    @property
    def overlay(self) -> Overlay | None:
        return self._device.overlay

    @property
    def simulation_s(self) -> float | None:
        return self._device.simulation_s

    def answer(self) -> None:
        """From now on nothing is computed any more."""
        self._answers = {at: self._device.read_register(at) for at in OFFSETS.values()}
        self._results = {
            buffer.address & _WORD: (buffer, buffer.array.copy())
            for buffer in self._buffers
            if buffer.address & _WORD in self._outputs
        }

    def clear(self) -> None:
        """Zeros for results: a run that is not started, or not read, is a wrong one."""
        for buffer, _ in self._results.values():
            buffer.array[:] = 0
            buffer.flush()

    def seconds(self) -> float:
        return self._device.seconds()

    def allocate(self, nbytes: int) -> Buffer:
        self._buffers.append(self._device.allocate(nbytes))
        return self._buffers[-1]

    def read_register(self, offset: int) -> int:
        if self._answers:
            return self._answers[offset]
        return self._device.read_register(offset)

    def write_register(self, offset: int, value: int) -> None:
        if self._answers:
            self._answers[offset] = value
            if offset == OFFSETS["CONTROL"]:
                buffer, result = self._results[self._answers[_OUTPUT]]
                buffer.array[:] = result
                buffer.flush()
            return
        if offset == _OUTPUT:
            self._outputs.add(value)
        self._device.write_register(offset, value)

    def wait(self) -> None:
        if not self._answers:
            self._device.wait()

    def close(self) -> None:
        self._device.close()

    def __enter__(self) -> Answered:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def measure(arch: Arch) -> list[Row]:
    """The reference network where it is there, else ResNet-8 of the zoo, which is as large.

    ``overhead_us`` (median) and ``overhead_least_us``: single runs on the simulated board, the time
    of the simulation left out; it empties the processor's caches before every step of the driver.
    Codes go in and out, as the network's file has them; ``overhead_real_us`` is the same with real
    values, which the host quantises. All others take real values. ``stream_overhead_least_us``:
    that of streams of a few, the least of them, for a turn of another process would count in full.
    ``host_us``, ``host_stream_us`` (medians): the host's time for each inference, alone and in a
    stream, where the accelerator's answers are replayed at once, so that the caches are warm.
    """
    folder = MODELS / NETWORK
    if folder.is_dir():
        graph = load_quantized(str(folder / "model.tflite")).graph
        program = compile_graph(graph, arch, seed=SEED)
        shape = (graph.batch, *program.inputs[0].shape)
        codes = np.random.default_rng(SEED).integers(-128, 128, shape, np.int8)
        with saved(program, codes) as work, simulated_board(arch) as device:
            return rows(work, device)
    console.print(f"{NETWORK} is not in {str(MODELS)!r}: ResNet-8 of the zoo stands in for it")
    with workload(resnet8, arch) as work, simulated_board(arch) as device:
        return rows(work, device)


@contextmanager
def simulated_board(arch: Arch) -> Iterator[Device]:
    """The architecture's board with the generated hardware, in this process.

    Raises
    ------
    ValueError
        There is no simulation of that board.
    """
    if arch.board not in SIMULATED:
        raise ValueError(
            f"board {arch.board!r} of {arch.name!r} is not simulated; take an architecture for "
            f"{', '.join(SIMULATED)}"
        )
    board = Board(board_model(arch.board), fabrics("rtl"))
    with tempfile.TemporaryDirectory() as folder:
        overlay = write_overlay(arch, arch.board, Path(folder), verilog(arch))
        with BoardDevice(board, overlay.simulated_bit) as device:
            yield device


def rows(work: Workload, device: Device) -> list[Row]:
    """The figures on a device that computes in simulation."""
    (layout,), (result,) = work.program.inputs, work.program.outputs
    x = Coding(layout.scale, layout.zero_point).decode(work.codes)
    (codes,) = graph_outputs(work.program.graph, work.codes)
    expected = Coding(result.scale, result.zero_point).decode(codes)
    board = Answered(device)
    with Accelerator(board) as accelerator:
        accelerator.load(work.path)
        simulated: dict[str, list[float]] = {"codes": [], "real": []}
        for _ in range(SIMULATIONS):
            for kind, given, wanted in (("codes", work.codes, codes), ("real", x, expected)):
                _timed(accelerator, given, wanted)
                simulated[kind].append(accelerator.report().overhead_us)
        # both sets of buffers hold results before nothing is computed any more
        streamed = []
        for _ in range(SIMULATIONS // STREAM):
            for found in accelerator.run_batch([x] * STREAM):
                _check(found, expected)
            streamed.append(accelerator.report().overhead_us)
        board.answer()
        single = []
        for _ in range(REPEATS):
            board.clear()
            single.append(_timed(accelerator, x, expected))
        board.clear()
        times = []
        for found in accelerator.stream([x] * REPEATS):
            times.append(time.perf_counter())
            _check(found, expected)
        begin = time.perf_counter()
        report = accelerator.report()
        report_s = time.perf_counter() - begin
    return [
        Row("driver.overhead_us", float(np.median(simulated["codes"])), "us"),
        Row("driver.overhead_least_us", min(simulated["codes"]), "us"),
        Row("driver.overhead_real_us", float(np.median(simulated["real"])), "us"),
        Row("driver.stream_overhead_least_us", min(streamed), "us"),
        Row("driver.host_us", float(np.median(single)) * MICRO, "us"),
        Row("driver.host_stream_us", float(np.median(np.diff(times))) * MICRO, "us"),
        Row("driver.report_us", report_s * MICRO, "us"),
        Row("driver.accelerator_us", report.latency_ms * 1e3, "us"),
    ]


def _timed(accelerator: Accelerator, x: Array, expected: Array) -> float:
    """Seconds of a run, whose result must be right."""
    begin = time.perf_counter()
    found = accelerator.run(x)
    seconds = time.perf_counter() - begin
    _check(found, expected)
    return seconds


def _check(found: Outputs, expected: Array) -> None:
    if isinstance(found, tuple) or not np.array_equal(found, expected):
        raise CodesignError(
            "the driver gives wrong results in RTL: `codesign check` tells where they part"
        )
