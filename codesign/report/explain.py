"""What a program does, layer by layer, beside what no schedule can go below.

Nothing is measured: cycles are those of the machine reference, bytes those of the instructions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codesign import ir
from codesign.artifact import Program
from codesign.cost import bounds
from codesign.isa import Instruction, Opcode
from codesign.reference.predict import predicted_run
from codesign.report.run import layer_rows, provenance
from codesign.report.trace import Execution, layer_of
from codesign.report.traffic import Traffic, traffic

Layer = dict[str, Any]

EXPLAINED = 2.0
"""A layer that takes more than so many times what array and bus need goes by waits: of its cycles,
neither explains half."""


def explain(program: Program) -> dict[str, Any]:
    """The document of ``codesign explain --json``."""
    run = predicted_run(program, check=False)
    cycles, execution = run.cycles, Execution.of(program, run.trace)
    moved = traffic(program)
    shapes = calc_shapes(program, execution.instructions)
    layers = [
        _layer(program, row, moved[row["name"]], shapes[row["name"]])
        for row in layer_rows(program, execution)
    ]
    return {
        "network": program.name,
        "arch": program.arch.to_dict(),
        "batch": program.graph.batch,
        "predicted_cycles": cycles,
        "on_chip_bytes": bounds.on_chip_words(program.arch),
        "layers": layers,
        "between_layers": _bytes(moved[None]),
        "total": _total(program, cycles, list(moved.values()), layers),
        "provenance": provenance("reference"),
    }


def limit(cycles: int, compute: float, bus: float) -> Layer:
    """What cycles go to, ``array``, ``DRAM`` or ``latency``, and their ratio to the larger of the
    two needs: cycles of the array (``compute``) and of the bus."""
    ratio = cycles / max(compute, bus)
    name = "array" if compute >= bus else "DRAM"
    return {"limit": name if ratio <= EXPLAINED else "latency", "limit_ratio": ratio}


def least_traffic(program: Program) -> float:
    """Bytes that the program's layers need, taken one by one (``bounds.network_bounds``)."""
    ops = {layer.name: layer.op for layer in program.layers}
    demands = (_demand(program.graph, name, kinds) for name, kinds in ops.items())
    return bounds.network_bounds(
        bounds.layer_bounds(program.arch, demand) for demand in demands
    ).traffic_bytes


@dataclasses.dataclass
class CalcShape:
    """A layer's CALCs: ``panels`` of columns and, of the panel with the most, ``strips`` of lines
    that it is cut into, and the number of the depth-first ``group`` whose layers take turns, None
    where the layer runs alone."""

    panels: int
    strips: int
    group: int | None


def calc_shapes(program: Program, instructions: Sequence[Instruction]) -> dict[str, CalcShape]:
    """The cut of every layer, from its CALCs' lines and their order."""
    panel_of = {i: at.panel for at in program.layers for i in range(at.first, at.last)}
    names = layer_of(program.layers)
    lines: dict[str, dict[int, set[tuple[int, int]]]] = {at.name: {} for at in program.layers}
    reach: dict[tuple[str, int], tuple[int, int]] = {}
    for index, at in enumerate(instructions):
        if at.opcode is Opcode.CALC:
            name, panel = names[index], panel_of[index]
            lines[name].setdefault(panel, set()).add((at["y_start"], at["out_height"]))
            reach[name, panel] = reach.get((name, panel), (index, index))[0], index
    groups = _groups(reach)
    return {
        name: CalcShape(len(found), max(map(len, found.values())), groups.get(name))
        for name, found in lines.items()
    }


def _groups(reach: Mapping[tuple[str, int], tuple[int, int]]) -> dict[str, int]:
    """Numbers of the layers whose stretches of CALCs, in a panel, overlap those of others."""
    together: list[list[str]] = []
    end = -1
    for (name, _), (first, last) in sorted(reach.items(), key=lambda at: at[1]):
        if first > end:
            together.append([])
        together[-1].append(name)
        end = max(end, last)
    several = list(dict.fromkeys(tuple(names) for names in together if len(names) > 1))
    return {name: number for number, names in enumerate(several, start=1) for name in names}


def fused_ops(graph: ir.Graph, name: str, kinds: str) -> tuple[ir.Op, ...]:
    """The operations of a layer: the one of its name and those ``kinds`` ("Conv2d+Add") that were
    fused with it; none for a layer that the compiler added."""
    found = [op for op in graph.ops if op.name == name]
    for kind in kinds.split("+")[1:] if found else ():
        found += [op for op in _readers(graph, found[-1].y) if type(op).__name__ == kind][:1]
    return tuple(found)


