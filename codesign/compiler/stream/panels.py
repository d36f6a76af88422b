"""Groups on panels of columns, where lines are too long for the chip.

A panel is a group of its own on maps that are as wide as the panel and the columns around it that
its layers read. In DRAM those are parts of whole lines, so that a transfer has a row for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import gcd, lcm

from codesign.arch import Arch
from codesign.compiler.layout import Storage, plan
from codesign.compiler.network import Layer
from codesign.compiler.stream.work import Axis, Lines, Work, cuts
from codesign.compiler.tile import DRAM_ALIGNMENT
from codesign.isa import TAP_ENTRY

_REACH = next(field.range for field in TAP_ENTRY if field.name == "dx")


def column_unit(arch: Arch) -> int:
    """Pixels of a line after which a transfer can start."""
    return DRAM_ALIGNMENT // gcd(DRAM_ALIGNMENT, arch.act_word_bytes)


def can_be_cut(work: Work) -> bool:
    """Whether transfers can start within the lines of all maps in DRAM."""
    unit = column_unit(work.arch)
    moved = {*work.external, *work.saved}
    return (
        work.columns is None
        and not any(work.network.is_vector(name) for name in work.names)
        and all(work.storages[name].pitch % unit == 0 for name in moved)
    )


def step(work: Work) -> int:
    """Columns of the result of which a panel's are a multiple."""
    return _axis(work).steps[work.layers[-1].target]


def panels(work: Work, size: int) -> tuple[Work, ...]:
    """The group on panels of ``size`` columns of its result; none where a panel would not be a map
    of which a machine takes lines and columns."""
    axis = _axis(work)
    cut = cuts(work, axis, size)
    whole = axis.extents[work.layers[-1].target]
    found = []
    for number, columns in enumerate(cut):
        if set(columns) != set(work.names):
            return ()
        first, last = (min(whole, at * size) for at in (number, number + 1))
        panel = _panel(work, columns, (first, last), whole)
        if panel is None:
            return ()
        found.append(replace(panel, panel=number))
    return tuple(found)


def _axis(work: Work) -> Axis:
    unit = column_unit(work.arch)
    steps = {}
    for name in work.names:
        moved = name in work.saved or name in work.external
        steps[name] = (2 if work.storages[name].split else 1) * (unit if moved else 1)
    for layer in work.layers:  # where one is split, both begin at a pixel of the same phase
        if layer.residual:
            both = layer.target, layer.residual.tensor
            even = 2 if any(work.storages[name].split for name in both) else 1
            for name in both:
                steps[name] = lcm(even, steps[name])
    widths = {name: work.storages[name].width for name in work.names}
    return Axis(1, widths, steps)


def _panel(work: Work, columns: Mapping[str, Lines], done: Lines, whole: int) -> Work | None:
    layers = tuple(_narrow(layer, columns, done, whole) for layer in work.layers)
    shapes = {
        name: (*work.network.shapes[name][:2], last - first)
        for name, (first, last) in columns.items()
    }
    reach = [
        tap.ox // layer.strides[1]
        for layer in layers
        for block in layer.blocks
        for tap in block.taps
    ]
    if any(shape[1:] == (1, 1) for shape in shapes.values()) or max(reach) > _REACH[1]:
        return None
    network = replace(work.network, layers=layers, shapes=shapes)
    split = {name for name in shapes if work.storages[name].split}
    storages: dict[str, Storage] = plan(network, work.arch, split=split)
    return replace(work, network=network, layers=layers, storages=storages, columns=columns)


def _narrow(layer: Layer, columns: Mapping[str, Lines], done: Lines, whole: int) -> Layer:
    """A layer on its panel: taps from the first columns there, and its share of the work."""
    shift = layer.strides[1] * columns[layer.target][0] - columns[layer.source][0]
    first, last = columns[layer.target]
    blocks = tuple(
        replace(
            block,
            taps=tuple(tap._replace(ox=tap.ox + shift) for tap in block.taps),
            columns=block.columns and (block.columns[0] - first, block.columns[1] - first),
        )
        for block in layer.blocks
        if block.columns is None or (block.columns[0] < last and first < block.columns[1])
    )
    before, after = (layer.macs * at // whole for at in done)
    return replace(layer, blocks=blocks, macs=after - before)
