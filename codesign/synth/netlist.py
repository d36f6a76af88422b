"""A flat netlist of xc7 primitives, as Yosys writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codesign.errors import SynthesisError

Bit = int
"""A net of one bit; constants (strings in Yosys' JSON) are left out."""
_SCOPE = "$scopeinfo"
"""Cells by which Yosys remembers the modules that it flattened: no hardware."""


@dataclass(frozen=True)
class Cell:
    """An instance of a primitive: ``pins`` name -> bits or constants, lowest first."""

    name: str
    kind: str
    pins: Mapping[str, tuple[Bit | str, ...]]
    outputs: frozenset[str]
    parameters: Mapping[str, str]
    source: str

    def number(self, parameter: str) -> int:
        """A parameter's value; 0 where it is not set."""
        return int(self.parameters.get(parameter, "0"), 2)

    def output_bits(self) -> Iterator[Bit]:
        yield from self.bits(self.outputs)

    def bits(self, pins: frozenset[str] | tuple[str, ...]) -> Iterator[Bit]:
        """The nets at these pins; unconnected and constant bits are left out."""
        for pin in pins:
            yield from (bit for bit in self.pins.get(pin, ()) if isinstance(bit, int))

    def input_bits(self) -> Iterator[tuple[str, Bit]]:
        for pin, bits in self.pins.items():
            if pin not in self.outputs:
                yield from ((pin, bit) for bit in bits if isinstance(bit, int))


@dataclass(frozen=True, eq=False)
class Netlist:
    """One flat module; ``inputs`` and ``outputs`` are the bits of its ports."""

    top: str
    cells: tuple[Cell, ...]
    inputs: Mapping[Bit, str]
    outputs: Mapping[Bit, str]
    netnames: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: Mapping[str, Any], top: str) -> Netlist:
        """From what ``write_json`` of Yosys wrote."""
        try:
            module = data["modules"][top]
        except KeyError:
            raise SynthesisError(
                f"the netlist has no module {top!r}; it has {list(data['modules'])}"
            ) from None
        ports: dict[str, dict[Bit, str]] = {"input": {}, "output": {}, "inout": {}}
        for name, port in module["ports"].items():
            for i, bit in enumerate(port["bits"]):
                if isinstance(bit, int):
                    ports[port["direction"]][bit] = f"{name}[{i}]"
        cells = tuple(
            _cell(name, cell) for name, cell in module["cells"].items() if cell["type"] != _SCOPE
        )
        return cls(top, cells, ports["input"], ports["output"], module["netnames"])

    @cached_property
    def names(self) -> Mapping[Bit, str]:
        """Each net's most telling name: one that a person gave, the shortest of these."""
        best: dict[Bit, tuple[int, int, str]] = {}
        for name, net in self.netnames.items():
            wide = len(net["bits"]) > 1
            for i, bit in enumerate(net["bits"]):
                if isinstance(bit, int):
                    full = f"{name}[{i}]" if wide else name
                    rank = (int(net["hide_name"] or name.startswith("$")), len(full), full)
                    if bit not in best or rank < best[bit]:
                        best[bit] = rank
        return {bit: rank[2] for bit, rank in best.items()}

    def count(self, kind: str, inside: str) -> int:
        """Cells of a kind within submodules of that name, at any depth.

        Flattening keeps the hierarchy in the names of cells that are inferred whole (DSPs, block
        memories); LUTs and flip-flops lose it.
        """
        return sum(cell.kind == kind and inside in cell.name.split(".") for cell in self.cells)


def _cell(name: str, cell: Mapping[str, Any]) -> Cell:
    directions = cell["port_directions"]
    return Cell(
        name=name.removeprefix("$flatten").replace("\\", ""),
        kind=cell["type"],
        pins={pin: tuple(bits) for pin, bits in cell["connections"].items()},
        outputs=frozenset(pin for pin in cell["connections"] if directions[pin] == "output"),
        parameters={k: v for k, v in cell["parameters"].items() if isinstance(v, str)},
        source=_design_lines(cell["attributes"].get("src", "")),
    )


def _design_lines(source: str) -> str:
    """The lines of the design; those of Yosys' own libraries say nothing about it."""
    return " ".join(line for line in source.split("|") if not line.startswith("/share/"))
