"""From operations to layers: what the pipeline computes in one pass, with adds and tables fused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.arch import Arch
from codesign.arith import INT8_MIN, add_requantized, saturate
from codesign.compiler import fold, kernels
from codesign.compiler.fold import Folding
from codesign.compiler.network import PLAIN, Block, Fold, Layer, Network, Output, Residual
from codesign.errors import UnsupportedOpError
from codesign.isa import Mode


@dataclass(frozen=True)
class View:
    """The map that holds a tensor; ``flat``: the tensor is that map flattened; ``factor``: it is
    that map upsampled."""

    map: str
    flat: bool
    factor: ir.Pair = (1, 1)

    @property
    def plain(self) -> bool:
        return self.factor == (1, 1)


def lower(graph: ir.Graph, arch: Arch, *, folding: bool = True) -> Network:
    """Lower a verified graph; without ``folding`` the host folds no input.

    Raises
    ------
    UnsupportedOpError
        An operation that the machine has no way to execute.
    CapacityError
        A kernel with more taps, or larger sums, than the machine takes.
    """
    lowering = _Lowering(graph, arch, folding)
    for op in graph.ops:
        lowering.add(op)
    outputs = tuple(Output(name, lowering.whole(name).map) for name in graph.outputs)
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

    def __init__(self, graph: ir.Graph, arch: Arch, folding: bool) -> None:
        self.graph, self.arch, self.folding = graph, arch, folding
        self.views = {name: View(name, False) for name in graph.inputs}
        self.shapes = {name: graph.tensors[name].shape for name in graph.inputs}
        self.layers: dict[str, Layer] = {}
        self.folds: dict[str, Fold] = {}
        self.fold_steps: dict[str, ir.Pair] = {}
        self.uses = _uses(graph)
        self.upsamples = {op.y: op for op in graph.ops if isinstance(op, ir.Upsample)}

    def where(self, op: ir.Op) -> str:
        origin = self.graph.origin.get(op.name)
        place = f" at {origin}" if origin and origin != op.name else ""
        return f"{type(op).__name__} {op.name!r}{place}"

    def zero(self, tensor: str) -> int:
        return self.graph.tensors[tensor].zero_point

    def add(self, op: ir.Op) -> None:
        if isinstance(op, ir.Flatten):
            view = self.whole(op.x)
            self.views[op.y] = View(view.map, self.shapes[view.map][1:] != (1, 1))
        elif isinstance(op, ir.Upsample):
            self._upsample(op)
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

    # --- upsampled maps ----------------------------------------------------------------------
    def _upsample(self, op: ir.Upsample) -> None:
        """Nothing is computed: windows that read the tensor take their taps from the map itself."""
        view = self.views[op.x]
        if view.flat:
            raise UnsupportedOpError(f"{self.where(op)} reads a flattened map; upsample before")
        y, x = (a * b for a, b in zip(view.factor, op.factor, strict=True))
        self.views[op.y] = View(view.map, False, (y, x))

    def whole(self, tensor: str) -> View:
        """The view of a map with every pixel in memory: a layer copies what is upsampled."""
        view = self.views[tensor]
        if view.plain:
            return view
        op, zero = self.upsamples[tensor], self.zero(tensor)
        where, target = self.where(op), self.graph.tensors[tensor].shape
        source = self.shapes[view.map][1:]
        at = kernels.geometry(where, ir.Window((1, 1)), source, target[1:], view.factor)
        copy = copy_layer(self.arch, op.name, where, view.map, tensor, target[0], zero)
        blocks = tuple(replace(block, phase=at) for at in at.phases for block in copy.blocks)
        self._put(op, replace(copy, op="Upsample", blocks=blocks, out_stride=at.out_stride), target)
        return self.views[tensor]

    # --- windows -----------------------------------------------------------------------------
    def _conv(self, op: ir.Conv2d) -> None:
        transposed = op.window.base_dilation != (1, 1)
        view, where = self.whole(op.x) if transposed else self.views[op.x], self.where(op)
        source, target = self.shapes[view.map], self.graph.tensors[op.y].shape
        weight, window = op.weight, op.window
        if view.flat:
            weight, window = _unflattened(where, op, source, target), ir.Window(source[1:])
        elif op.groups > 1:
            weight = _ungrouped(op.weight, op.groups)
        at = kernels.geometry(where, window, source[1:], target[1:], view.factor)
        step = at.step
        depthwise = not view.flat and 1 < op.groups == source[0] == target[0]
        blocks: list[Block] = []
        for phase in at.phases:
            if depthwise:
                found = self._depthwise(op, at, phase)
            else:
                folding = self._folding(op, at, phase, source)
                found = self._dense(op, at, phase, weight, folding)
                self._refold(view.map, folding)
                step = None if folding.step == at.step else step
            blocks += [replace(block, phase=phase) for block in found]
        layer = Layer(
            op.name, where, "Conv2d", view.map, op.y, Mode.DEPTHWISE if depthwise else Mode.DENSE,
            at.stride, self.zero(op.x), tuple(blocks), self.zero(op.y), op.low, op.high,
            macs=ir.macs(self.graph, op), out_stride=at.out_stride, step=step,
        )  # fmt: skip
        self._put(op, layer, target)

    def _depthwise(self, op: ir.Conv2d, at: kernels.Geometry, phase: ir.Pair) -> tuple[Block, ...]:
        positions = kernels.depthwise_positions(op.weight[:, 0], at, phase)
        positions = positions or _no_taps(len(op.weight))
        post = self._post(op, np.asarray(sum(positions.values())))
        return kernels.depthwise(self.where(op), self.arch, positions, post)

    def _dense(
        self,
        op: ir.Conv2d,
        at: kernels.Geometry,
        phase: ir.Pair,
        weight: kernels.Int8Array,
        folding: Folding,
    ) -> tuple[Block, ...]:
        outputs, inputs = weight.shape[0], weight.shape[1] * len(folding.fold)
        positions = kernels.dense_positions(weight, at, phase, folding) or {
            (0, 0): np.zeros((outputs, inputs), np.int64)
        }
        total = sum(w.sum(axis=1) for w in positions.values())
        post = self._post(op, np.asarray(total))
        return kernels.dense(self.where(op), self.arch, positions, (outputs, inputs), post)

    def _post(self, op: ir.Conv2d, total: kernels.IntArray) -> kernels.Requantisation:
        """Of a convolution whose weights add up to ``total`` [O]."""
        bias, multiplier, shift, twice = (
            values.astype(np.int64)
            for values in (op.bias, op.multiplier, op.shift, op.twice_channels)
        )
        return kernels.Requantisation(bias - self.zero(op.x) * total, multiplier, shift, twice)

    def _folding(
        self, op: ir.Conv2d, at: kernels.Geometry, phase: ir.Pair, source: ir.Shape
    ) -> Folding:
        view, axes = self.views[op.x], at.axes(phase)
        foldable = view.map in self.graph.inputs and self.uses[view.map] == 1 and op.groups == 1
        if not (self.folding and foldable) or view.flat or not view.plain or at.out_stride > 1:
            return fold.plain(*axes)
        grain = self.arch.in_channels, self.arch.drain_steps
        return fold.choose(axes, op.window.dilation, at.step, source, grain)

    def _refold(self, source: str, folding: Folding) -> None:
        if folding.fold != PLAIN:
            channels = self.shapes[source][0]
            self.folds[source] = folding.fold
            self.fold_steps[source] = folding.step
            size = folding.size(self.shapes[source])
            self.shapes[source] = (channels * len(folding.fold), *size)

    def _pool(self, op: ir.MaxPool2d | ir.AvgPool2d) -> None:
        where = self.where(op)
        if self.views[op.x].flat:
            raise UnsupportedOpError(f"{where} pools a flattened map; pool before flattening")
        view, at = self._windowed(op, self.views[op.x])
        if at.padding_alone and not view.plain:  # for some phases, and all are of one mode
            view, at = self._windowed(op, self.whole(op.x))
        blocks: list[Block] = []
        for phase in at.phases:
            if isinstance(op, ir.AvgPool2d):
                found = self._averages(op, at, phase)
            else:
                found = self._maxima(op, at, phase)
            blocks += [replace(block, phase=phase) for block in found]
        average = isinstance(op, ir.AvgPool2d)
        layer = Layer(
            op.name, where, type(op).__name__, view.map, op.y,
            Mode.DEPTHWISE if average or at.padding_alone else Mode.MAX, at.stride,
            self.zero(op.x) if average else INT8_MIN, tuple(blocks), self.zero(op.y),
            out_stride=at.out_stride, step=at.step,
        )  # fmt: skip
        if isinstance(op, ir.AvgPool2d):
            layer = replace(layer, low=op.low, high=op.high)
        self._put(op, layer, self.graph.tensors[op.y].shape)

    def _windowed(
        self, op: ir.MaxPool2d | ir.AvgPool2d, view: View
    ) -> tuple[View, kernels.Geometry]:
        """The window on a map, by line where its means count different numbers of pixels."""
        by_line = isinstance(op, ir.AvgPool2d) and bool(np.ptp(self._counts(op)))
        if by_line:
            view = self.whole(op.x)
        source, target = self.shapes[view.map][1:], self.graph.tensors[op.y].shape[1:]
        where = self.where(op)
        return view, kernels.geometry(where, op.window, source, target, view.factor, by_line)

    def _counts(self, op: ir.AvgPool2d) -> npt.NDArray[np.int64]:
        """Pixels that each window counts."""
        return ir.counts(op.window, op.counted, self.graph.tensors[op.x].shape)

    def _averages(
        self, op: ir.AvgPool2d, at: kernels.Geometry, phase: ir.Pair
    ) -> tuple[Block, ...]:
        channels, counts = self.graph.tensors[op.y].shape[0], self._counts(op)
        ones = np.ones((channels, *op.window.kernel), np.int8)
        positions = kernels.depthwise_positions(ones, at, phase) or _no_taps(channels)
        full, total = np.ones(channels, np.int64), np.asarray(sum(positions.values()))
        by_count = {}
        for count in np.unique(counts).tolist():
            multiplier, shift = op.part(count)
            post = kernels.Requantisation(
                -self.zero(op.x) * total, multiplier * full, shift * full, 0 * full
            )
            by_count[count] = kernels.depthwise(self.where(op), self.arch, positions, post)
        return kernels.patches(counts, by_count)

    def _maxima(self, op: ir.MaxPool2d, at: kernels.Geometry, phase: ir.Pair) -> tuple[Block, ...]:
        channels, where = self.graph.tensors[op.y].shape[0], self.where(op)
        rows, columns = at.rows[phase[0]].values(), at.columns[phase[1]].values()
        offsets = dict.fromkeys((y, x) for y in rows for x in columns)
        post = kernels.identity(self.zero(op.y), channels)
        if not offsets:  # the maximum of padding alone
            post = post._replace(bias=post.bias + INT8_MIN)
            return kernels.depthwise(where, self.arch, _no_taps(channels), post)
        return kernels.maximum(where, self.arch, list(offsets), post)

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
        view = self.whole(op.x)
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
        a, b = self.whole(op.a), self.whole(op.b)
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
    blocks = kernels.depthwise(where, arch, {(0, 0): np.ones(channels, np.int64)}, post)
    return Layer(
        name, where, "Copy", source, target, Mode.DEPTHWISE, 1, zero_point, blocks, zero_point
    )


def _no_taps(channels: int) -> dict[kernels.Offset, kernels.IntArray]:
    """The depthwise kernel of a window that never meets the map: a sum of nothing."""
    return {(0, 0): np.zeros(channels, np.int64)}


def _uses(graph: ir.Graph) -> dict[str, int]:
    """How often each tensor is read, through flattens and upsamplings too, being a network output
    included."""
    uses = dict.fromkeys(graph.tensors, 0)
    for name in graph.outputs:
        uses[name] += 1
    for op in reversed(graph.ops):
        moved = isinstance(op, ir.Flatten | ir.Upsample)
        for name in ir.op_inputs(op):
            uses[name] += uses[op.y] if moved else 1
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
    if not at.rows[0] or not at.columns[0]:
        return np.zeros((target[0], *source), np.int8)
    (ky,), (kx,) = at.rows[0], at.columns[0]
    return weight[:, :, ky, kx].reshape(target[0], *source)
