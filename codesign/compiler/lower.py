"""From operations to layers: what the pipeline computes in one pass, with adds and tables fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arch import Arch
from codesign.arith import INT8_MAX, INT8_MIN, add_requantized, saturate
from codesign.compiler import fold, kernels
from codesign.compiler.fold import Folding
from codesign.compiler.network import PLAIN, Block, Fold, Layer, Network, Output, Residual
from codesign.errors import UnsupportedOpError
from codesign.isa import Mode


@dataclass(frozen=True)
class View:
    """The map that holds a tensor; ``flat``: the tensor is that map flattened."""

    map: str
    flat: bool


def lower(graph: ir.Graph, arch: Arch) -> Network:
    """Lower a verified graph.

    Raises
    ------
    UnsupportedOpError
        An operation that the machine has no way to execute.
    CapacityError
        A kernel with more taps, or larger sums, than the machine takes.
    """
    lowering = _Lowering(graph, arch)
    for op in graph.ops:
        lowering.add(op)
    outputs = tuple(Output(name, lowering.views[name].map) for name in graph.outputs)
    layers = tuple(lowering.layers.values())
    used = {layer.target for layer in layers} | set(graph.inputs)
    return Network(
        batch=graph.batch,
        shapes={name: shape for name, shape in lowering.shapes.items() if name in used},
        layers=layers,
        inputs=graph.inputs,
        outputs=outputs,
        folds=lowering.folds,
        fold_steps=lowering.fold_steps,
    )


class _Lowering:
    """``layers`` by the map that they write, in order; ``shapes`` of maps as they lie in memory."""

    def __init__(self, graph: ir.Graph, arch: Arch) -> None:
        self.graph, self.arch = graph, arch
        self.views = {name: View(name, False) for name in graph.inputs}
        self.shapes = {name: graph.tensors[name].shape for name in graph.inputs}
        self.layers: dict[str, Layer] = {}
        self.folds: dict[str, Fold] = {}
        self.fold_steps: dict[str, ir.Pair] = {}
        self.uses = _uses(graph)

    def where(self, op: ir.Op) -> str:
        origin = self.graph.origin.get(op.name)
        place = f" at {origin}" if origin and origin != op.name else ""
        return f"{type(op).__name__} {op.name!r}{place}"

    def zero(self, tensor: str) -> int:
        return self.graph.tensors[tensor].zero_point

    def add(self, op: ir.Op) -> None:
        if isinstance(op, ir.Flatten):
            view = self.views[op.x]
            self.views[op.y] = View(view.map, self.shapes[view.map][1:] != (1, 1))
        elif isinstance(op, ir.Conv2d):
            self._conv(op)
        elif isinstance(op, ir.MaxPool2d | ir.AvgPool2d):
            self._pool(op)
        elif isinstance(op, ir.Add):
            self._add(op)
        else:
            self._table(op)

    def _put(self, op: ir.Op, layer: Layer, shape: ir.Shape, flat: bool = False) -> None:
        self.layers[layer.target] = layer
        self.shapes[layer.target] = shape
        self.views[op.y] = View(layer.target, flat)

    # --- windows -----------------------------------------------------------------------------
    def _conv(self, op: ir.Conv2d) -> None:
        view, where = self.views[op.x], self.where(op)
        source, target = self.shapes[view.map], self.graph.tensors[op.y].shape
        weight, window = op.weight, op.window
        if view.flat:
            weight, window = _unflattened(where, op, source, target), ir.Window(source[1:])
        at = kernels.geometry(where, window, source[1:], target[1:])
        step = at.step
        depthwise = not view.flat and 1 < op.groups == source[0] == target[0]
        if depthwise:
            positions = kernels.depthwise_positions(op.weight[:, 0], at)
            positions = positions or _no_taps(source[0])
            total = sum(w.astype(np.int64) for w in positions.values())
        else:
            folding = self._folding(op, at, source)
            if not view.flat:
                weight = _ungrouped(op.weight, op.groups)
            inputs = source[0] * len(folding.fold)
            positions = kernels.dense_positions(weight, at, folding) or {
                (0, 0): np.zeros((target[0], inputs), np.int8)
            }
            total = sum(w.astype(np.int64).sum(axis=1) for w in positions.values())
            self._refold(view.map, folding)
            step = None if folding.step == at.step else step
        x_zero = self.zero(op.x)
        bias, multiplier, shift, twice = (
            values.astype(np.int64)
            for values in (op.bias, op.multiplier, op.shift, op.twice_channels)
        )
        post = kernels.Requantisation(bias - x_zero * np.asarray(total), multiplier, shift, twice)
        blocks = (
            kernels.depthwise(where, self.arch, positions, post)
            if depthwise
            else kernels.dense(where, self.arch, positions, (target[0], inputs), post)
        )
        layer = Layer(
            op.name, where, "Conv2d", view.map, op.y, Mode.DEPTHWISE if depthwise else Mode.DENSE,
            at.stride, x_zero, blocks, self.zero(op.y), op.low, op.high,
            macs=ir.macs(self.graph, op), step=step,
        )  # fmt: skip
        self._put(op, layer, target)

    def _folding(self, op: ir.Conv2d, at: kernels.Geometry, source: ir.Shape) -> Folding:
        view = self.views[op.x]
        room = self.arch.in_channels // source[0]
        foldable = view.map in self.graph.inputs and self.uses[view.map] == 1 and op.groups == 1
        if not foldable or view.flat:
            return fold.plain(*at.axes)
        chosen = fold.plain(*at.axes)
        if room > 1:
            chosen = fold.best(*at.axes, op.window.dilation, room, self.arch.drain_steps)
        square = fold.squares(*at.axes)
        if not at.step or square.size(source) == (1, 1):
            return chosen
        # computed by line, a layer's lanes work in one of as many cycles as its stride is long
        by_line = self._words(source, chosen) * at.step[1]
        return square if self._words(source, square) <= by_line else chosen

    def _words(self, source: ir.Shape, folding: Folding) -> int:
        """Taps of an output."""
        planes = -(-source[0] * len(folding.fold) // self.arch.in_channels)
        return planes * max(folding.taps, 1)

    def _refold(self, source: str, folding: Folding) -> None:
        if folding.fold != PLAIN:
            channels = self.shapes[source][0]
            self.folds[source] = folding.fold
            self.fold_steps[source] = folding.step
            size = folding.size(self.shapes[source])
            self.shapes[source] = (channels * len(folding.fold), *size)

    def _pool(self, op: ir.MaxPool2d | ir.AvgPool2d) -> None:
        view, where = self.views[op.x], self.where(op)
        if view.flat:
            raise UnsupportedOpError(f"{where} pools a flattened map; pool before flattening")
        source, target = self.shapes[view.map], self.graph.tensors[op.y].shape
        counts = _counts(op, source)
        at = kernels.geometry(
            where, op.window, source[1:], target[1:], by_line=bool(np.ptp(counts))
        )
        offsets = [(y, x) for y in at.rows.values() for x in at.columns.values()]
        zero, channels, x_zero = self.zero(op.y), source[0], self.zero(op.x)
        maximum = bool(offsets) and isinstance(op, ir.MaxPool2d)
        low, high = INT8_MIN, INT8_MAX
        if isinstance(op, ir.AvgPool2d):
            low, high = op.low, op.high
            full = np.ones(channels, np.int64)
            posts = {
                count: kernels.Requantisation(
                    -x_zero * len(offsets) * full, multiplier * full, shift * full, 0 * full
                )
                for count in np.unique(counts).tolist()
                for multiplier, shift in (op.part(count),)
            }
        else:
            post = kernels.identity(zero, channels)
            # without offsets it is the maximum of padding alone
            posts = {0: post if offsets else post._replace(bias=post.bias + INT8_MIN)}
            x_zero = INT8_MIN if offsets else x_zero
        taps = {offset: np.ones(channels, np.int8) for offset in offsets} or _no_taps(channels)
        by_count = {
            count: kernels.maximum(where, self.arch, offsets, post)
            if maximum
            else kernels.depthwise(where, self.arch, taps, post)
            for count, post in posts.items()
        }
        layer = Layer(
            op.name, where, type(op).__name__, view.map, op.y,
            Mode.MAX if maximum else Mode.DEPTHWISE, at.stride, x_zero,
            _patches(counts, by_count), zero, low, high, step=at.step,
        )  # fmt: skip
        self._put(op, layer, target)

    # --- elementwise -------------------------------------------------------------------------
    def _fusable(self, map_name: str) -> Layer | None:
        """The layer that makes a map which nothing but the operation at hand reads."""
        layer = self.layers.get(map_name)
        return layer if layer and self.uses[map_name] == 1 and layer.table is None else None

    def _fuse(self, op: ir.Op, before: Layer, after: Layer, flat: bool, last: bool) -> None:
        """Let ``after`` take the place of ``before``, or the end of the order."""
        shape = self.shapes[before.target]
        if last:
            del self.layers[before.target]
            self._put(op, after, shape, flat)
            return
        self.layers = {
            (after.target if key == before.target else key): (after if key == before.target else at)
            for key, at in self.layers.items()
        }
        self._put(op, after, shape, flat)

    def _table(self, op: ir.Table) -> None:
        view = self.views[op.x]
        before = self._fusable(view.map)
        table = op.table.tobytes()
        if before:
            after = replace(before, op=f"{before.op}+Table", target=op.y, table=table)
            self._fuse(op, before, after, view.flat, last=False)
        else:
            layer = replace(self._identity(op, op.x), op="Table", table=table)
            self._put(op, layer, self.shapes[view.map], view.flat)

    def _identity(self, op: ir.Op, tensor: str) -> Layer:
        """A layer that returns its source."""
        source, zero = self.views[tensor].map, self.zero(tensor)
        channels = self.shapes[source][0]
        return copy_layer(self.arch, op.name, self.where(op), source, op.y, channels, zero)

    def _add(self, op: ir.Add) -> None:
        a, b = self.views[op.a], self.views[op.b]
        if a.flat != b.flat or self.shapes[a.map] != self.shapes[b.map]:
            raise UnsupportedOpError(
                f"{self.where(op)} adds a flattened map to one that is none; add before flattening"
            )
        if a.map == b.map:
            layer = replace(self._identity(op, op.a), op="Add", table=self._doubling(op))
            self._put(op, layer, self.shapes[a.map], a.flat)
            return
        order = list(self.layers)
        for tensor, other in sorted(
            ((op.a, op.b), (op.b, op.a)), key=lambda pair: -_position(order, self.views[pair[0]])
        ):
            view, residual = self.views[tensor], self.views[other]
            before = self._fusable(view.map)
            if before and before.full_range and before.residual is None:
                if before.source == residual.map:
                    continue  # one region cannot be read as source and residual at once
                after = replace(
                    before, op=f"{before.op}+Add", target=op.y, low=op.low, high=op.high,
                    residual=self._residual(op, other),
                )  # fmt: skip
                late = _position(order, residual) > _position(order, view)
                self._fuse(op, before, after, view.flat, last=late)
                return
        layer = replace(
            self._identity(op, op.a), op="Add", low=op.low, high=op.high,
            residual=self._residual(op, op.b),
        )  # fmt: skip
        self._put(op, layer, self.shapes[a.map], a.flat)

    def _residual(self, op: ir.Add, tensor: str) -> Residual:
        """The sum's fields, ``tensor`` being the operand that is not the layer's own result."""
        own, other = op.a_multiplier, op.b_multiplier
        if tensor == op.a:
            own, other = other, own
        return Residual(
            self.views[tensor].map, self.zero(tensor), self.zero(op.y), own, other, op.shift
        )

    def _doubling(self, op: ir.Add) -> bytes:
        """x + x is a function of x."""
        x = np.arange(INT8_MIN, -INT8_MIN)
        total = add_requantized(
            x, self.zero(op.a), op.a_multiplier, x, self.zero(op.b), op.b_multiplier,
            op.shift, self.zero(op.y),
        )  # fmt: skip
        return saturate(total, op.low, op.high).astype(np.int8).tobytes()


def copy_layer(
    arch: Arch, name: str, where: str, source: str, target: str, channels: int, zero_point: int
) -> Layer:
    """A layer that copies its source map."""
    post = kernels.identity(zero_point, channels)
    blocks = kernels.depthwise(where, arch, {(0, 0): np.ones(channels, np.int8)}, post)
    return Layer(
        name, where, "Copy", source, target, Mode.DEPTHWISE, 1, zero_point, blocks, zero_point
    )


def _counts(op: ir.MaxPool2d | ir.AvgPool2d, source: ir.Shape) -> npt.NDArray[np.int64]:
    """Pixels that each window of a mean counts; as many for each of a maximum."""
    if isinstance(op, ir.AvgPool2d):
        return ir.counts(op.window, op.counted, source)
    return np.zeros((1, 1), np.int64)


def _patches(
    numbers: npt.NDArray[np.int64], by_count: Mapping[int, tuple[Block, ...]]
) -> tuple[Block, ...]:
    """Blocks of every plane, each for a rectangle of output pixels that count alike."""
    if not np.ptp(numbers):
        return by_count[int(numbers[0, 0])]
    lines, columns = _stretches(numbers), _stretches(numbers.T)
    found = []
    for plane in range(len(next(iter(by_count.values())))):
        for top, bottom in lines:
            for left, right in columns:
                block = by_count[int(numbers[top, left])][plane]
                found.append(replace(block, lines=(top, bottom), columns=(left, right)))
    return tuple(found)


def _stretches(numbers: npt.NDArray[np.int64]) -> list[ir.Pair]:
    """Stretches [first, last) of equal lines."""
    ends = [i + 1 for i in range(len(numbers) - 1) if (numbers[i] != numbers[i + 1]).any()]
    return list(zip([0, *ends], [*ends, len(numbers)], strict=True))


def _no_taps(channels: int) -> dict[kernels.Offset, kernels.Int8Array]:
    """The depthwise kernel of a window that never meets the map: a sum of nothing."""
    return {(0, 0): np.zeros(channels, np.int8)}


def _uses(graph: ir.Graph) -> dict[str, int]:
    """How often the map behind each tensor is read, being a network output included."""
    root = {name: name for name in graph.tensors}
    for op in graph.ops:
        if isinstance(op, ir.Flatten):
            root[op.y] = root[op.x]
    uses = dict.fromkeys(graph.tensors, 0)
    for op in graph.ops:
        if not isinstance(op, ir.Flatten):
            for name in ir.op_inputs(op):
                uses[root[name]] += 1
    for name in graph.outputs:
        uses[root[name]] += 1
    return uses


def _position(order: list[str], view: View) -> int:
    return order.index(view.map) if view.map in order else -1


def _ungrouped(weight: kernels.Int8Array, groups: int) -> kernels.Int8Array:
    """The dense kernel [O, I, kh, kw] of a grouped one."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], groups * inputs, *weight.shape[2:]), np.int8)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * inputs : (group + 1) * inputs] = weight[rows]
    return dense


def _unflattened(
    where: str, op: ir.Conv2d, source: ir.Shape, target: ir.Shape
) -> kernels.Int8Array:
    """The kernel [O, C, H, W] that a linear layer behind a Flatten applies to the map before it."""
    if target[1:] != (1, 1):
        raise UnsupportedOpError(
            f"{where} makes a map of {target[1:]} of a flattened one; a linear layer is accepted"
        )
    weight = _ungrouped(op.weight, op.groups)
    at = kernels.geometry(where, op.window, (1, 1), (1, 1))
    if not at.rows or not at.columns:
        return np.zeros((target[0], *source), np.int8)
    (ky,), (kx,) = at.rows, at.columns
    return weight[:, :, ky, kx].reshape(target[0], *source)
