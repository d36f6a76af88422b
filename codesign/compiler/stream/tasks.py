"""The work of all groups in order: CALCs one after another, the LOADs that each of them needs
first, the SAVEs that follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from codesign.arch import Arch
from codesign.compiler.by_line import Run, run_taps, runs
from codesign.compiler.layout import grid_width
from codesign.compiler.network import Block, Layer, Network
from codesign.compiler.resident import parameter_words, tap_words, weight_words
from codesign.compiler.schedule import Step
from codesign.compiler.stream.buffers import Buffer, Placement
from codesign.compiler.stream.dram import Homes, StripTransfers
from codesign.compiler.stream.fields import Slot, calc_fields
from codesign.compiler.stream.rings import Image, Ring
from codesign.compiler.stream.work import Lines, Strip, Work
from codesign.compiler.transfers import Rows, aligned
from codesign.cost.cycles import calc_slots, load_cycles, save_cycles
from codesign.isa import Base, Opcode, Target

_LOAD_WORDS = 1024
"""About the words that one LOAD of a map moves, and..."""
SAVE_BEATS = 64
"""... the beats that a SAVE moves at least: it waits for its own write response."""


@dataclass(frozen=True, eq=False)
class Group:
    """A decision: how a group of layers runs. ``by_block``: for so many samples at once, all strips
    for a block before the next block; 0 for one strip after another."""

    work: Work
    strips: tuple[Strip, ...]
    buffers: tuple[Buffer, ...]
    places: Placement
    by_block: int


@dataclass(frozen=True)
class StreamStep(Step):
    """``taps``: the entries that a CALC finds in TAP."""

    taps: bytes = b""


@dataclass
class Task:
    """A step and its place in time. ``after_calc``, ``after_save``: numbers of the CALC and the
    SAVE that must be complete; ``deadline`` of a LOAD: the CALC that needs it."""

    step: StreamStep
    cycles: int
    after_calc: int = -1
    after_save: int = -1
    deadline: int = 0


@dataclass
class Tasks:
    calcs: list[Task] = field(default_factory=list)
    loads: list[Task] = field(default_factory=list)
    saves: list[Task] = field(default_factory=list)
    tables: bytearray = field(default_factory=bytearray)
    layers: list[tuple[Layer, int]] = field(default_factory=list)
    """What ``Step.at`` counts: layers, each with the number of its panel."""


def tasks(
    network: Network, arch: Arch, groups: Sequence[Group], homes: Homes
) -> tuple[Tasks, bytes]:
    """All tasks, and the contents of the rings as they lie behind the instructions."""
    maker = _Maker(network, arch, homes)
    for group in groups:
        maker.add(group)
    return maker.finish(), bytes(maker.image.data)


@dataclass
class _Maker:
    network: Network
    arch: Arch
    homes: Homes
    image: Image = field(default_factory=Image)
    out: Tasks = field(default_factory=Tasks)

    def __post_init__(self) -> None:
        self.rings = {
            target: Ring(self.arch, target, self.image)
            for target in (Target.WGT, Target.PARAM, Target.TAP)
        }
        shape = self.arch.regions, self.arch.act_depth
        self.calc_of_row = np.full(shape, -1, np.int64)
        self.save_of_row = np.full(shape, -1, np.int64)
        self.save_of_line: dict[tuple[str, int], np.typing.NDArray[np.int64]] = {}
        self.tables: dict[bytes, int] = {}

    def add(self, group: Group) -> None:
        _GroupMaker(self, group).run()

    def finish(self) -> Tasks:
        for target, ring in self.rings.items():
            for fill in ring.fills:
                values = {
                    "target": int(target), "base": int(Base.PROGRAM), "offset": fill.offset,
                    "rows": 1, "words": fill.words, "address": fill.address,
                }  # fmt: skip
                step = StreamStep(Opcode.LOAD, f"{target.name} words", values)
                beats = -(-fill.words * ring.word_bytes // self.arch.beat_bytes)
                self.out.loads.append(Task(step, beats + 8, fill.after, deadline=fill.deadline))
        return self.out

    def table(self, contents: bytes | None) -> int:
        if contents is None:
            return 0
        if contents not in self.tables:
            self.tables[contents] = len(self.tables)
            self.out.tables += contents
        return self.tables[contents]


@dataclass(frozen=True)
class _Instance:
    """A strip of a sample; ``copy`` of the buffers that it uses."""

    number: int
    sample: int
    strip: Strip
    copies: Mapping[str, int]


class _GroupMaker:
    def __init__(self, maker: _Maker, group: Group) -> None:
        self.maker, self.group, self.work = maker, group, group.work
        self.buffers = {at.name: at for at in group.buffers}
        self.together = group.work.network.together(group.work.layers[0])
        self.ready: dict[tuple[str, int], int] = {}
        """Planes of an external map that have been asked for, by instance."""
        self.pending: dict[tuple[str, int], int] = {}
        """First plane of a saved map that has not been saved, by instance."""
        self.saved: dict[tuple[str, int], int] = {}
        """Lines of a saved map that earlier strips have saved, by sample."""
        self.taps: dict[tuple[object, ...], bytes] = {}
        base = len(maker.out.layers)
        maker.out.layers += [(layer, group.work.panel) for layer in group.work.layers]
        self.numbers = {layer.name: base + i for i, layer in enumerate(group.work.layers)}

    def run(self) -> None:
        samples = range(1 if self.together else self.maker.network.batch)
        strips, buffers = self.group.strips, self.group.buffers
        instances = [
            _Instance(number, sample, strip, {at.name: number % at.copies for at in buffers})
            for number, (sample, strip) in enumerate(product(samples, strips))
        ]
        if self.group.by_block:
            (layer,) = self.work.layers
            for first in samples[:: self.group.by_block]:
                mine = [at for at in instances if 0 <= at.sample - first < self.group.by_block]
                for number in range(len(layer.blocks)):
                    for at in mine:
                        self._calc(at, layer, number)
            return
        for at in instances:
            for layer, number in self._order():
                if layer.target in at.strip:
                    self._calc(at, layer, number)

    def _order(self) -> Iterator[tuple[Layer, int]]:
        """Blocks of the layers; two layers that pass planes on take turns, the second one block
        behind, so that it need not wait for the first one's results."""
        layers = list(self.work.layers)
        while layers:
            layer = layers.pop(0)
            if layer.target not in self.work.passing:
                yield from ((layer, number) for number in range(len(layer.blocks)))
                continue
            after = layers.pop(0)
            done = ready = 0
            for number, block in enumerate(layer.blocks):
                yield layer, number
                while done < len(after.blocks) and after.blocks[done].plane < ready:
                    yield after, done
                    done += 1
                ready = block.plane + block.planes
            yield from ((after, number) for number in range(done, len(after.blocks)))

    def _slot(self, at: _Instance, name: str) -> Slot:
        copy = at.copies[name]
        return Slot(self.buffers[name], self.group.places[name, copy], at.strip[name])

    # --- CALC --------------------------------------------------------------------------------
    def _calc(self, at: _Instance, layer: Layer, number: int) -> None:
        """All CALCs of a block, and the SAVE of planes that are then complete."""
        block, arch = layer.blocks[number], self.maker.arch
        target = self._slot(at, layer.target)
        if layer.step:
            width = self.work.network.shapes[layer.target][2]
            for run in runs(arch, layer, block, target.lines, width):
                self._issue(at, layer, block, run)
        else:
            self._issue(at, layer, block, None)
        after = layer.blocks[number + 1 : number + 2]
        complete = not after or after[0].plane != block.plane
        if layer.target in self.work.saved and complete:
            self._save(at, layer, number, target, len(self.maker.out.calcs) - 1)

    def _issue(self, at: _Instance, layer: Layer, block: Block, run: Run | None) -> None:
        maker, work = self.maker, self.work
        calc = len(maker.out.calcs)
        source, target = self._slot(at, layer.source), self._slot(at, layer.target)
        residual = self._slot(at, layer.residual.tensor) if layer.residual else None
        planes = {tap.plane for tap in block.taps}
        reads = [(layer.source, source, min(planes), max(planes) + 1)]
        if layer.residual and residual:
            reads.append((layer.residual.tensor, residual, block.plane, block.plane + block.planes))
        for name, slot, first, last in reads:
            if name in work.external:
                self._load(at, slot, first, last, calc)
        taps = self._tap_words(layer, block, run)
        where = layer.where
        values = calc_fields(work, layer, block, source, target, residual, run) | {
            "wgt_base": maker.rings[Target.WGT].need(
                weight_words(maker.arch, layer.mode, block), calc, where
            ),
            "param_base": maker.rings[Target.PARAM].need(parameter_words([block])[0], calc, where),
            "tap_base": maker.rings[Target.TAP].need(taps, calc, where),
            "table": int(layer.table is not None), "table_id": maker.table(layer.table),
        }  # fmt: skip
        step = StreamStep(Opcode.CALC, where, values, self.numbers[layer.name], taps)
        task = Task(step, calc_slots(maker.arch, values["groups"], len(block.taps)), calc - 1)
        accesses = [*reads, (layer.target, target, block.plane, block.plane + block.planes)]
        for _, slot, first, last in accesses:
            for begin, end in slot.rows(first, last):
                region = slot.place.region
                if slot is target:
                    task.after_save = max(
                        task.after_save, int(maker.save_of_row[region, begin:end].max())
                    )
                maker.calc_of_row[region, begin:end] = calc
        maker.out.calcs.append(task)

    def _tap_words(self, layer: Layer, block: Block, run: Run | None) -> bytes:
        base = block.source_plane
        shape = layer.name, *((tap.oy, tap.ox, tap.plane - base) for tap in block.taps)
        known = (shape, run and (run.line, run.phase))
        if known not in self.taps:
            work, source = self.work, self.buffers[layer.source].storage
            if run:
                words = run_taps(work.arch, layer, block, run, source)
            else:
                geometry = {**work.storages, layer.source: source}
                pitch = grid_width(work.network, work.arch, geometry, layer)
                words = tap_words(work.arch, source, pitch, layer, block)
            self.taps[known] = words.tobytes().ljust(aligned(words.nbytes), b"\0")
        return self.taps[known]

    # --- LOAD --------------------------------------------------------------------------------
    def _load(self, at: _Instance, slot: Slot, first: int, last: int, calc: int) -> None:
        """Ask for planes of an external map up to ``last``, in pieces; where a few planes at a time
        are kept for no more than half of those ahead of ``first``, the first that is read."""
        key, buffer = (slot.buffer.name, at.number), slot.buffer
        done = self.ready.get(key, 0)
        words = (slot.lines[1] - slot.lines[0]) * buffer.storage.pitch
        piece = max(1, _LOAD_WORDS // max(1, words))
        room = buffer.storage.planes
        if buffer.kept < room:
            room = min(room, max(last, first + buffer.kept // 2))
        while done < last:
            end = min(done + piece, room)
            self._load_planes(at, slot, (done, end), calc)
            done = end
        self.ready[key] = done

    def _load_planes(self, at: _Instance, slot: Slot, planes: tuple[int, int], calc: int) -> None:
        maker, name = self.maker, slot.buffer.name
        home = maker.homes.read[name]
        transfers = self._transfers(slot)
        region = slot.place.region
        after_calc = after_save = -1
        for begin, end in slot.rows(*planes):
            after_calc = max(after_calc, int(maker.calc_of_row[region, begin:end].max()))
            after_save = max(after_save, int(maker.save_of_row[region, begin:end].max()))
            maker.calc_of_row[region, begin:end] = calc
        samples = range(maker.network.batch) if self.together else (at.sample,)
        for sample in samples:
            written = maker.save_of_line.get((name, sample))
            if written is not None:
                part = written[slice(*planes), slice(*slot.lines)]
                after_save = max(after_save, int(part.max()))
            pixel = sample if self.together else 0
            for rows in transfers.load(home, sample, pixel, planes, self.work.phases[name]):
                values = {"target": int(Target.ACT), **rows.values(maker.arch)}
                step = StreamStep(Opcode.LOAD, f"map {name!r}", values)
                cycles = load_cycles(maker.arch, rows.rows, rows.words)
                maker.out.loads.append(Task(step, cycles, after_calc, after_save, calc))

    def _transfers(self, slot: Slot) -> StripTransfers:
        return StripTransfers.of(self.work, slot.buffer, slot.place, slot.lines)

    # --- SAVE --------------------------------------------------------------------------------
    def _save(self, at: _Instance, layer: Layer, number: int, slot: Slot, calc: int) -> None:
        """Save the planes that are complete, once they are worth a transfer."""
        maker, name, block = self.maker, layer.target, layer.blocks[number]
        key, last = (name, at.number), block.plane + block.planes
        first = self.pending.get(key, 0)
        begin = max(slot.lines[0], self.saved.get((name, at.sample), 0))
        end = slot.lines[1]
        complete = number + 1 == len(layer.blocks)
        words = (last - first) * (end - begin) * slot.buffer.storage.pitch
        beats = words * maker.arch.act_word_bytes // maker.arch.beat_bytes
        room = slot.buffer.kept - (last - first) < 2 * block.planes
        if complete or beats >= SAVE_BEATS or room:
            self.pending[key] = last
            if end > begin:
                self._save_planes(at, slot, (first, last), (begin, end), calc)
        if complete:
            self._covered(at, name, end)

    def _covered(self, at: _Instance, name: str, end: int) -> None:
        """The strip's lines are saved; the next strip's begin behind them."""
        if not self.group.by_block:
            self.saved[name, at.sample] = max(end, self.saved.get((name, at.sample), 0))

    def _save_planes(
        self, at: _Instance, slot: Slot, planes: tuple[int, int], lines: Lines, calc: int
    ) -> None:
        maker, name = self.maker, slot.buffer.name
        transfers, region = self._transfers(slot), slot.place.region
        samples = range(maker.network.batch) if self.together else (at.sample,)
        for sample in samples:
            for home in maker.homes.written[name]:
                pixel = sample if self.together else 0
                for rows in transfers.save(home, sample, pixel, planes, lines):
                    self._save_step(slot, rows, calc)
            written = maker.save_of_line.setdefault(
                (name, sample),
                np.full((slot.buffer.storage.planes, slot.buffer.storage.height), -1, np.int64),
            )
            written[slice(*planes), slice(*lines)] = len(maker.out.saves) - 1
        for begin, end in slot.rows(*planes):
            maker.save_of_row[region, begin:end] = len(maker.out.saves) - 1

    def _save_step(self, slot: Slot, rows: Rows, calc: int) -> None:
        maker, name = self.maker, slot.buffer.name
        number = maker.out.calcs[calc].step.at
        step = StreamStep(Opcode.SAVE, f"map {name!r}", rows.values(maker.arch), number)
        cycles = save_cycles(maker.arch, rows.rows, rows.words)
        maker.out.saves.append(Task(step, cycles, calc))
