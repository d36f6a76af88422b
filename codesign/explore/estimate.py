"""What a network costs on an architecture, before anything is compiled: cycles, latency, energy,
DRAM traffic and resources, in milliseconds of computing time.

``cost`` takes a torch module, a float network, a quantised graph or a workload: the values of the
weights do not matter but for blocks of zeros. ``columns`` does the same for many architectures, or
as many pairs of network and architecture, at once. ``exact_cost`` compiles instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from codesign import boards, ir
from codesign.arch import Arch
from codesign.artifact import Program
from codesign.compiler import compile as compile_graph
from codesign.cost import energy_file
from codesign.cost.archs import Archs
from codesign.cost.closed_form import Bound, Cycles, cycles
from codesign.cost.energy import HZ_PER_MHZ, Coefficients, Energy
from codesign.cost.energy_events import predicted_energy
from codesign.cost.events import EnergyColumns, bus_bytes, energy, events, layer_bytes
from codesign.cost.least_traffic import least_traffic_bytes
from codesign.cost.resources import Fit, ResourceColumns, fits, usage
from codesign.cost.workload import Workload
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.report.explain import explain
from codesign.report.run import latency_ms

if TYPE_CHECKING:
    import torch

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
_BOUNDS = {Bound.ARRAY: "array", Bound.DRAM: "DRAM", Bound.LATENCY: "latency"}
PREDICTED = "predicted"
EXACT = "predicted by the machine reference"


@dataclass(frozen=True)
class LayerCost:
    """A layer's figures in its network. ``bound``: what its cycles go to; ``energy_uj`` with the
    static power of its time, None where the board has no coefficients."""

    name: str
    op: str
    cycles: int
    macs: int
    utilization: float
    bound: str
    dram_bytes: int
    energy_uj: float | None


@dataclass(frozen=True)
class EnergyCost:
    """Modelled energy of an inference, of the whole board, within a factor of 1 + uncertainty."""

    total_uj: float
    compute_uj: float
    on_chip_uj: float
    dram_uj: float
    static_uj: float
    uncertainty: float
    origin: str


@dataclass(frozen=True)
class Cost:
    """One inference (one batch) of a network on an architecture, at the architecture's clock.

    Attributes
    ----------
    dram_least_bytes:
        What no schedule of the network can do without (``cost.least_traffic``).
    resources:
        What the accelerator takes of its board's part.
    resident:
        Whether maps and weights stay on chip from layer to layer and inference to inference.
    fits:
        Empty, or why the network does not run on the architecture, or the architecture does not fit
        its board.
    word:
        How the cycles were found.
    """

    network: str
    arch: Arch
    batch: int
    cycles: int
    latency_ms: float
    macs: int
    utilization: float
    dram_read_bytes: int
    dram_write_bytes: int
    dram_least_bytes: int
    energy: EnergyCost | None
    resources: boards.Resources
    resident: bool
    fits: tuple[str, ...]
    layers: tuple[LayerCost, ...]
    word: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, eq=False)
class CostColumns:
    """The same for A architectures, each [A]; ``energy`` is None where the board has no
    coefficients, ``fit`` tells of the board, ``cycles.fits`` of the architecture's memories."""

    cycles: Cycles
    latency_ms: FloatArray
    dram_read_bytes: IntArray
    dram_write_bytes: IntArray
    energy: EnergyColumns | None
    resources: ResourceColumns
    fit: Fit


Model = Workload | ir.Graph | net.Network
"""What a cost is known of without torch."""


def cost(model: Model | torch.nn.Module, arch: Arch, example: torch.Tensor | None = None) -> Cost:
    """The closed-form cost of a network on an architecture.

    Parameters
    ----------
    model:
        A torch module, a float network, a quantised graph, or their ``Workload``: exporting a
        module takes most of the time, so a loop that changes channels makes the workload once.
    example:
        An input [B, C, H, W] of a torch module; B does not matter.

    Raises
    ------
    TypeError
        A module without example, or none of these.
    CodesignError
        An operation that the machine cannot execute.
    """
    workload = workload_of(model, example)
    archs = Archs.of([arch])
    board = boards.board(arch.board)
    coefficients = energy_file.find(arch.board)
    found = columns(workload, archs, board, coefficients)
    macs = workload.batch * sum(int(np.asarray(at.macs).item()) for at in workload.layers)
    return Cost(
        network=workload.name,
        arch=arch,
        batch=workload.batch,
        cycles=int(found.cycles.total[0]),
        latency_ms=float(found.latency_ms[0]),
        macs=macs,
        utilization=macs / (float(found.cycles.total[0]) * arch.macs_per_cycle),
        dram_read_bytes=int(found.dram_read_bytes[0]),
        dram_write_bytes=int(found.dram_write_bytes[0]),
        dram_least_bytes=int(least_traffic_bytes(workload, archs)[0]),
        energy=_energy(found.energy, coefficients, lambda values: float(values[0])),
        resources=usage(arch, board),
        resident=bool(found.cycles.resident[0]),
        fits=_reasons(found.cycles.reason(0), found.fit.reason(0)),
        layers=tuple(_layer(workload, arch, found, i) for i in range(len(workload.layers))),
        word=PREDICTED,
    )


