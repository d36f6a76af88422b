"""One run of a network in closed form: layer after layer, for many architectures at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from codesign import latency
from codesign.cost import closed_form_bus as bus
from codesign.cost import closed_form_load as loading
from codesign.cost import closed_form_tiles as tiling
from codesign.cost.archs import Archs
from codesign.cost.closed_form_calc import Calcs, calcs
from codesign.cost.closed_form_fence import Done, Fences
from codesign.cost.closed_form_maps import Place, Places
from codesign.cost.closed_form_memory import Memory, Reason, memory
from codesign.cost.closed_form_stream import streamed, strip_fits
from codesign.cost.layer_shape import BoolArray, IntArray, LayerShape
from codesign.cost.workload import Workload
from codesign.isa import INSTRUCTION_BYTES, Mode
from codesign.reference.timing import Dram


@dataclass(frozen=True, eq=False)
class LayerColumns:
    """A layer's figures, [A] each; ``waited``: cycles of waiting for the bus."""

    layers: IntArray
    compute: IntArray
    active: IntArray
    drained: IntArray
    instructions: IntArray
    read: IntArray
    written: IntArray
    waited: IntArray


@dataclass(frozen=True, eq=False)
class RunColumns:
    """Columns of ``closed_form.Cycles``, of the same names, and what others follow from: cycles in
    which a layer waits for the bus [L, A], bytes of a beat [A]."""

    total: IntArray
    layers: IntArray
    compute: IntArray
    active: IntArray
    drained: IntArray
    instructions: IntArray
    read: IntArray
    written: IntArray
    waited: IntArray
    beat_bytes: IntArray
    resident: BoolArray
    fits: BoolArray
    cause: IntArray
    needed: IntArray
    limit: IntArray


