"""Maps in DRAM, and the LOADs and SAVEs that move them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from codesign import ir
from codesign.arch import Arch
from codesign.artifact import MapLayout
from codesign.compiler.allocate import Place
from codesign.compiler.layout import Storage
from codesign.compiler.network import PLAIN, Fold, Network
from codesign.compiler.tile import DRAM_ALIGNMENT
from codesign.ir import Pair
from codesign.isa import Base


@dataclass(frozen=True)
class Rows:
    """A two-dimensional transfer: ``rows`` of ``words`` pixels, on chip from pixel ``first`` of a
    region on, in DRAM from byte ``offset`` on."""

    rows: int
    words: int
    region: int
    first: int
    step: int
    base: Base
    offset: int
    stride: int

    def values(self, arch: Arch) -> dict[str, int]:
        """Fields of LOAD and SAVE."""
        row, bank = divmod(self.first, arch.pixels)
        step_row, step_bank = divmod(self.step, arch.pixels)
        return {
            "base": int(self.base), "offset": self.offset, "stride": self.stride,
            "rows": self.rows, "words": self.words, "region": self.region, "bank": bank,
            "address": row, "stride_bank": step_bank, "stride_address": step_row,
        }  # fmt: skip


def aligned(size: int) -> int:
    """``size`` bytes, rounded up to what a transfer can start at."""
    return -(-size // DRAM_ALIGNMENT) * DRAM_ALIGNMENT


class Buffer:
    """The maps of one DRAM buffer, one behind the other."""

    def __init__(self, arch: Arch, base: Base) -> None:
        self._arch, self.base = arch, base
        self.size = 0

    def add(
        self,
        network: Network,
        storage: Storage,
        tensor: ir.Tensor,
        shape: ir.Shape,
        fold: Fold = PLAIN,
        step: Pair = (1, 1),
        saved: bool = False,
    ) -> MapLayout:
        """Room for all samples of a map. ``shape``: as the network sees it; ``saved``: written by
        the accelerator, which knows only the pixels inside the map."""
        word = self._arch.act_word_bytes
        pitch = storage.pitch
        if saved and not contiguous(storage):
            pitch = storage.columns
            while pitch * word % DRAM_ALIGNMENT:
                pitch += 1
        phase_bytes = aligned(storage.lines * pitch * word)
        plane_bytes = phase_bytes * storage.phases
        vector = shape[1:] == (1, 1)
        sample_bytes = word if vector else storage.planes * plane_bytes
        layout = MapLayout(
            tensor.name, shape, network.batch, tensor.scale, tensor.zero_point, self.size, word,
            pitch, storage.split, phase_bytes, plane_bytes, sample_bytes, fold, step,
            storage.factor,
        )  # fmt: skip
        self.size += storage.planes * plane_bytes if vector else sample_bytes * network.batch
        return layout


def split_by_skew(storage: Storage, whole: Rows) -> Iterator[Rows]:
    """A transfer of all phase planes, each a row ``phase_rows`` behind the one before: in two, of
    even columns and of odd ones, where these start later."""
    if not storage.skew:
        yield whole
        return
    even = replace(whole, rows=whole.rows // 2, step=2 * whole.step, stride=2 * whole.stride)
    yield even
    first, offset = whole.first + whole.step + storage.skew, whole.offset + whole.stride
    yield replace(even, first=first, offset=offset)


def contiguous(storage: Storage) -> bool:
    """Every word of a plane's lines is a pixel of the map."""
    odd = storage.height % storage.factor or storage.width % storage.factor
    return storage.pitch == storage.columns and not odd


@dataclass(frozen=True)
class Transfers:
    """Makes the transfers of one sample of a map (of all, where it is 1 by 1)."""

    arch: Arch
    storage: Storage
    place: Place
    base: Base
    layout: MapLayout
    sample: int | None

    @property
    def _offset(self) -> int:
        return self.layout.offset + (self.sample or 0) * self.layout.sample_bytes

    @property
    def _first(self) -> int:
        return self.place.row * self.arch.pixels

    def load(self, first: int, last: int) -> Iterator[Rows]:
        """Lines [first, last), of every phase plane where the map is split."""
        storage, layout = self.storage, self.layout
        rows = storage.planes * storage.phases
        pixel = first * storage.pitch
        whole = Rows(
            rows, (last - first) * storage.pitch, self.place.region, self._first + pixel,
            storage.phase_rows * self.arch.pixels, self.base,
            self._offset + pixel * layout.block, layout.phase_bytes,
        )  # fmt: skip
        yield from split_by_skew(storage, whole)

    def save_lines(self, plane: int, planes: int, first: int, last: int) -> Rows:
        """Lines [first, last) of planes [plane, plane + planes) of a linear ``contiguous`` map."""
        storage, layout, lanes = self.storage, self.layout, self.arch.pixels
        pixel = first * storage.pitch
        return Rows(
            planes, (last - first) * storage.pitch, self.place.region,
            self._first + plane * storage.plane_rows * lanes + pixel, storage.plane_rows * lanes,
            self.base, self._offset + plane * layout.plane_bytes + pixel * layout.block,
            layout.plane_bytes,
        )  # fmt: skip

    def save(self) -> Iterator[Rows]:
        """The whole map: in one transfer where every word has been written."""
        storage, layout, lanes = self.storage, self.layout, self.arch.pixels
        phases = storage.phases
        if contiguous(storage):
            whole = Rows(
                storage.planes * phases, storage.lines * storage.pitch, self.place.region,
                self._first, storage.phase_rows * lanes, self.base, self._offset,
                layout.phase_bytes,
            )  # fmt: skip
            yield from split_by_skew(storage, whole)
            return
        for number in range(storage.planes * phases):
            lines, columns = storage.height, storage.width
            plane, phase = divmod(number, phases)
            if storage.split:
                lines, columns = storage.phase_extent(phase)
            first = self._first + plane * storage.plane_rows * lanes
            if lines and columns:
                yield Rows(
                    lines, columns, self.place.region,
                    first + storage.phase_pixel(phase, lanes), storage.pitch, self.base,
                    self._offset + number * layout.phase_bytes, layout.pitch * layout.block,
                )  # fmt: skip
