"""From a graph to a program: the compiler's passes in their order."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable
from importlib import metadata

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import LayerSpan, Program
from codesign.compiler import emit
from codesign.compiler.allocate import Prefetch, allocate, apart, lives
from codesign.compiler.layout import Storage, plan
from codesign.compiler.lower import lower
from codesign.compiler.network import Network
from codesign.compiler.order import order, resident_taps
from codesign.compiler.phases import separate_phases
from codesign.compiler.resident import Resident, pack_resident
from codesign.compiler.schedule import Buffers, Plan, buffers, schedule
from codesign.compiler.stream.compile import stream
from codesign.compiler.tile import chunks, passes
from codesign.compiler.verify import verify_network, verify_plan
from codesign.cost import energy_file
from codesign.cost.energy import Coefficients
from codesign.cost.energy_events import energy_model
from codesign.errors import CapacityError
from codesign.isa import Base
from codesign.reference.predict import predicted_run

REWRITES: tuple[Callable[[Network, Arch], Network], ...] = (separate_phases,)
"""Passes from network to network between lowering and layout, in order; each is verified."""


def compile(  # the name of what it does, as in `codesign compile`
    graph: ir.Graph,
    arch: Arch,
    *,
    seed: int = 0,
    keep_tensors: bool = False,
    energy: Coefficients | None = None,
) -> Program:
    """Compile a quantised graph.

    Where its maps and weights fit on the chip they stay there; else maps lie in DRAM, layers run in
    strips and weights are streamed.

    Parameters
    ----------
    seed:
        The seed that the network came from; the program records it.
    keep_tensors:
        Also save the map that each layer writes to the SCRATCH buffer, described in
        ``Program.tensors``, to find where two executions part. Costs cycles.
    energy:
        What events cost; by default as ``cost/energy.yaml`` has it for the architecture's board.

    Raises
    ------
    GraphError
        The graph breaks a rule of ``codesign.ir``.
    UnsupportedOpError
        An operation that the machine cannot execute; the message names what is accepted.
    CapacityError
        Something does not fit: a memory, a field of an instruction, an accumulator.
    """
    ir.verify(graph)
    network = lower(graph, arch)
    verify_network(network)
    for rewrite in REWRITES:
        network = rewrite(network, arch)
        verify_network(network)
    image, layouts, spans = _build(network, arch, graph, keep_tensors)
    program = Program(
        name=graph.name,
        arch=arch,
        graph=graph,
        image=image.data,
        setup=image.setup,
        infer=image.infer,
        inputs=layouts.inputs,
        outputs=layouts.outputs,
        input_bytes=layouts.sizes[Base.INPUT],
        output_bytes=layouts.sizes[Base.OUTPUT],
        scratch_bytes=layouts.sizes[Base.SCRATCH],
        layers=spans,
        tensors=layouts.tensors,
        predicted_cycles=0,
        seed=seed,
        versions=_versions(),
    )
    coefficients = energy or energy_file.find(arch.board)
    return dataclasses.replace(
        program,
        predicted_cycles=predict(program),
        energy=energy_model(program, coefficients) if coefficients else None,
    )


def _build(
    network: Network, arch: Arch, graph: ir.Graph, keep_tensors: bool
) -> tuple[emit.Image, Buffers, tuple[LayerSpan, ...]]:
    """With all maps and weights on the chip where they fit, else with those in DRAM."""
    try:
        storages = plan(network, arch)
        resident = pack_resident(network, arch, storages)
        decided = _place(network, arch, storages, resident)
    except CapacityError as error:
        refuse_streaming(network, error)
        streamed = stream(network, arch, graph, keep_tensors)
        return streamed.image, streamed.layouts, streamed.spans
    verify_plan(decided)
    layouts = buffers(decided, graph, keep_tensors)
    steps = schedule(decided, layouts)
    image = emit.image(arch, resident, order(arch, resident_taps(resident), steps))
    return image, layouts, emit.spans(steps, decided.passes, graph.batch)


def refuse_streaming(network: Network, reason: CapacityError) -> None:
    """``CapacityError`` where a network that does not fit, for ``reason``, cannot run in strips."""
    for layer in network.layers:
        if layer.out_stride > 1 or layer.stride > 2:
            raise CapacityError(
                f"{reason}; {layer.where} works on maps that upsampling or a stride above 2 splits "
                "into phase planes, and such networks do not run in strips: they must fit on the "
                "chip as a whole"
            ) from reason


def _place(network: Network, arch: Arch, storages: dict[str, Storage], resident: Resident) -> Plan:
    """Take as many samples in turn, and load their inputs as early, as memory allows."""
    chosen = chunks(network, arch, storages)
    orders = [(chunk, ahead) for chunk in chosen for ahead in sorted(Prefetch, reverse=True)]
    if network.batch == 1:
        orders = [(1, Prefetch.NONE)]
    for chunk, ahead in orders:
        sequence = passes(network, chunk)
        lifetimes = lives(network, sequence, ahead)
        pairs = list(apart(network, sequence, lifetimes))
        try:
            places = allocate(network, arch, storages, lifetimes, pairs)
        except CapacityError:
            if (chunk, ahead) == orders[-1]:
                raise
        else:
            return Plan(network, arch, storages, sequence, lifetimes, places, resident)
    raise AssertionError("the loop returns or raises")


def predict(program: Program) -> int:
    """Cycles of one inference on the machine reference and its default DRAM, doorbell to done.

    The reference also checks the program: no address out of range, no result left to chance.
    """
    return predicted_run(program).cycles


def _versions() -> dict[str, str]:
    try:
        own = metadata.version("codesign")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {"codesign": own, "numpy": np.__version__, "python": platform.python_version()}