class Run:
    """A run of one sample, layer after layer."""

    def __init__(self, workload: Workload, archs: Archs, dram: Dram) -> None:
        self.workload, self.archs, self.dram = workload, archs, dram
        self.places = Places.plan(workload, archs)
        self.fences = Fences(self.places)
        self.fetch = bus.Fetch(archs, dram)
        none = np.zeros(len(archs), np.int64)
        self.slot = none
        """Where ``order`` counts the next CALC's first slot."""
        self.end = none
        """Where the last CALC's slots end."""
        self.loaded = none
        """The cycle that takes the last word loaded."""
        self.count = none
        """Instructions of the run, about."""
        self.done: dict[str, Done] = {}

    def run(self) -> RunColumns:
        """Every layer, then the way out."""
        works = [calcs(self.places, layer) for layer in self.workload.layers]
        self.count = sum((work.instructions for work in works), self.end + 4)
        rows = [
            self._layer(number, layer, work)
            for number, (layer, work) in enumerate(zip(self.workload.layers, works, strict=True))
        ]
        total = self._total()
        if self.workload.batch > 1:
            alone, rows = rows, [self._batched(at, row) for at, row in enumerate(rows)]
            for before, row in zip(alone, rows, strict=True):
                total = total + row.layers - before.layers
        held = memory(self.places)
        resident = held.too_small == Reason.NONE
        if not resident.all():
            rows = [self._streamed(number, row, resident) for number, row in enumerate(rows)]
            cycles = self.fences.finish(self.end) - self.end
            for row in rows:
                cycles = cycles + row.layers
            total = np.where(resident, total, cycles)
        tables = {
            field.name: np.stack([getattr(row, field.name) for row in rows])
            for field in fields(LayerColumns)
        }
        return RunColumns(
            total=total,
            **tables,
            beat_bytes=self.archs.beat_bytes,
            resident=resident,
            fits=resident | self._streams(held),
            cause=held.too_small,
            needed=held.needed,
            limit=held.limit,
        )

    def _batched(self, number: int, row: LayerColumns) -> LayerColumns:
        """A layer for all samples: those behind the first wait for nothing but the bus."""
        layer, more = self.workload.layers[number], self.workload.batch - 1
        if self.places.together(layer):
            return row
        moved = np.maximum(row.read, row.written) // self.archs.beat_bytes
        cycles = row.layers + more * np.maximum(row.compute, moved)
        each = ("compute", "active", "drained", "instructions", "read", "written")
        grown = {name: getattr(row, name) * (1 + more) for name in each}
        return replace(row, layers=cycles, **grown)

    def _streams(self, held: Memory) -> BoolArray:
        """Whether the network runs with its maps in DRAM."""
        layers = self.workload.layers
        if any(at.out_stride > 1 or at.stride > 2 for at in layers):
            return np.zeros(len(self.archs), np.bool_)
        strips = np.logical_and.reduce([strip_fits(self.places, at) for at in layers])
        never = (held.too_small == Reason.TABLE) | (held.too_small == Reason.ACCUMULATOR)
        return np.asarray(strips & ~never)

    def _streamed(self, number: int, row: LayerColumns, resident: BoolArray) -> LayerColumns:
        """A layer with its maps in DRAM where the network is not resident."""
        layer = self.workload.layers[number]
        pipeline = self.fences.finish(self.end) - self.end
        at = streamed(self.places, layer, calcs(self.places, layer), pipeline)
        read = np.where(resident, row.read, at.read)
        written = np.where(resident, row.written, at.written)
        cycles = np.where(resident, row.layers, at.cycles)
        waited = np.where(resident, row.waited, at.cycles - row.compute)
        return LayerColumns(
            cycles, row.compute, row.active, row.drained, row.instructions, read, written, waited
        )

    def _layer(self, number: int, layer: LayerShape, work: Calcs) -> LayerColumns:
        places, archs = self.places, self.archs
        before, start = self.end, self.end
        slot = self.slot
        writer = self.done.get(layer.source)
        if writer is not None:
            fence = self.fences.needed(layer, work, writer, slot)
            last = self.done[self.workload.layers[number - 1].target]
            slot = np.where(fence, np.maximum(slot, self.fences.results(last) + 1), slot)
            start = start + np.where(fence, self.fences.wait(), 0)
        waited, last_tile = np.zeros_like(before), None
        if layer.source in self.workload.inputs and number == 0:
            cut = self._cut(layer, work)
            last_tile = cut.last
            (self.end, waited), read, count = self._load(layer, work, cut)
        else:
            self.end = self._compute(start, work.instructions, work.slots)
            read, count = np.zeros_like(before), work.instructions
        self.slot = slot + work.slots
        self.done[layer.target] = self.fences.done(layer, work, self.slot, last_tile)
        written = np.zeros_like(before)
        if layer.target in self.workload.outputs:
            written = bus.save_beats(archs, places.of[layer.target]) * archs.beat_bytes
            count = count + 1
        return LayerColumns(
            self.end - before, work.slots, work.active, work.drained, count, read, written, waited
        )

    def _compute(self, start: IntArray, count: IntArray, slots: IntArray) -> IntArray:
        """Where the slots end of instructions that may start in a cycle."""
        least = latency.CALC_ACCEPT + latency.CALC_DECODE
        one = slots // np.maximum(count, 1)
        ready = np.ceil(self.fetch.next).astype(np.int64) + latency.CALC_DECODE
        start = np.maximum(start, ready)
        end = start + np.maximum(slots, (count - 1) * least + one)
        arrived = np.ceil(self.fetch.next + (count - 1) * self.fetch.period).astype(np.int64)
        end = np.maximum(end, arrived + latency.CALC_DECODE + one)
        self.fetch.take(count, start, end)
        return np.asarray(end)

    def _cut(self, layer: LayerShape, work: Calcs) -> tiling.Tiles:
        """Tiles of the first layer."""
        place = self.places.of[layer.source]
        if self.workload.maps[layer.source].is_vector:
            return tiling.whole(place, work.groups)
        return tiling.tiles(self.archs, place, layer, work, work.groups)

    def _load(
        self, layer: LayerShape, work: Calcs, cut: tiling.Tiles
    ) -> tuple[tuple[IntArray, IntArray], IntArray, IntArray]:
        """The first layer: its tiles are loaded one ahead of the one computed."""
        place = self.places.of[layer.source]
        first = self._first(cut, work, place)
        rows = place.planes * place.phases
        self.fetch.next = first.offered.astype(np.float64)
        end = waited = np.zeros(len(self.archs), np.int64)
        single = len(layer.parts) == 1 and not layer.step
        ready = [first.ready[0], first.ready[1]]
        for number, groups in enumerate(cut.groups):
            if number + 1 >= len(ready) and number + 1 < len(cut.groups):
                words, more = cut.lines[number + 1] * place.pitch, work.instructions + 1
                stream = loading.row_cycles(self.archs, words, self.dram) * rows
                behind = loading.tile_cycles(self.archs, place, words, more, self.dram)
                offered = np.ceil(self.fetch.next).astype(np.int64) + loading.lead(self.dram)
                ready.append(np.maximum(ready[-1] + behind, offered + stream))
            used = groups > 0
            slots = groups * work.per_group if single else work.slots
            start = np.maximum(end, ready[number])
            waited = waited + np.where(used, start - end, 0)
            count = np.where(used, work.instructions, 0)
            end = np.where(used, self._compute(start, count, slots), end)
        beats = bus.load_beats(self.archs, place, place.lines)
        return (end, waited), beats * self.archs.beat_bytes, (work.instructions + 1) * cut.count

    def _first(self, cut: tiling.Tiles, work: Calcs, place: Place) -> loading.First:
        """The bus while the first lines are loaded."""
        layers, archs = self.workload.layers, self.archs
        weights = any(layer.mode is not Mode.MAX for layer in layers)
        tables = any(layer.table is not None for layer in layers)
        loads = np.minimum(cut.count, 2) * np.where(place.skew > 0, 2, 1)
        calcs_ahead = latency.QUEUE_DEPTH + 2
        loads = loads + ((cut.count > 2) & (work.instructions < calcs_ahead))
        ahead = 1 + loads + calcs_ahead
        ahead = np.minimum(ahead, self.count - 1)
        most = ahead + latency.FETCH_FIFO_BEATS * archs.beat_bytes // INSTRUCTION_BYTES
        return loading.first_tiles(
            archs,
            place,
            cut,
            4 + weights + tables,
            ahead,
            np.minimum(most, self.count),
            self.dram,
        )

    def _total(self) -> IntArray:
        last = self.workload.layers[-1].target
        ended = self.fences.finish(self.end) + latency.CALC_RETIRE
        if last in self.workload.outputs:
            place = self.places.of[last]
            ended = ended + 1 + bus.save_cycles(self.archs, place, self.dram)
        return np.asarray(ended + latency.END_FLUSH + latency.END_DONE)