def _readers(graph: ir.Graph, tensor: str) -> Iterator[ir.Op]:
    for op in graph.consumers(tensor):
        if isinstance(op, ir.Flatten):
            yield from _readers(graph, op.y)
        else:
            yield op


def _copied(name: str) -> str:
    """The map that a layer of the compiler's copies: it is named after it."""
    return name.rpartition(":")[0]


def _demand(graph: ir.Graph, name: str, kinds: str) -> bounds.Demand:
    ops = fused_ops(graph, name, kinds)
    return bounds.demand_of(graph, ops) if ops else bounds.copy_demand(graph, _copied(name))


def _layer(program: Program, row: Mapping[str, Any], moved: Traffic, cut: CalcShape) -> Layer:
    graph, arch = program.graph, program.arch
    ops = fused_ops(graph, row["name"], row["op"])
    demand = _demand(graph, row["name"], row["op"])
    least = bounds.layer_bounds(arch, demand)
    bus = bounds.dram_cycles(arch, moved.read, moved.written)
    return {
        "name": row["name"],
        "op": row["op"],
        "shape": _shape(graph, ops, _copied(row["name"])),
        **dataclasses.asdict(cut),
        "weights": _residency(demand.weights, moved.weights_read),
        "source": "DRAM" if moved.maps_read else "on chip",
        "result": "DRAM" if moved.written else "on chip",
        "cycles": row["cycles"],
        "macs": row["macs"],
        "stalls": row["stalls"],
        **_bytes(moved),
        "compute_cycles": least.compute_cycles,
        "dram_cycles": bus,
        **limit(row["cycles"], least.compute_cycles, bus),
        "ideal_dram_cycles": least.dram_cycles,
        "ideal_traffic_bytes": least.traffic_bytes,
        "traffic_ratio": (moved.read + moved.written) / least.traffic_bytes,
    }


def _residency(weights: int, read: int) -> str:
    if not weights:
        return "none"
    return "streamed" if read >= weights else "on chip"


def _bytes(moved: Traffic) -> Layer:
    return {
        "dram_read_bytes": moved.read,
        "dram_write_bytes": moved.written,
        "maps_read_bytes": moved.maps_read,
        "weights_read_bytes": moved.weights_read,
        "instructions_read_bytes": moved.instructions_read,
    }


def _shape(graph: ir.Graph, ops: Sequence[ir.Op], copied: str) -> str:
    """Such as ``3x32x32 > 16x32x32, 3x3/2``: channels, lines and columns, kernel and stride; of a
    transposed convolution ``4x4*2``."""
    source, target = (ir.op_inputs(ops[0])[0], ops[-1].y) if ops else (copied, copied)
    text = f"{_by(graph.tensors[source].shape)} > {_by(graph.tensors[target].shape)}"
    window = getattr(ops[0], "window", None) if ops else None
    if window is None or window.kernel == (1, 1) == window.stride:
        return text
    stride = "" if window.stride == (1, 1) else f"/{max(window.stride)}"
    if window.base_dilation != (1, 1):
        stride = f"*{max(window.base_dilation)}"
    return f"{text}, {_by(window.kernel)}{stride}"


def _by(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))


def _total(
    program: Program, cycles: int, moved: Sequence[Traffic], layers: Sequence[Layer]
) -> Layer:
    arch = program.arch
    all_moved = Traffic(
        *(sum(column) for column in zip(*map(dataclasses.astuple, moved), strict=True))
    )
    least = bounds.network_bounds(
        bounds.Bounds(at["compute_cycles"], at["ideal_dram_cycles"], at["ideal_traffic_bytes"])
        for at in layers
    )
    bus = bounds.dram_cycles(arch, all_moved.read, all_moved.written)
    size = all_moved.read + all_moved.written
    return {
        "cycles": cycles,
        "macs": sum(at["macs"] for at in layers),
        **_bytes(all_moved),
        "compute_cycles": least.compute_cycles,
        "dram_cycles": bus,
        **limit(cycles, least.compute_cycles, bus),
        "ideal_dram_cycles": least.dram_cycles,
        "ideal_traffic_bytes": least.traffic_bytes,
        "traffic_ratio": size / least.traffic_bytes if least.traffic_bytes else 0.0,
    }
