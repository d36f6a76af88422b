"""An overlay with nothing but LEDs behind an AXI GPIO: what the self-test of PYNQ's client takes.

Registers as of the IP axi_gpio (PG144): data at 0, direction at 4.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bitstreams import bit
from bitstreams.design import Design
from bitstreams.hwh import hwh
from codesign import boards
from codesign.arch import preset
from codesign.report import files
from sim.board.memory import Bytes

_DESIGN_ID = int.from_bytes(b"leds", "big")
_CELL = "axi_gpio_leds"
_DATA, _DIRECTION = 0x0, 0x4


class LedFabric:
    """Four outputs; it has no master on DRAM."""

    space = 0x10

    def __init__(self) -> None:
        self._values = {_DATA: 0, _DIRECTION: 0}
        self.busy_cycles = 0

    def read(self, offset: int) -> int:
        return self._values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset in self._values:
            self._values[offset] = value & 0xF

    def map(self, address: int, dram: Bytes) -> None:
        """Nothing to do."""

    def unmap(self, address: int) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held."""


def write_leds(board_name: str, folder: Path) -> Path:
    """Write the overlay for a simulated board; the path of its .bit file, the .hwh lies beside it.

    Raises
    ------
    ValueError
        There is no such board.
    """
    board = boards.board(board_name)
    # an accelerator's handoff file already has all that is the board's own
    design = Design(preset("tiny"), board, "", controller=False)
    description = {
        "board": board.name, "leds": True, "registers": design.base, "design_id": _DESIGN_ID,
    }  # fmt: skip
    body = bit.simulation_body(_DESIGN_ID, description)
    part = board.device.replace("-", "", 1)
    name = f"leds_{board.name}"
    path = folder / f"{name}.bit"
    files.write_bytes(path, bit.BitFile(name, part, *bit.EPOCH, body).encode())
    files.write_text(path.with_suffix(".hwh"), _handoff(design))
    return path


def _handoff(design: Design) -> str:
    """The handoff file with the AXI GPIO in the accelerator's place."""
    root = ElementTree.fromstring(hwh(design))
    for module in root.iter("MODULE"):
        if module.get("INSTANCE") == design.cell:
            module.attrib |= {
                "MODTYPE": "axi_gpio", "VLNV": "xilinx.com:ip:axi_gpio:2.0", "HWVERSION": "2.0",
            }  # fmt: skip
            for child in module.findall("ADDRESSBLOCKS"):
                module.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in ("INSTANCE", "FULLNAME"):
                element.set(key, value.replace(design.cell, _CELL))
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
