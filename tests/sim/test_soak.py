"""Inferences without end on the simulated board: nothing grows, nothing differs."""

import gc
import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bitstreams import write_overlay
from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from host.driver import Accelerator
from sim.benches import network
from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.device import BoardDevice
from sim.board.fabric import fabrics
from sim.device import verilog

TINY = preset("tiny")
BATCH = 2
INPUTS = 32
"""Different ones, each with its result known."""
TURN = 50
"""Inferences between two looks at memory: half of them in a stream, half of them runs."""
GROWTH_BYTES = 64 << 10
"""Of Python's own memory, over all: caches of the interpreter settle within it."""
RESIDENT_KIB = 8 << 10

Codes = npt.NDArray[np.int8]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[BoardDevice]:
    overlay = write_overlay(TINY, "pynq-z2", tmp_path, verilog(TINY))
    # the driver looks at STATUS seldom: simulation is what takes the time
    board = Board(board_model("pynq-z2"), fabrics("rtl", poll_cycles=5000))
    with BoardDevice(board, overlay.simulated_bit) as opened:
        yield opened


def soak(device: BoardDevice, folder: Path, inferences: int) -> None:
    """Run; what has grown or differs is an assertion's failure."""
    compile_graph(network.graph(), TINY).save(folder / "net.prog")
    inputs = [network.inputs(BATCH, seed) for seed in range(INPUTS)]
    expected = [network.expected(x) for x in inputs]
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        with Accelerator(device) as accelerator:
            accelerator.load(folder / "net.prog")
            turn(accelerator, inputs, expected, rng)
            begin = memory(device)
            for _ in range(inferences // TURN - 1):
                turn(accelerator, inputs, expected, rng)
            end = memory(device)
            assert accelerator.report().batches == inferences
        assert end["buffers"] == begin["buffers"]
        assert end["python"] - begin["python"] < GROWTH_BYTES
        assert end["resident"] - begin["resident"] < RESIDENT_KIB
        assert not device.board.memory.allocations
    finally:
        tracemalloc.stop()


def turn(
    accelerator: Accelerator, inputs: list[Codes], expected: list[Codes], rng: np.random.Generator
) -> None:
    """TURN inferences, and one report."""
    chosen = rng.integers(0, INPUTS, TURN)
    stream, single = chosen[: TURN // 2], chosen[TURN // 2 :]
    results = accelerator.stream(inputs[number] for number in stream)
    for number, found in zip(stream, results, strict=True):
        assert np.array_equal(found, expected[number])
    for number in single:
        assert np.array_equal(accelerator.run(inputs[number]), expected[number])
    assert accelerator.report().energy is not None


def memory(device: BoardDevice) -> dict[str, int]:
    gc.collect()
    return {
        "buffers": len(device.board.memory.allocations),
        "python": tracemalloc.get_traced_memory()[0],
        "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def test_a_hundred_inferences(device: BoardDevice, tmp_path: Path) -> None:
    soak(device, tmp_path, 100)


@pytest.mark.slow
def test_ten_thousand_inferences(device: BoardDevice, tmp_path: Path) -> None:
    soak(device, tmp_path, 10_000)
