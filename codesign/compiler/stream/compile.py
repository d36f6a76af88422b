"""Programs for networks larger than the chip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from codesign import ir, isa
from codesign.arch import ISA_VERSION, TABLE_ENTRIES, TAP_ENTRY_BITS, Arch
from codesign.artifact import LayerSpan, Part
from codesign.compiler.emit import Image
from codesign.compiler.lower import copy_layer
from codesign.compiler.network import Layer, Network
from codesign.compiler.order import order
from codesign.compiler.schedule import Buffers, Step
from codesign.compiler.stream.choose import Context, choose, too_wide
from codesign.compiler.stream.dram import homes, storages, with_copied_inputs
from codesign.compiler.stream.merge import merged
from codesign.compiler.stream.tasks import Group, StreamStep, tasks
from codesign.compiler.transfers import aligned
from codesign.errors import CapacityError
from codesign.isa import INSTRUCTION_BYTES, Base, Instruction, Opcode, Target
from codesign.reference.memory import Taps


@dataclass(frozen=True, eq=False)
class Streamed:
    """What a program of ``groups`` consists of."""

    groups: tuple[Group, ...]
    image: Image
    layouts: Buffers
    spans: tuple[LayerSpan, ...]


def stream(network: Network, arch: Arch, graph: ir.Graph, keep_tensors: bool) -> Streamed:
    """Compile a lowered network with its maps in DRAM.

    Raises
    ------
    CapacityError
        The smallest strip, an instruction's weights or the tables do not fit on the chip.
    """
    network = _copied(network, arch, graph)
    single = replace(network, batch=1)
    wide = too_wide(single, arch, storages(single, arch))
    of_one, of_all = storages(single, arch, wide), storages(network, arch, wide)
    kept = {at.tensor for at in network.outputs}
    if keep_tensors:
        kept |= {layer.target for layer in network.layers} - network.split_copies
    groups = choose(Context(arch, single, network, of_one, of_all, frozenset(kept)))
    saved = frozenset(name for group in groups for name in group.work.saved)
    places = homes(network, arch, of_one, graph, saved, keep_tensors)
    todo, contents = tasks(network, arch, groups, places)
    steps = merged(arch, todo)
    image = _image(arch, bytes(todo.tables), contents, steps)
    spans = _spans(steps, todo.layers, network)
    return Streamed(groups, image, places.buffers, spans)


def _copied(network: Network, arch: Arch, graph: ir.Graph) -> Network:
    """Inputs that are outputs as they are pass through a copy layer."""
    copies: dict[str, str] = {}
    layers, shapes = list(network.layers), dict(network.shapes)
    for name in dict.fromkeys(at.tensor for at in network.outputs):
        if name in network.inputs:
            copy = f"{name}:copy"
            zero = graph.tensors[name].zero_point
            where = f"the copy of {name!r}"
            layers.append(copy_layer(arch, copy, where, name, copy, shapes[name][0], zero))
            copies[name], shapes[copy] = copy, shapes[name]
    network = replace(
        network, layers=tuple(layers), shapes=shapes,
        split_copies=network.split_copies | set(copies.values()),
    )  # fmt: skip
    return with_copied_inputs(network, copies)


def _image(arch: Arch, tables: bytes, contents: bytes, steps: Sequence[StreamStep]) -> Image:
    """Both parts, the tables, then what the rings are filled with."""
    if len(tables) > arch.tables * TABLE_ENTRIES:
        raise CapacityError(
            f"the network needs {len(tables) // TABLE_ENTRIES} tables, the architecture has "
            f"{arch.tables}; raise tables or use fewer functions"
        )
    setup_count = 3 if tables else 2
    first = (setup_count + len(steps) + 2) * INSTRUCTION_BYTES
    behind = first + aligned(len(tables))
    begin = isa.make(Opcode.BEGIN, isa_version=ISA_VERSION, fingerprint=arch.fingerprint)
    end = isa.make(Opcode.END)
    setup = [begin]
    if tables:
        setup.append(
            isa.make(
                Opcode.LOAD, target=int(Target.TABLE), base=int(Base.PROGRAM), offset=first,
                rows=1, words=len(tables),
            )
        )  # fmt: skip
    moved = [_behind(step, behind) for step in steps]
    infer = order(arch, _taps, moved)
    instructions = (*setup, end, begin, *infer, end)
    data = b"".join(isa.encode(at) for at in instructions)
    data += tables.ljust(aligned(len(tables)), b"\0") + contents
    part = Part(setup_count * INSTRUCTION_BYTES, len(infer) + 2)
    return Image(data, Part(0, setup_count), part)


def _behind(step: StreamStep, offset: int) -> StreamStep:
    """A step whose contents lie behind ``offset`` bytes of the program buffer."""
    values: Mapping[str, int] = step.values
    if step.opcode is not Opcode.LOAD or values["base"] != Base.PROGRAM:
        return step
    return dataclasses.replace(step, values={**values, "offset": values["offset"] + offset})


def _taps(step: Step, instruction: Instruction) -> Taps:
    if not isinstance(step, StreamStep):
        raise TypeError(f"{step!r} does not tell its taps")
    return Taps.of(step.taps[: instruction["taps"] * TAP_ENTRY_BITS // 8])


def _spans(
    steps: Sequence[StreamStep], layers: Sequence[tuple[Layer, int]], network: Network
) -> tuple[LayerSpan, ...]:
    """Stretches of instructions of one layer, each with its share of the layer's work."""
    stretches: list[list[int]] = []
    work = [0] * len(layers)
    for index, step in enumerate(steps, start=1):
        if step.opcode is Opcode.CALC and step.at is not None:
            slots = step.values["groups"] * step.values["taps"]
            if not stretches or stretches[-1][0] != step.at:
                stretches.append([step.at, index, index, 0])
            stretches[-1][3] += slots
            work[step.at] += slots
        if stretches and step.opcode is not Opcode.LOAD:
            stretches[-1][2] = index
    done = [0] * len(layers)
    given = [0] * len(layers)
    found = []
    for number, first, last, slots in stretches:
        layer, panel = layers[number]
        done[number] += slots
        total = layer.macs * network.batch * done[number] // work[number]
        macs, given[number] = total - given[number], total
        found.append(LayerSpan(layer.name, layer.op, first, last + 1, macs, panel))
    return tuple(found)
