"""What a board's software sees before an overlay is loaded, beside ``codesign.boards``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign import boards
from codesign.boards import MIB, Board
from sim.board.soc import ZYNQ, ZYNQ_ULTRASCALE, Soc


@dataclass(frozen=True)
class Rail:
    """A supply that the board measures, and what the simulated sensor says, in watts.

    No physical board stands behind the numbers: they are there to test who reads them.
    """

    chip: str
    label: str
    volts: float
    idle_w: float
    running_w: float


@dataclass(frozen=True)
class BoardModel:
    """A board after boot.

    Parameters
    ----------
    title:
        The board's name in the device tree of its PYNQ image.
    pool:
        Address and bytes of the memory for contiguous buffers (Linux' CMA).
    """

    board: Board
    title: str
    soc: Soc
    pool: tuple[int, int]
    rails: tuple[Rail, ...]

    @property
    def name(self) -> str:
        return self.board.name


_TITLES = {
    "pynq-z1": "Pynq-Z1",
    "pynq-z2": "Pynq-Z2",
    "ultra96v2": "Ultra96",
    "aup-zu3": "AUP-ZU3",
    "zcu104": "ZCU104",
}
"""The boards whose PYNQ speaks the remote protocol (from 3.1 on)."""
_SOCS = {
    "processing_system7": (ZYNQ, (0x1000_0000, 128 * MIB)),
    "zynq_ultra_ps_e": (ZYNQ_ULTRASCALE, (0x4000_0000, 512 * MIB)),
}
_RAILS: Mapping[str, tuple[Rail, ...]] = {
    "zcu104": (
        Rail("ina226", "12V", 12.0, 11.4, 13.2),
        Rail("irps5401", "VCCINT", 0.85, 0.9, 2.1),
    ),
}
SIMULATED = tuple(_TITLES)
"""Names of the boards that can be simulated."""


def board_model(name: str) -> BoardModel:
    """The board of that name; ``ValueError`` lists those that can be simulated."""
    if name not in _TITLES:
        raise ValueError(f"no simulated board is called {name!r}; there are {', '.join(SIMULATED)}")
    board = boards.board(name)
    soc, pool = _SOCS[board.processor.ip]
    return BoardModel(board, _TITLES[name], soc, pool, _RAILS.get(name, ()))
