"""Depth of logic: the longest paths between registers, in levels.

A level is a LUT, a CARRY4, a MUXF7 or MUXF8, the read port of a LUT memory, or a DSP passed without
any register. Paths start and end at flip-flops, shift registers, LUT memories (writing), block
memories, registered DSPs and ports.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from codesign.errors import SynthesisError
from codesign.synth.netlist import Bit, Cell, Netlist
from codesign.synth.resources import DSPS, LOGIC_LUTS

_MUXES = frozenset({"MUXF7", "MUXF8", "MUXF9"})
_LUT_MEMORY = re.compile(r"RAM\d+(M\d*|X1[DS])|SRLC?\d+E")
_READ_ADDRESSES = {
    "DPO": ("DPRA", *(f"DPRA{i}" for i in range(7))),
    **{f"DO{port}": (f"ADDR{port}",) for port in "ABCDEFGH"},
    "Q15": (),
    "Q31": (),
}
"""Output of a LUT memory -> pins of its read address; other outputs use ``A``."""
_SINGLE_ADDRESS = ("A", *(f"A{i}" for i in range(8)))
_DSP_INPUTS = {
    "A": ("AREG", "MREG"),
    "B": ("BREG", "MREG"),
    "C": ("CREG",),
    "D": ("DREG", "ADREG", "MREG"),
    "PCIN": (),
}
"""Data input of a DSP48 -> registers on the way to its adder (UG479, UG579)."""


@dataclass(frozen=True)
class Step:
    """A cell on a path and the net it drives; ``source`` is its line of the design, if known."""

    kind: str
    cell: str
    net: str
    source: str


@dataclass(frozen=True)
class Path:
    """From the net ``start`` through ``steps`` (one level each) to pin ``end``."""

    start: str
    steps: tuple[Step, ...]
    end: str

    @property
    def levels(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        lines = [f"{self.levels} levels: {self.start}  ->  {self.end}"]
        lines += [f"    {s.kind:8} {s.net}   {s.source}".rstrip() for s in self.steps]
        return "\n".join(lines)


def worst_paths(netlist: Netlist, count: int = 1) -> list[Path]:
    """The deepest paths, worst first, one for each register: bits of one word count as one.

    Raises
    ------
    SynthesisError
        The logic has a combinational loop.
    """
    arcs = _arcs(netlist)
    levels, via = _levels(netlist, arcs)
    worst: dict[str, tuple[int, Bit, str]] = {}
    for end, bit in _ends(netlist, arcs):
        word = re.sub(r"\[\d+\]", "", end)
        if word not in worst or levels.get(bit, 0) > worst[word][0]:
            worst[word] = (levels.get(bit, 0), bit, end)
    ranked = sorted(worst.values(), key=lambda item: (-item[0], item[2]))[:count]
    return [_trace(netlist, arcs, via, bit, end) for _, bit, end in ranked]


Arcs = Mapping[Bit, tuple[Cell, tuple[Bit, ...]]]
"""Output bit of combinational logic -> its cell and the input bits that it depends on."""


def _arcs(netlist: Netlist) -> Arcs:
    arcs: dict[Bit, tuple[Cell, tuple[Bit, ...]]] = {}
    for cell in netlist.cells:
        for bit, sources in _cell_arcs(cell):
            arcs[bit] = (cell, sources)
    return arcs


def _cell_arcs(cell: Cell) -> Iterator[tuple[Bit, tuple[Bit, ...]]]:
    if cell.kind in LOGIC_LUTS or cell.kind in _MUXES:
        sources = tuple(bit for _, bit in cell.input_bits())
        yield from ((bit, sources) for bit in cell.output_bits())
    elif cell.kind == "CARRY4":
        yield from _carry_arcs(cell)
    elif _LUT_MEMORY.fullmatch(cell.kind):
        for pin in cell.outputs:
            addresses = tuple(cell.bits(_READ_ADDRESSES.get(pin, _SINGLE_ADDRESS)))
            if addresses or not cell.kind.startswith("SRL"):
                yield from ((bit, addresses) for bit in cell.bits((pin,)))
    elif cell.kind in DSPS and not cell.number("PREG"):
        open_pins = tuple(p for p, regs in _DSP_INPUTS.items() if not any(map(cell.number, regs)))
        sources = tuple(cell.bits(open_pins))
        if sources:
            yield from ((bit, sources) for bit in cell.output_bits())


def _carry_arcs(cell: Cell) -> Iterator[tuple[Bit, tuple[Bit, ...]]]:
    """Sum i depends on select 0..i and data 0..i-1; carry i on both 0..i."""
    start = tuple(cell.bits(("CI", "CYINIT")))
    select, data = cell.pins.get("S", ()), cell.pins.get("DI", ())
    for pin, beyond in (("O", 0), ("CO", 1)):
        for i, bit in enumerate(cell.pins.get(pin, ())):
            if isinstance(bit, int):
                passed = (*select[: i + 1], *data[: i + beyond])
                yield bit, (*start, *(source for source in passed if isinstance(source, int)))


def _levels(netlist: Netlist, arcs: Arcs) -> tuple[dict[Bit, int], dict[Bit, Bit]]:
    """Depth of every combinational bit, and the input through which it is that deep."""
    levels: dict[Bit, int] = {}
    via: dict[Bit, Bit] = {}
    open_bits: set[Bit] = set()
    for root in arcs:
        stack = [root]
        while stack:
            bit = stack[-1]
            if bit in levels:
                stack.pop()
                continue
            sources = arcs[bit][1]
            pending = [s for s in sources if s in arcs and s not in levels]
            if not pending:
                if sources:
                    via[bit] = max(sources, key=lambda source: levels.get(source, 0))
                levels[bit] = 1 + (levels.get(via[bit], 0) if sources else 0)
                open_bits.discard(bit)
                stack.pop()
                continue
            open_bits.add(bit)
            if loop := open_bits.intersection(pending):
                raise SynthesisError(
                    f"combinational loop through net {netlist.names[loop.pop()]!r}"
                )
            stack.extend(pending)
    return levels, via


def _ends(netlist: Netlist, arcs: Arcs) -> Iterator[tuple[str, Bit]]:
    """Where paths end: a description (register or port and its pin) and the net there."""
    for bit, name in netlist.outputs.items():
        yield f"port {name}", bit
    for cell in netlist.cells:
        combinational = {s for b in cell.output_bits() if b in arcs for s in arcs[b][1]}
        ends = [(pin, bit) for pin, bit in cell.input_bits() if bit not in combinational]
        if ends and (cell.kind in DSPS or cell.kind not in LOGIC_LUTS.keys() | _MUXES | {"CARRY4"}):
            out = next(cell.output_bits(), None)
            name = netlist.names[out] if out is not None else cell.name
            yield from ((f"{cell.kind} {name}.{pin}", bit) for pin, bit in ends)


def _trace(netlist: Netlist, arcs: Arcs, via: Mapping[Bit, Bit], bit: Bit, end: str) -> Path:
    steps = []
    here: Bit | None = bit
    start = bit
    while here is not None and here in arcs:
        cell = arcs[here][0]
        steps.append(Step(cell.kind, cell.name, netlist.names[here], cell.source))
        here = via.get(here)
        start = start if here is None else here
    return Path(netlist.names[start], tuple(reversed(steps)), end)
