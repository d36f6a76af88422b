"""Layers for ``cost.workload`` from a graph: as the compiler lowers it for an architecture whose
blocks are coarse, with the zeros within these blocks told as finely as any architecture needs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from codesign import ir
from codesign.arch import Arch
from codesign.arith import INT8_MIN
from codesign.compiler import kernels
from codesign.compiler.lower import lower
from codesign.compiler.network import Block, Layer, Network
from codesign.compiler.phases import separate_phases
from codesign.cost.layer_shape import (
    GRAIN,
    BoolArray,
    Foldable,
    LayerShape,
    Link,
    MapShape,
    Part,
)
from codesign.errors import GraphError
from codesign.frontend import network as net
from codesign.isa import Mode
from codesign.quant.operations import quantize_op
from codesign.quant.values import Coding

_COARSE = Arch(
    "coarse", pixels=1, in_channels=64, out_channels=64, drain=1, regions=8, act_depth=16,
    wgt_depth=16, param_depth=2, tap_depth=16, tables=16,
)  # fmt: skip
"""Lowering asks an architecture for nothing but M, N and the width of accumulators."""

_Key = tuple[int, int, int]
"""Offset (y, x) of a tap, and the how-many-eth it is at this offset: sums of weights may take
several words."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """The parts of a ``Workload``."""

    layers: tuple[LayerShape, ...]
    maps: Mapping[str, MapShape]
    outputs: tuple[str, ...]
    links: Mapping[str, Link]
    fixed: frozenset[int]


def of_graph(graph: ir.Graph) -> Lowered:
    """Lower a graph; errors as of ``Workload.of``."""
    ir.verify(graph)
    network = separate_phases(lower(graph, _COARSE, folding=False), _COARSE)
    links, fixed = _links(graph)
    for layer in network.layers:
        if layer.target in network.split_copies:
            links[layer.target] = links[layer.source]
    maps = {name: MapShape(*shape) for name, shape in network.shapes.items()}
    return Lowered(
        tuple(_layer(graph, network, at) for at in network.layers),
        maps,
        tuple(output.tensor for output in network.outputs),
        links,
        fixed,
    )


def surrogate(network: net.Network, batch: int) -> ir.Graph:
    """A graph with the weights that the float network's graph will have, and any scales: no cost
    depends on these. Clamps are those of the whole range, as calibration makes them.

    Raises
    ------
    GraphError
        The network is not simplified.
    """
    one = Coding(1.0, 0)
    codings = dict.fromkeys(network.shapes, one)
    ops: list[ir.Op] = []
    for number, op in enumerate(network.ops):
        if isinstance(op, net.Clamping):
            op = replace(op, low=-math.inf, high=math.inf)
        if isinstance(op, net.Unary):  # each has a table of its own, for each has its own scales
            ops.append(ir.Table(op.name, op.x, op.y, np.roll(_ASCENDING, number + 1)))
            continue
        try:
            ops.append(quantize_op(op, codings, network.shapes))
        except ValueError as error:
            raise GraphError(f"{op.name!r}: {error}") from error
    tensors = {
        name: ir.Tensor(name, shape, one.scale, one.zero_point)
        for name, shape in network.shapes.items()
    }
    return ir.Graph(
        network.name, batch, tensors, tuple(ops), network.inputs, network.outputs, network.origin
    )


_ASCENDING = np.arange(INT8_MIN, -INT8_MIN).astype(np.int8)


def _layer(graph: ir.Graph, network: Network, layer: Layer) -> LayerShape:
    source, target = network.shapes[layer.source], network.shapes[layer.target]
    parts = tuple(_part(layer, blocks, source[0], target[0]) for blocks in _shares(layer))
    return LayerShape(
        name=layer.name,
        op=layer.op,
        mode=layer.mode,
        source=layer.source,
        target=layer.target,
        residual=layer.residual.tensor if layer.residual else None,
        in_channels=source[0],
        out_channels=target[0],
        in_size=source[1:],
        out_size=target[1:],
        stride=layer.stride,
        out_stride=layer.out_stride,
        step=layer.step,
        parts=parts,
        macs=layer.macs,
        table=layer.table,
        reach=max(_reach(block) for block in layer.blocks),
        fold=_foldable(graph, network, layer),
    )


def _shares(layer: Layer) -> Iterable[list[Block]]:
    """Blocks that make the same pixels."""
    found: dict[object, list[Block]] = {}
    for block in layer.blocks:
        found.setdefault((block.phase, block.lines, block.columns), []).append(block)
    return found.values()


def _reach(block: Block) -> int:
    if block.weights is None:
        return 0
    sums = np.abs(block.weights.astype(np.int64))
    axes = (0, 1) if sums.ndim == 3 else (0,)
    return -INT8_MIN * int(sums.sum(axis=axes).max())


def _part(layer: Layer, blocks: list[Block], inputs: int, outputs: int) -> Part:
    keyed = [(block, _keys(block)) for block in blocks]
    keys = sorted({key for _, taken in keyed for key in taken})
    first = blocks[0]
    nonzero = None
    if layer.mode is not Mode.MAX:
        nonzero = _nonzero(layer.mode, keyed, keys, inputs, outputs)
    offsets = tuple((y, x) for y, x, _ in keys)
    dense = nonzero is None or bool(nonzero.all())
    return Part(first.phase, first.lines, first.columns, offsets, None if dense else nonzero)


def _keys(block: Block) -> list[_Key]:
    """Of every tap."""
    seen = Counter[tuple[int, int, int]]()
    found = []
    for tap in block.taps:
        place = tap.oy, tap.ox, tap.plane
        found.append((tap.oy, tap.ox, seen[place]))
        seen[place] += 1
    return found


def _nonzero(
    mode: Mode, keyed: list[tuple[Block, list[_Key]]], keys: list[_Key], inputs: int, outputs: int
) -> BoolArray:
    """``Part.nonzero``, from blocks of many channels."""
    number = {key: at for at, key in enumerate(keys)}
    wide = _COARSE.in_channels // GRAIN
    planes = -(-inputs // _COARSE.in_channels)
    found: BoolArray
    if mode is Mode.DEPTHWISE:
        found = np.zeros((len(keys), planes, wide), np.bool_)
        for block, taken in keyed:
            if block.weights is None:
                raise AssertionError("a depthwise block has weights")
            for key, tap, word in zip(taken, block.taps, block.weights, strict=True):
                found[number[key], tap.plane] = word.reshape(wide, GRAIN).any(axis=1)
        return found.reshape(len(keys), -1)[:, : -(-inputs // GRAIN)]
    columns = -(-outputs // _COARSE.out_channels)
    found = np.zeros((len(keys), planes, wide, columns, wide), np.bool_)
    for block, taken in keyed:
        if block.weights is None:
            raise AssertionError("a dense block has weights")
        column = block.plane * _COARSE.in_channels // _COARSE.out_channels
        blocked = block.weights.reshape(-1, wide, GRAIN, wide, GRAIN)
        words: BoolArray = np.asarray(blocked.any(axis=(2, 4)))
        for key, tap, word in zip(taken, block.taps, words, strict=True):
            found[number[key], tap.plane, :, column] = word
    whole = found.reshape(len(keys), planes * wide, columns * wide)
    return whole[:, : -(-inputs // GRAIN), : -(-outputs // GRAIN)]


def _foldable(graph: ir.Graph, network: Network, layer: Layer) -> Foldable | None:
    """As ``compiler.lower`` decides it."""
    op = next((at for at in graph.ops if at.name == layer.name), None)
    if not isinstance(op, ir.Conv2d) or op.x != layer.source or op.x not in graph.inputs:
        return None
    alone = len(graph.consumers(op.x)) == 1 and op.x not in graph.outputs
    if not alone or op.groups > 1 or layer.out_stride > 1:
        return None
    source, target = network.shapes[layer.source][1:], graph.tensors[op.y].shape[1:]
    at = kernels.geometry(layer.where, op.window, source, target)
    return Foldable(at.axes(), op.window.dilation, at.step)


def _links(graph: ir.Graph) -> tuple[dict[str, Link], frozenset[int]]:
    """Tensors whose channels are one set, and the groups that cannot change."""
    links = {name: Link(number) for number, name in enumerate(graph.inputs)}
    fixed = {link.group for link in links.values()}

    def join(one: str, other: str) -> None:
        a, b = links[one], links[other]
        if a.factor != b.factor:
            fixed.update((a.group, b.group))
            return
        if b.group in fixed:
            fixed.add(a.group)
        links.update(
            {name: Link(a.group, at.factor) for name, at in links.items() if at.group == b.group}
        )

    for op in graph.ops:
        first = ir.op_inputs(op)[0]
        if isinstance(op, ir.Conv2d) and not _is_depthwise(graph, op):
            links[op.y] = Link(len(graph.inputs) + len(links))
            if op.groups > 1:
                fixed |= {links[op.x].group, links[op.y].group}
        elif isinstance(op, ir.Flatten):
            _, height, width = graph.tensors[op.x].shape
            links[op.y] = Link(links[op.x].group, links[op.x].factor * height * width)
        else:
            if isinstance(op, ir.Add) and op.a != op.b:
                join(op.a, op.b)
            links[op.y] = links[first]
    return links, frozenset(fixed)


def _is_depthwise(graph: ir.Graph, op: ir.Conv2d) -> bool:
    inputs = graph.tensors[op.x].shape[0]
    return 1 < op.groups == inputs == len(op.weight)
