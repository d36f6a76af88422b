"""Maps in DRAM, and the transfers of their strips."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import MapLayout
from codesign.compiler.allocate import Place
from codesign.compiler.layout import PHASES, Storage, plan
from codesign.compiler.network import PLAIN, Network
from codesign.compiler.schedule import Buffers
from codesign.compiler.stream.buffers import Buffer
from codesign.compiler.stream.work import Lines, Work
from codesign.compiler.tile import DRAM_ALIGNMENT
from codesign.compiler.transfers import Rows, aligned, contiguous, split_by_skew
from codesign.isa import Base


@dataclass(frozen=True)
class Home:
    """A map's place in DRAM. A 1 by 1 map has a pixel of its own, at a multiple of what a transfer
    can start at, for every plane and sample."""

    base: Base
    layout: MapLayout


def storages(
    network: Network, arch: Arch, wide: Collection[str] = frozenset()
) -> dict[str, Storage]:
    """Storages of all maps whose lines can be transferred: those that are saved line by line, for
    not all of their words are pixels or they are ``wide``, have lines that begin where a transfer
    can."""
    least: dict[str, int] = {}
    while True:
        found = plan(network, arch, least)
        unit = -(-DRAM_ALIGNMENT // arch.act_word_bytes)
        odd = {
            name: -(-at.pitch // unit) * unit
            for name, at in found.items()
            if (name in wide or not contiguous(at))
            and at.pitch * arch.act_word_bytes % DRAM_ALIGNMENT
        }
        if not odd:
            return found
        least |= odd


class _Buffer:
    def __init__(self, arch: Arch, base: Base) -> None:
        self._word, self.base, self.size = arch.act_word_bytes, base, 0

    def add(
        self, network: Network, storage: Storage, tensor: ir.Tensor, shape: ir.Shape, name: str
    ) -> Home:
        """Room for all samples of a map; ``storage`` is that of one sample."""
        vector = shape[1:] == (1, 1)
        phase_bytes = aligned(storage.lines * storage.pitch * self._word)
        plane_bytes = phase_bytes * (PHASES if storage.split else 1)
        sample_bytes = storage.planes * plane_bytes
        if vector:
            sample_bytes = plane_bytes
            plane_bytes *= network.batch
        layout = MapLayout(
            tensor.name, shape, network.batch, tensor.scale, tensor.zero_point, self.size,
            self._word, storage.pitch, storage.split, phase_bytes, plane_bytes, sample_bytes,
            network.folds.get(name, PLAIN), network.fold_steps.get(name, (1, 1)),
        )  # fmt: skip
        self.size += storage.planes * (PHASES if storage.split else 1) * phase_bytes * network.batch
        return Home(self.base, layout)


@dataclass(frozen=True)
class Homes:
    """The maps in DRAM: where each is read from, where it is written to, and the buffers."""

    read: Mapping[str, Home]
    written: Mapping[str, tuple[Home, ...]]
    buffers: Buffers


def homes(
    network: Network,
    arch: Arch,
    storages: Mapping[str, Storage],
    graph: ir.Graph,
    saved: frozenset[str],
    keep_tensors: bool,
) -> Homes:
    """Lay out inputs, outputs, and in SCRATCH the other maps that are ``saved``.

    ``storages`` are those of one sample.
    """
    of = {base: _Buffer(arch, base) for base in (Base.INPUT, Base.OUTPUT, Base.SCRATCH)}
    inputs = {
        name: of[Base.INPUT].add(
            network, storages[name], graph.tensors[name], graph.tensors[name].shape, name
        )
        for name in network.inputs
    }
    read, written = dict(inputs), dict[str, tuple[Home, ...]]()
    outputs = []
    for at in network.outputs:
        home = of[Base.OUTPUT].add(
            network, storages[at.tensor], graph.tensors[at.name], network.shapes[at.tensor], ""
        )
        outputs.append(home.layout)
        written[at.tensor] = (*written.get(at.tensor, ()), home)
    tensors = {}
    for name in (layer.target for layer in network.layers):
        known = name in graph.tensors
        if name in saved and ((keep_tensors and known) or name not in written):
            tensor = graph.tensors[name] if known else ir.Tensor(name, network.shapes[name], 1.0, 0)
            home = of[Base.SCRATCH].add(network, storages[name], tensor, network.shapes[name], "")
            written[name] = (*written.get(name, ()), home)
            if keep_tensors and known and name not in network.split_copies:
                tensors[name] = home.layout
        if name in written:
            read[name] = written[name][-1]
    sizes = {base: buffer.size for base, buffer in of.items()}
    layouts = Buffers(sizes, tuple(at.layout for at in inputs.values()), tuple(outputs), tensors)
    return Homes(read, written, layouts)


@dataclass(frozen=True)
class StripTransfers:
    """Makes the transfers of a strip of a map: ``lines`` of it are in the buffer at ``place``."""

    arch: Arch
    storage: Storage
    """Of the buffer."""
    kept: int
    place: Place
    lines: Lines
    vector: bool
    column: int | None
    """First column, where the buffer holds a panel of them."""

    @classmethod
    def of(cls, work: Work, buffer: Buffer, place: Place, lines: Lines) -> StripTransfers:
        column = work.first_column(buffer.name) if work.columns else None
        vector = work.network.is_vector(buffer.name)
        return cls(work.arch, buffer.storage, buffer.kept, place, lines, vector, column)

    def load(
        self,
        home: Home,
        sample: int,
        pixel: int,
        planes: tuple[int, int],
        phases: tuple[int, ...],
    ) -> Iterator[Rows]:
        """All lines of planes [first, last), of those phase planes where the map is split;
        ``pixel``: where a sample of a 1 by 1 map goes."""
        storage, layout, lanes = self.storage, home.layout, self.arch.pixels
        for part in self._unwrapped(planes):
            if self.column is not None:
                for plane, phase in product(range(*part), phases):
                    yield from self._phase(home, sample, plane, phase, self.lines)
                continue
            if not storage.split or len(phases) == PHASES:
                whole = self._whole(home, sample, pixel, part, self.lines)
                yield from split_by_skew(storage, whole)
                continue
            _, begin, end = _phase_lines(storage, self.lines, self.lines)
            first, offset = self._pixel(part[0]), self._offset(home, sample, part[0])
            for phase in phases:
                yield Rows(
                    part[1] - part[0], (end - begin) * storage.pitch, self.place.region,
                    first + storage.phase_pixel(phase, lanes), storage.plane_rows * lanes,
                    home.base,
                    offset + phase * layout.phase_bytes + begin * storage.pitch * layout.block,
                    layout.plane_bytes,
                )  # fmt: skip

    def save(
        self, home: Home, sample: int, pixel: int, planes: tuple[int, int], lines: Lines
    ) -> Iterator[Rows]:
        """Those lines of planes [first, last): of each as many words as have been written."""
        storage = self.storage
        for first, last in self._unwrapped(planes):
            if self.vector or (self.column is None and contiguous(storage)):
                whole = self._whole(home, sample, pixel, (first, last), lines)
                yield from split_by_skew(storage, whole)
                continue
            for plane in range(first, last):
                for phase in range(PHASES if storage.split else 1):
                    yield from self._phase(home, sample, plane, phase, lines)

    def _unwrapped(self, planes: tuple[int, int]) -> Iterator[tuple[int, int]]:
        first, last = planes
        while first < last:
            end = min(last, first - first % self.kept + self.kept)
            yield first, end
            first = end

    def _pixel(self, plane: int) -> int:
        return (self.place.row + plane % self.kept * self.storage.plane_rows) * self.arch.pixels

    def _offset(self, home: Home, sample: int, plane: int) -> int:
        layout = home.layout
        return layout.offset + sample * layout.sample_bytes + plane * layout.plane_bytes

    def _whole(
        self, home: Home, sample: int, pixel: int, planes: tuple[int, int], lines: Lines
    ) -> Rows:
        storage, layout, lanes = self.storage, home.layout, self.arch.pixels
        first, last = planes
        chip, offset = self._pixel(first), self._offset(home, sample, first)
        if self.vector:
            return Rows(
                last - first, 1, self.place.region, chip + pixel, storage.plane_rows * lanes,
                home.base, offset, layout.plane_bytes,
            )  # fmt: skip
        top, begin, end = _phase_lines(storage, self.lines, lines)
        return Rows(
            (last - first) * (PHASES if storage.split else 1), (end - begin) * storage.pitch,
            self.place.region, chip + (begin - top) * storage.pitch, storage.phase_rows * lanes,
            home.base, offset + begin * storage.pitch * layout.block, layout.phase_bytes,
        )  # fmt: skip

    def _phase(
        self, home: Home, sample: int, plane: int, phase: int, lines: Lines
    ) -> Iterator[Rows]:
        """A phase plane line by line: lines in DRAM are longer than the map, or the panel."""
        storage, layout, lanes = self.storage, home.layout, self.arch.pixels
        top, begin, end = _phase_lines(storage, self.lines, lines)
        columns = storage.width
        if storage.split:
            height, columns = storage.phase_extent(phase)
            end = min(end, height)
        if end <= begin or not columns:
            return
        line_bytes = layout.pitch * layout.block
        column = (self.column or 0) // (2 if storage.split else 1)
        chip = self._pixel(plane) + storage.phase_pixel(phase, lanes)
        yield Rows(
            end - begin, columns, self.place.region, chip + (begin - top) * storage.pitch,
            storage.pitch, home.base,
            self._offset(home, sample, plane) + phase * layout.phase_bytes + begin * line_bytes
            + column * layout.block,
            line_bytes,
        )  # fmt: skip


def _phase_lines(storage: Storage, held: Lines, lines: Lines) -> tuple[int, int, int]:
    """First line held, and first and last line wanted, of a plane or of the first phase plane."""
    if not storage.split:
        return held[0], *lines
    return held[0] // 2, lines[0] // 2, -(-lines[1] // 2)


def with_copied_inputs(network: Network, copies: Mapping[str, str]) -> Network:
    """Outputs that are inputs as they are become outputs of copy layers."""
    outputs = tuple(replace(at, tensor=copies.get(at.tensor, at.tensor)) for at in network.outputs)
    return replace(network, outputs=outputs)
