"""The order of instructions, and what each does: LOADs, CALCs and SAVEs with all their addresses.

The order is one in which the instructions could run one by one; ``order`` then adds the tokens and
fences with which they run at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import MapLayout
from codesign.compiler.allocate import Key, Lives, Place, key
from codesign.compiler.by_line import Run, run_fields, runs, source_pixel
from codesign.compiler.layout import Storage, grid_width
from codesign.compiler.network import PLAIN, Block, Layer, Network
from codesign.compiler.resident import Resident
from codesign.compiler.tile import Pass, Tile, groups, tiles, whole
from codesign.compiler.transfers import Buffer, Rows, Transfers, contiguous
from codesign.isa import Base, Opcode, Target

_SMALL_SAVE = 64
"""Beats below which a map is saved in one go: every SAVE waits for its own write response."""


@dataclass(frozen=True)
class Step:
    """An instruction without tokens and fence; ``what`` it is about, for messages; ``at`` is the
    index of the pass it computes or saves, None where it does neither."""

    opcode: Opcode
    what: str
    values: Mapping[str, int]
    at: int | None = None


@dataclass(frozen=True)
class Plan:
    """Everything decided before the schedule."""

    network: Network
    arch: Arch
    storages: Mapping[str, Storage]
    passes: tuple[Pass, ...]
    lives: Lives
    places: Mapping[Key, Place]
    resident: Resident

    def place(self, tensor: str, sample: int | None) -> Place:
        return self.places[key(self.network, tensor, sample)]


@dataclass(frozen=True)
class Buffers:
    """Sizes of the DRAM buffers, and the layouts of the maps in them."""

    sizes: Mapping[Base, int]
    inputs: tuple[MapLayout, ...]
    outputs: tuple[MapLayout, ...]
    tensors: Mapping[str, MapLayout]


def buffers(plan: Plan, graph: ir.Graph, keep_tensors: bool) -> Buffers:
    """Lay out inputs and outputs, and for ``keep_tensors`` every map that a layer writes."""
    network, storages = plan.network, plan.storages
    of = {base: Buffer(plan.arch, base) for base in (Base.INPUT, Base.OUTPUT, Base.SCRATCH)}
    inputs = [
        of[Base.INPUT].add(
            network, storages[name], graph.tensors[name], graph.tensors[name].shape,
            network.folds.get(name, PLAIN), network.fold_steps.get(name, (1, 1)),
        )
        for name in network.inputs
    ]  # fmt: skip
    outputs = [
        of[Base.OUTPUT].add(
            network, storages[at.tensor], graph.tensors[at.name], network.shapes[at.tensor],
            saved=True,
        )
        for at in network.outputs
    ]  # fmt: skip
    tensors = {
        layer.target: of[Base.SCRATCH].add(
            network, storages[layer.target], graph.tensors[layer.target],
            network.shapes[layer.target], saved=True,
        )
        for layer in network.layers
        if keep_tensors and layer.target not in network.split_copies
    }  # fmt: skip
    sizes = {base: buffer.size for base, buffer in of.items()}
    return Buffers(sizes, tuple(inputs), tuple(outputs), tensors)


def schedule(plan: Plan, layouts: Buffers) -> tuple[Step, ...]:
    """All steps of part ``infer`` but BEGIN and END."""
    return tuple(_Schedule(plan, layouts).steps())


@dataclass
class _Schedule:
    plan: Plan
    layouts: Buffers
    loaded: dict[Key, int] = field(default_factory=dict)
    """Source lines of each input that have been asked for."""

    def steps(self) -> Iterator[Step]:
        plan = self.plan
        if not plan.passes:
            for name in plan.lives.loads:
                yield from self._load(name, plan.storages[name[0]].lines)
        for index, at in enumerate(plan.passes):
            cuts = self._tiles(index, at)
            yield from self._begin_loads(index, cuts)
            for number, tile in enumerate(cuts):
                if self._loading(index, at):  # one tile ahead of the one computed
                    yield from self._load_tiles(at, cuts[number : number + 2])
                if number + 2 >= len(cuts):
                    yield from self._load_due(index)
                for block_number, block in enumerate(at.layer.blocks):
                    for values in self._calcs(at, tile, block_number, block):
                        yield Step(Opcode.CALC, at.layer.where, values, index)
                    yield from self._save_lines(index, tile, block)
            yield from self._save_pass(index)
        yield from self._save_inputs()

    # --- LOAD --------------------------------------------------------------------------------
    def _loading(self, index: int, at: Pass) -> bool:
        """The pass's source is loaded just before it, and line by line."""
        network, name = self.plan.network, at.layer.source
        loads = self.plan.lives.loads.get(key(network, name, at.sample))
        return loads == index and not network.is_vector(name)

    def _tiles(self, index: int, at: Pass) -> tuple[Tile, ...]:
        """Row tiles where that hides a transfer, else the whole layer."""
        plan = self.plan
        loading, saving = self._loading(index, at), self._saved_by_lines(at)
        if not loading and not saving:
            return (whole(plan.network, plan.storages, at.layer),)
        return tiles(
            plan.network, plan.arch, plan.storages, at.layer, loading=loading, saving=saving
        )

    def _begin_loads(self, index: int, cuts: tuple[Tile, ...]) -> Iterator[Step]:
        """What a pass needs to begin: the lines of its first tile, and other maps whole."""
        plan = self.plan
        at = plan.passes[index]
        if self._loading(index, at):
            yield from self._load_tiles(at, cuts[:1])
        for tensor in at.layer.reads:
            name = key(plan.network, tensor, at.sample)
            if plan.lives.loads.get(name) == index and name not in self.loaded:
                yield from self._load(name, plan.storages[tensor].lines)

    def _load_due(self, index: int) -> Iterator[Step]:
        """Maps that later passes need, and that may be loaded from this pass on."""
        for name, load in self.plan.lives.loads.items():
            if load == index:
                yield from self._load(name, self.plan.storages[name[0]].lines)

    def _load_tiles(self, at: Pass, cuts: tuple[Tile, ...]) -> Iterator[Step]:
        name = key(self.plan.network, at.layer.source, at.sample)
        for tile in cuts:
            yield from self._load(name, tile.source_last)

    def _load(self, name: Key, last: int) -> Iterator[Step]:
        first = self.loaded.get(name, 0)
        if last > first:
            self.loaded[name] = last
            number = self.plan.network.inputs.index(name[0])
            transfers = self._transfers(name, Base.INPUT, self.layouts.inputs[number])
            for rows in transfers.load(first, last):
                values = {"target": int(Target.ACT), **rows.values(self.plan.arch)}
                yield Step(Opcode.LOAD, f"input {name[0]!r}", values)

    def _transfers(self, name: Key, base: Base, layout: MapLayout) -> Transfers:
        plan = self.plan
        storage, place = plan.storages[name[0]], plan.places[name]
        return Transfers(plan.arch, storage, place, base, layout, name[1])

    # --- CALC --------------------------------------------------------------------------------
    def _calcs(self, at: Pass, tile: Tile, number: int, block: Block) -> Iterator[dict[str, int]]:
        if not at.layer.step:
            if tile.first < self.plan.network.grid(at.layer, block)[0]:  # others have a line more
                yield self._calc(at, tile, number, block)
            return
        width = self.plan.network.shapes[at.layer.target][2]
        for run in runs(self.plan.arch, at.layer, block, (tile.first, tile.last), width):
            yield self._calc(at, replace(tile, first=run.line), number, block, run)

    def _calc(
        self, at: Pass, tile: Tile, number: int, block: Block, run: Run | None = None
    ) -> dict[str, int]:
        plan, layer = self.plan, at.layer
        network, lanes = plan.network, plan.arch.pixels
        source = plan.storages[layer.source]
        together = network.together(layer)
        pitch = grid_width(network, plan.arch, plan.storages, layer)
        height, columns = (1, network.batch) if together else network.grid(layer, block)
        last = min(tile.last, height)
        origin = plan.place(layer.source, at.sample)
        first = (origin.row + block.source_plane * source.plane_rows) * lanes
        first += source_pixel(layer, run, source, 0) if run else tile.first * pitch
        in_width = source.columns
        if network.is_vector(layer.source) and not together:
            first += at.sample or 0
            in_width = 1
        row, bank = divmod(first, lanes)
        where = plan.resident.addresses[layer.name, number]
        values = {
            "mode": int(layer.mode),
            "groups": groups(plan.arch, last - tile.first, columns, pitch),
            "taps": len(block.taps), "tap_base": where.taps[run] if run else where.tap,
            "wgt_base": where.wgt,
            "src_region": origin.region, "src_bank": bank,
            "src_row": row, "grid_width": pitch, "in_height": source.lines, "in_width": in_width,
            "y_start": tile.first, "pad": layer.pad, "out_height": last,
            "out_width": columns, "planes": block.planes, "param_base": where.param,
            "zero_point": layer.zero_point, "low": layer.low, "high": layer.high,
            "table": int(layer.table is not None), "table_id": where.table,
            **self._map("dst", layer, layer.target, at.sample, tile.first, block, run),
        }  # fmt: skip
        if run:
            values |= run_fields(run, plan.arch, network.shapes[layer.source][2])
        return values | self._residual(layer, at.sample, tile.first, block, run)

    def _residual(
        self, layer: Layer, sample: int | None, line: int, block: Block, run: Run | None
    ) -> dict[str, int]:
        residual = layer.residual
        if residual is None:
            return {}
        return {
            "residual": 1,
            "res_zero_point": residual.res_zero_point,
            "out_zero_point": residual.out_zero_point,
            "acc_multiplier": residual.acc_multiplier,
            "res_multiplier": residual.res_multiplier,
            "add_shift": residual.add_shift,
            **self._map("res", layer, residual.tensor, sample, line, block, run),
        }

    def _map(
        self, prefix: str, layer: Layer, tensor: str, sample: int | None, line: int, block: Block,
        run: Run | None,
    ) -> dict[str, int]:  # fmt: skip
        """Destination or residual fields: the block's planes of a map from a grid line on, the
        phase plane that the block makes or the four that CALC splits it into; or of the pixels of
        a run."""
        plan, lanes = self.plan, self.plan.arch.pixels
        storage, place = plan.storages[tensor], plan.place(tensor, sample)
        split = storage.factor > layer.out_stride
        lines = line // 2 if split else line
        first = (place.row + block.plane * storage.plane_rows) * lanes + lines * storage.pitch
        if storage.split:
            first += storage.phase_pixel(storage.phase(*block.phase), lanes)
        if plan.network.is_vector(tensor):
            first += sample or 0
        row, bank = divmod(first + (run.column if run else 0), lanes)
        pitch_row, pitch_bank = divmod(run.every if run else storage.pitch, lanes)
        return {
            f"{prefix}_region": place.region, f"{prefix}_bank": bank, f"{prefix}_row": row,
            f"{prefix}_pitch_bank": pitch_bank, f"{prefix}_pitch_row": pitch_row,
            f"{prefix}_split": int(split), f"{prefix}_phase_rows": storage.phase_rows,
            f"{prefix}_plane_rows": storage.plane_rows,
        }  # fmt: skip

    # --- SAVE --------------------------------------------------------------------------------
    def _saved_by_lines(self, at: Pass) -> bool:
        """The pass's result is an output large enough to be saved while the pass runs: a SAVE waits
        for its own write response, so that many small ones take longer than one."""
        plan = self.plan
        storage = plan.storages[at.layer.target]
        beats = storage.lines * storage.pitch * plan.arch.act_word_bytes // plan.arch.beat_bytes
        return (
            any(output.tensor == at.layer.target for output in plan.network.outputs)
            and not plan.network.is_vector(at.layer.target)
            and not at.layer.step
            and not storage.split
            and contiguous(storage)
            and beats >= _SMALL_SAVE
        )

    def _save_lines(self, index: int, tile: Tile, block: Block) -> Iterator[Step]:
        at = self.plan.passes[index]
        if self._saved_by_lines(at):
            for transfers in self._outputs(key(self.plan.network, at.layer.target, at.sample)):
                rows = transfers.save_lines(block.plane, block.planes, tile.first, tile.last)
                yield self._save_step(transfers, rows, index)

    def _save_pass(self, index: int) -> Iterator[Step]:
        """What has not been saved line by line."""
        plan = self.plan
        at = plan.passes[index]
        name = key(plan.network, at.layer.target, at.sample)
        if name[1] is None and at.sample not in (None, plan.network.batch - 1):
            return  # a later sample completes this map
        if not self._saved_by_lines(at):
            for transfers in self._outputs(name):
                yield from self._save(transfers, index)
        if name[0] in self.layouts.tensors:
            layout = self.layouts.tensors[name[0]]
            yield from self._save(self._transfers(name, Base.SCRATCH, layout), index)

    def _save_inputs(self) -> Iterator[Step]:
        """Network outputs that are inputs as they are."""
        for name in self.plan.lives.loads:
            for transfers in self._outputs(name):
                yield from self._save(transfers, None)

    def _outputs(self, name: Key) -> Iterator[Transfers]:
        """Where a map goes as output of the network."""
        for output, layout in zip(self.plan.network.outputs, self.layouts.outputs, strict=True):
            if output.tensor == name[0]:
                yield self._transfers(name, Base.OUTPUT, layout)

    def _save(self, transfers: Transfers, index: int | None) -> Iterator[Step]:
        for rows in transfers.save():
            yield self._save_step(transfers, rows, index)

    def _save_step(self, transfers: Transfers, rows: Rows, index: int | None) -> Step:
        what = f"tensor {transfers.layout.name!r}"
        return Step(Opcode.SAVE, what, rows.values(self.plan.arch), index)
