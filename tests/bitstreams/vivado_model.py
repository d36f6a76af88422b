"""A model of the Vivado commands that the overlays' scripts use, behind a real Tcl interpreter.

It knows the pins, interfaces and address segments of the cells, so that a script that names one
which does not exist, connects an input twice or leaves one open, or maps a range that is no power
of two, stops with an error. It checks no value of a property and builds nothing: a run puts a small
bitstream where Vivado would.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import tkinter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bitstreams import bit


@dataclass(frozen=True)
class Kind:
    """Ports of a cell. Interfaces: name -> whether it is a master; ``segments``: what it offers."""

    inputs: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    interfaces: dict[str, bool] = field(default_factory=dict)
    segments: tuple[str, ...] = ()
    spaces: tuple[str, ...] = ()


_SMART = {"S00_AXI": False, "M00_AXI": True}
KINDS = {
    "processing_system7": Kind(
        frozenset({"M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK", "IRQ_F2P"}),
        frozenset({"FCLK_CLK0", "FCLK_RESET0_N"}),
        {"M_AXI_GP0": True, "S_AXI_HP0": False},
        ("S_AXI_HP0/HP0_DDR_LOWOCM",),
        ("Data",),
    ),
    "zynq_ultra_ps_e": Kind(
        frozenset({"maxihpm0_fpd_aclk", "saxihp0_fpd_aclk", "pl_ps_irq0"}),
        frozenset({"pl_clk0", "pl_resetn0"}),
        {"M_AXI_HPM0_FPD": True, "S_AXI_HP0_FPD": False},
        ("SAXIGP2/HP0_DDR_LOW", "SAXIGP2/HP0_QSPI"),
        ("Data",),
    ),
    "codesign_top": Kind(
        frozenset({"aclk", "aresetn"}),
        frozenset({"interrupt"}),
        {"s_axi": False, "m_axi": True},
        ("s_axi/reg0",),
        ("m_axi",),
    ),
    "proc_sys_reset": Kind(
        frozenset({"slowest_sync_clk", "ext_reset_in"}), frozenset({"peripheral_aresetn"})
    ),
    "axi_intc": Kind(
        frozenset({"s_axi_aclk", "s_axi_aresetn", "intr"}),
        frozenset({"irq"}),
        {"s_axi": False},
        ("S_AXI/Reg",),
    ),
    "smartconnect": Kind(frozenset({"aclk", "aresetn"}), frozenset(), _SMART),
}
"""Ports of the cells as Vivado names them (PG082, PG201, PG164, PG099, PG247)."""
_HIGH = "SAXIGP2/HP0_DDR_HIGH"
_LARGE = ("*:kv260_som:*", "*:aup-zu3-8gb:*")
"""Board files whose preset has more than 2 GiB of DRAM: with one of them there is ``_HIGH``."""
_CLOCKS = {
    "CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ": "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ",
    "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ": "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
}
"""Property of the clock that is made -> property of the one that was asked for."""


class VivadoError(Exception):
    """What a script does wrong."""


class Vivado:
    """Runs scripts; what they did is in the attributes.

    Parameters
    ----------
    folder:
        Where runs put what they make.
    board_files:
        Names that ``get_board_parts`` knows.
    slack_ns, hold_ns, progress:
        How the implementation ends; slacks as Vivado's properties hold them.
    made_mhz:
        The clock that the processing system makes, if not what was asked for.
    without:
        A segment of the processing system that is not there.
    """

    def __init__(
        self,
        folder: Path,
        board_files: Sequence[str] = (),
        slack_ns: float | str = 0.1,
        progress: str = "100%",
        hold_ns: float | str = 0.02,
        made_mhz: float | None = None,
        without: str = "",
    ) -> None:
        self.folder, self.board_files = folder, tuple(board_files)
        self.slack_ns, self.progress = slack_ns, progress
        self.hold_ns, self.made_mhz, self.without = hold_ns, made_mhz, without
        self.tcl = tkinter.Tcl()
        self.calls: list[tuple[str, ...]] = []
        self.cells: dict[str, Kind] = {}
        self.properties: dict[str, dict[str, str]] = {}
        self.nets: dict[str, str] = {}
        self.interfaces: dict[str, str] = {}
        self.addresses: dict[tuple[str, str], tuple[int, str] | None] = {}
        """(space, segment) -> offset and range; None: the segment whole, where it lies."""
        self.sources: list[Path] = []
        self.constraints: list[Path] = []
        self.part = ""
        self.error: Exception | None = None
        for name in _COMMANDS:
            self.tcl.createcommand(name, self._command(name))

    def _command(self, name: str) -> Callable[..., str]:
        def run(*words: object) -> str:
            arguments = tuple(map(str, words))
            self.calls.append((name, *arguments))
            try:
                return _COMMANDS[name](self, arguments)
            except Exception as error:
                self.error = error
                raise

        return run

    def source(self, script: Path) -> None:
        """Run a script.

        Raises
        ------
        VivadoError
            It does what Vivado would refuse, or stops with an error of its own.
        """
        try:
            self.tcl.eval(f"source {{{script}}}")
        except tkinter.TclError as error:
            raise VivadoError(str(self.error or error)) from error

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            raise VivadoError(message)

    def find(self, path: str, ports: Callable[[Kind], Sequence[str]]) -> str:
        """``path`` is CELL/PORT, and exists."""
        cell, _, port = path.partition("/")
        self.require(cell in self.cells, f"there is no cell {cell!r}")
        self.require(port in ports(self.cells[cell]), f"cell {cell!r} has no {port!r}")
        return path

    def option(self, words: tuple[str, ...], name: str) -> str:
        self.require(name in words, f"option {name} is missing in {words}")
        return words[words.index(name) + 1]


def _create_project(vivado: Vivado, words: tuple[str, ...]) -> str:
    vivado.part = vivado.option(words, "-part")
    return ""


def _board_parts(vivado: Vivado, words: tuple[str, ...]) -> str:
    return " ".join(name for name in vivado.board_files if fnmatch.fnmatch(name, words[-1]))


def _add_files(vivado: Vivado, words: tuple[str, ...]) -> str:
    path = Path(words[-1])
    vivado.require(path.is_file(), f"there is no file {path}")
    (vivado.constraints if "-fileset" in words else vivado.sources).append(path)
    return ""


def _create_cell(vivado: Vivado, words: tuple[str, ...]) -> str:
    if vivado.option(words, "-type") == "module":
        kind = vivado.option(words, "-reference")
        text = "".join(path.read_text() for path in vivado.sources if path.suffix == ".v")
        vivado.require(f"module {kind}" in text, f"no source has module {kind!r}")
    else:
        kind = vivado.option(words, "-vlnv").split(":")[2]
    vivado.require(words[-1] not in vivado.cells, f"cell {words[-1]!r} is there already")
    vivado.require(kind in KINDS, f"no IP {kind!r}")
    made = KINDS[kind]
    segments = tuple(name for name in made.segments if name != vivado.without)
    vivado.cells[words[-1]] = dataclasses.replace(made, segments=segments)
    return words[-1]


def _cells(vivado: Vivado, words: tuple[str, ...]) -> str:
    vivado.require(words[-1] in vivado.cells, f"there is no cell {words[-1]!r}")
    return words[-1]


def _automate(vivado: Vivado, words: tuple[str, ...]) -> str:
    values = vivado.tcl.splitlist(vivado.option(words, "-config"))
    settings = dict(zip(values[::2], values[1::2], strict=True))
    part = vivado.properties.get("project", {}).get("board_part", "")
    preset = settings["apply_board_preset"] == "1"
    if preset and any(fnmatch.fnmatch(part, pattern) for pattern in _LARGE):
        kind = vivado.cells[words[-1]]
        vivado.cells[words[-1]] = dataclasses.replace(kind, segments=(*kind.segments, _HIGH))
    return ""


def _set_property(vivado: Vivado, words: tuple[str, ...]) -> str:
    if words[0] == "-dict":
        values = vivado.tcl.splitlist(words[1])
        vivado.require(len(values) % 2 == 0, f"{values} are no pairs")
        pairs = dict(zip(values[::2], values[1::2], strict=True))
    else:
        pairs = {words[0]: words[1]}
    vivado.properties.setdefault(words[-1], {}).update(pairs)
    many = pairs.get("CONFIG.NUM_MI")
    if many:
        ports = {"S00_AXI": False, **{f"M{i:02}_AXI": True for i in range(int(many))}}
        kind = vivado.cells[words[-1]]
        vivado.cells[words[-1]] = Kind(kind.inputs, kind.outputs, ports)
    return ""


def _get_property(vivado: Vivado, words: tuple[str, ...]) -> str:
    if words[0] in _CLOCKS:
        asked = vivado.properties[words[1]][_CLOCKS[words[0]]]
        return asked if vivado.made_mhz is None else str(vivado.made_mhz)
    answers = {
        "PROGRESS": vivado.progress,
        "STATUS": "place_design ERROR",
        "STATS.WNS": str(vivado.slack_ns),
        "STATS.WHS": str(vivado.hold_ns),
        "DIRECTORY": str(vivado.folder),
    }
    return answers[words[0]]


def _pins(vivado: Vivado, words: tuple[str, ...]) -> str:
    return vivado.find(words[-1], lambda kind: [*kind.inputs, *kind.outputs])


def _interface_pins(vivado: Vivado, words: tuple[str, ...]) -> str:
    return vivado.find(words[-1], lambda kind: list(kind.interfaces))


def _connect_net(vivado: Vivado, words: tuple[str, ...]) -> str:
    source, *sinks = words
    cell, pin = source.split("/")
    vivado.require(pin in vivado.cells[cell].outputs, f"{source} drives nothing")
    for sink in sinks:
        cell, pin = sink.split("/")
        vivado.require(pin in vivado.cells[cell].inputs, f"{sink} is no input")
        vivado.require(sink not in vivado.nets, f"{sink} has two drivers")
        vivado.nets[sink] = source
    return ""


def _connect_interface(vivado: Vivado, words: tuple[str, ...]) -> str:
    for path, master in zip(words, (True, False), strict=True):
        cell, port = path.split("/")
        vivado.require(
            vivado.cells[cell].interfaces[port] is master, f"{path}: master={not master}"
        )
        vivado.require(path not in vivado.interfaces, f"{path} is connected twice")
    a, b = words
    vivado.interfaces |= {a: b, b: a}
    return ""


def _segments(vivado: Vivado, words: tuple[str, ...]) -> str:
    try:
        return vivado.find(words[-1], lambda kind: kind.segments)
    except VivadoError:
        if "-quiet" in words:
            return ""
        raise


def _spaces(vivado: Vivado, words: tuple[str, ...]) -> str:
    return vivado.find(words[-1], lambda kind: kind.spaces)


def _assign(vivado: Vivado, words: tuple[str, ...]) -> str:
    space = vivado.option(words, "-target_address_space")
    segment = next(word for word in words if word.count("/") == 2)
    if "-offset" not in words and "-range" not in words:
        vivado.addresses[space, segment] = None
        return ""
    offset, size = int(vivado.option(words, "-offset"), 0), vivado.option(words, "-range")
    length = int(size[:-1]) << 10 if size.endswith("K") else int(size, 0)
    vivado.require(length.bit_count() == 1, f"range {size} is no power of two")
    vivado.require(offset % length == 0, f"offset {offset:#x} is no multiple of {size}")
    vivado.addresses[space, segment] = offset, size
    return ""


def _validate(vivado: Vivado, words: tuple[str, ...]) -> str:
    for name, kind in vivado.cells.items():
        for pin in kind.inputs:
            vivado.require(f"{name}/{pin}" in vivado.nets, f"{name}/{pin} is open")
        for port in kind.interfaces:
            vivado.require(f"{name}/{port}" in vivado.interfaces, f"{name}/{port} is open")
        for space in kind.spaces:
            mapped = [s for where, s in vivado.addresses if where == f"{name}/{space}"]
            vivado.require(bool(mapped), f"{name}/{space} sees no address")
    return ""


def _make_wrapper(vivado: Vivado, words: tuple[str, ...]) -> str:
    _called(vivado, "save_bd_design")
    path = vivado.folder / "system_wrapper.v"
    path.write_text("module system_wrapper; endmodule\n")
    return str(path)


def _called(vivado: Vivado, name: str) -> None:
    vivado.require(any(call[0] == name for call in vivado.calls), f"{name} comes first")


def _launch(vivado: Vivado, words: tuple[str, ...]) -> str:
    _called(vivado, "make_wrapper")
    vivado.require(vivado.option(words, "-to_step") == "write_bitstream", "no bitstream")
    for path in vivado.constraints:
        vivado.tcl.eval(path.read_text())
    value = vivado.properties["design"]["BITSTREAM.CONFIG.USR_ACCESS"]
    words = (0xFFFFFFFF, bit.SYNC, 0x3001A001, int(value, 16), 0x30008001, 0x0000000D)
    body = b"".join(word.to_bytes(4, "big") for word in words)
    file = bit.BitFile("system_wrapper;UserID=0XFFFFFFFF", vivado.part, *bit.EPOCH, body)
    (vivado.folder / "system_wrapper.bit").write_bytes(file.encode())
    return ""


def _name(vivado: Vivado, words: tuple[str, ...]) -> str:
    return words[-1]


def _nothing(vivado: Vivado, words: tuple[str, ...]) -> str:
    return ""


_COMMANDS: dict[str, Callable[[Vivado, tuple[str, ...]], str]] = {
    "create_project": _create_project,
    "current_project": lambda vivado, words: "project",
    "current_fileset": lambda vivado, words: "sources_1",
    "current_design": lambda vivado, words: "design",
    "get_board_parts": _board_parts,
    "add_files": _add_files,
    "update_compile_order": _nothing,
    "create_bd_design": _nothing,
    "create_bd_cell": _create_cell,
    "get_bd_cells": _cells,
    "apply_bd_automation": _automate,
    "set_property": _set_property,
    "get_property": _get_property,
    "get_bd_pins": _pins,
    "get_bd_intf_pins": _interface_pins,
    "connect_bd_net": _connect_net,
    "connect_bd_intf_net": _connect_interface,
    "get_bd_addr_segs": _segments,
    "get_bd_addr_spaces": _spaces,
    "assign_bd_address": _assign,
    "validate_bd_design": _validate,
    "save_bd_design": lambda vivado, words: _called(vivado, "validate_bd_design") or "",
    "get_files": _name,
    "make_wrapper": _make_wrapper,
    "get_runs": _name,
    "launch_runs": _launch,
    "wait_on_run": _nothing,
    "open_run": _nothing,
    "report_utilization": _nothing,
    "report_timing_summary": _nothing,
}
"""Any other command of a script is unknown to the interpreter, an error."""
