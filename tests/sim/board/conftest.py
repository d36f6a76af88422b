"""Overlays and a program for simulated boards, the smallest of all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bitstreams import write_overlay
from codesign.arch import preset
from codesign.compiler import compile as compile_graph
from sim.benches import network
from sim.board.board import Board
from sim.board.boards import board_model
from sim.board.fabric import fabrics
from sim.device import verilog

TINY = preset("tiny")


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Board -> .bit file for the simulated one."""
    folder = tmp_path_factory.mktemp("overlays")
    return {
        board: write_overlay(TINY, board, folder, verilog(TINY)).simulated_bit
        for board in ("pynq-z2", "zcu104")
    }


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network of ``sim.benches.network``."""
    path = tmp_path_factory.mktemp("program") / "small.prog"
    compile_graph(network.graph(), TINY).save(path)
    return path


@pytest.fixture
def board() -> Iterator[Board]:
    """A PYNQ-Z2 with the machine reference for a fabric."""
    made = Board(board_model("pynq-z2"), fabrics("reference"))
    yield made
    made.close()