def columns(
    workload: Workload, archs: Archs, board: boards.Board, coefficients: Coefficients | None
) -> CostColumns:
    """Closed-form costs of a network on many architectures, or of pairs of both."""
    found = cycles(workload, archs)
    read, written = bus_bytes(found)
    fit = fits(archs, board)
    spent = None
    if coefficients is not None:
        spent = energy(events(workload, archs, found), archs, found, coefficients)
    return CostColumns(
        cycles=found,
        latency_ms=found.total / archs.clock_mhz / 1000.0,
        dram_read_bytes=read,
        dram_write_bytes=written,
        energy=spent,
        resources=fit.columns,
        fit=fit,
    )


def exact_cost(graph: ir.Graph, arch: Arch) -> Cost:
    """The cost of a compiled program: cycles and traffic as the hardware has them.

    Raises
    ------
    CodesignError
        The network does not compile for the architecture.
    """
    coefficients = energy_file.find(arch.board)
    program = compile_graph(graph, arch, energy=coefficients)
    document = explain(program)
    total, board = document["total"], boards.board(arch.board)
    layers = tuple(_exact_layer(program, at) for at in document["layers"])
    least = least_traffic_bytes(Workload.of(graph), Archs.of([arch]))
    spent = predicted_energy(program)
    return Cost(
        network=graph.name,
        arch=arch,
        batch=graph.batch,
        cycles=total["cycles"],
        latency_ms=latency_ms(total["cycles"], arch.clock_mhz),
        macs=total["macs"],
        utilization=total["macs"] / (total["cycles"] * arch.macs_per_cycle),
        dram_read_bytes=total["dram_read_bytes"],
        dram_write_bytes=total["dram_write_bytes"],
        dram_least_bytes=int(least[0]),
        energy=_energy(spent, coefficients, float),
        resources=usage(arch, board),
        resident=not program.scratch_bytes
        and all(at["weights"] != "streamed" for at in document["layers"]),
        fits=_reasons(fits(Archs.of([arch]), board).reason(0)),
        layers=layers,
        word=EXACT,
    )


def workload_of(model: Model | torch.nn.Module, example: torch.Tensor | None = None) -> Workload:
    """The workload of a model; raises as ``cost``."""
    if isinstance(model, Workload):
        return model
    if isinstance(model, ir.Graph):
        return Workload.of(model)
    if isinstance(model, net.Network):
        return Workload.of_network(simplify(model))
    from torch.nn import Module

    if not isinstance(model, Module):
        raise TypeError(
            f"{type(model).__name__} is no network: give a torch module with an example input, a "
            "float network, a quantised graph or a Workload"
        )
    if example is None:
        raise TypeError("a torch module needs an example input [B, C, H, W]: cost(model, arch, x)")
    from codesign.frontend.torch_export import from_module

    return Workload.of_network(simplify(from_module(model, example)))


def _reasons(*reasons: str) -> tuple[str, ...]:
    return tuple(reason for reason in reasons if reason)


def _energy(
    spent: EnergyColumns | Energy | None, known: Coefficients | None, number: Callable[[Any], float]
) -> EnergyCost | None:
    """``number`` makes one of what ``spent`` has."""
    if spent is None or known is None:
        return None
    parts = {
        name: number(getattr(spent, name))
        for name in ("total_uj", "compute_uj", "on_chip_uj", "dram_uj", "static_uj")
    }
    return EnergyCost(**parts, uncertainty=known.uncertainty, origin=known.origin)


def _layer(workload: Workload, arch: Arch, found: CostColumns, row: int) -> LayerCost:
    at, spent = workload.layers[row], int(found.cycles.layers[row, 0])
    macs = workload.batch * int(np.asarray(at.macs).item())
    return LayerCost(
        name=at.name,
        op=at.op,
        cycles=spent,
        macs=macs,
        utilization=macs / (spent * arch.macs_per_cycle) if spent else 0.0,
        bound=_BOUNDS[Bound(found.cycles.bound[row, 0])],
        dram_bytes=int(layer_bytes(found.cycles)[row, 0]),
        energy_uj=float(found.energy.layers_uj[row, 0]) if found.energy else None,
    )


def _exact_layer(program: Program, at: Mapping[str, Any]) -> LayerCost:
    seconds = at["cycles"] / (program.arch.clock_mhz * HZ_PER_MHZ)
    model = program.energy
    peak = at["cycles"] * program.arch.macs_per_cycle
    return LayerCost(
        name=at["name"],
        op=at["op"],
        cycles=at["cycles"],
        macs=at["macs"],
        utilization=at["macs"] / peak if peak else 0.0,
        bound=at["limit"],
        dram_bytes=at["dram_read_bytes"] + at["dram_write_bytes"],
        energy_uj=model.layer_uj(at["name"], seconds) if model else None,
    )
