"""How each map lies in activation memory: linear or phase-split, and how many pixels to a line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from codesign.arch import Arch
from codesign.compiler.network import Layer, Network
from codesign.ir import Pair

PHASES = 4
"""Phase planes of a map split in two: pixel (y, x) lies in phase 2*(y&1) + (x&1)."""


@dataclass(frozen=True)
class Storage:
    """A map's place, but for its region and first row. Rows and planes as in docs/machine.md.

    ``factor``: lines, and columns, are dealt out to so many phase planes; 1 is a linear map.
    ``pitch`` and ``phase_rows`` are those of a phase plane where the map is split. The samples of a
    1 by 1 map lie side by side: its width is the batch.
    """

    channels: int
    height: int
    width: int
    pitch: int
    factor: int
    planes: int
    phase_rows: int
    skew: int
    """Pixels by which the phase planes of odd columns start later; 0 where the map is linear."""

    @property
    def split(self) -> bool:
        return self.factor > 1

    @property
    def phases(self) -> int:
        """Phase planes of a plane; 1 where the map is linear."""
        return self.factor**2

    @property
    def lines(self) -> int:
        """Lines of a plane, or of the first phase plane."""
        return -(-self.height // self.factor)

    @property
    def columns(self) -> int:
        """Columns of a plane, or of the first phase plane."""
        return -(-self.width // self.factor)

    @property
    def plane_rows(self) -> int:
        return self.phase_rows * self.phases

    @property
    def rows(self) -> int:
        return self.planes * self.plane_rows

    def phase_rows_of(self, lines: int, lanes: int) -> int:
        """Rows of P = ``lanes`` pixels that so many lines of a plane, or a phase plane, take."""
        return -(-(lines * self.pitch + self.skew) // lanes)

    def phase(self, y: int, x: int) -> int:
        """The phase plane of pixels (y, x) modulo ``factor``.

        A phase plane of half the factor is four in a row of the whole: so CALC splits in two what a
        layer writes or adds by half the factor.
        """
        half, odd = divmod(self.factor, 2)
        if odd:
            return self.factor * y + x
        return 4 * (half * (y % half) + x % half) + 2 * (y // half) + x // half

    def phase_pixel(self, phase: int, lanes: int) -> int:
        """First pixel of a phase plane, counted from that of its plane."""
        return phase * self.phase_rows * lanes + (phase & 1) * self.skew

    def phase_extent(self, phase: int) -> Pair:
        """Lines and columns of a phase plane."""
        half, odd = divmod(self.factor, 2)
        y, x = divmod(phase, self.factor)
        if not odd:
            (y, x), (below, right) = divmod(phase // 4, half), divmod(phase % 4, 2)
            y, x = y + half * below, x + half * right
        return -(-(self.height - y) // self.factor), -(-(self.width - x) // self.factor)


def factors(network: Network) -> dict[str, int]:
    """How far each map is split: as its readers step, or as it is written and added."""
    found = dict.fromkeys(network.shapes, 1)
    for layer in network.layers:
        for name in (layer.target, *layer.reads[1:]):
            found[name] = max(found[name], layer.out_stride)
    found |= {layer.source: layer.stride for layer in network.layers}
    return found | {name: 1 for name in found if network.is_vector(name)}


def plan(
    network: Network,
    arch: Arch,
    least: Mapping[str, int] | None = None,
    split: Collection[str] | None = None,
) -> dict[str, Storage]:
    """The storage of every map: split where it is read at stride 2 (or in ``split``), its lines as
    short as all its readers' grids allow, but no shorter than ``least``.
    """
    if split is None:
        ways = factors(network)
    else:
        ways = {name: 2 if name in split else 1 for name in network.shapes}
    pitches = dict.fromkeys(network.shapes, 1) | dict(least or {})
    while True:
        storages = {
            name: _storage(network, arch, name, ways[name], pitch)
            for name, pitch in pitches.items()
        }
        wanted = {name: _wanted_pitch(network, arch, storages, name) for name in storages}
        if wanted == pitches:
            return storages
        pitches = wanted


def _wanted_pitch(network: Network, arch: Arch, storages: Mapping[str, Storage], name: str) -> int:
    """Columns to a line of a map that the grids of all its readers can follow."""
    at = storages[name]
    readers = [layer for layer in network.layers if layer.source == name and at.lines > 1]
    columns = [grid_columns(network, arch, storages, layer) for layer in readers]
    step = max([1, *(_grid_step(arch, storages, layer) for layer in readers)])
    return _multiple(max([at.pitch, *columns]), step)


def _grid_step(arch: Arch, storages: Mapping[str, Storage], layer: Layer) -> int:
    """What the columns of a layer's grid are a multiple of: D where CALC splits what it writes or
    adds, for the pixels that leave in a cycle must then lie in one line."""
    touched = (storages[layer.target], *(storages[name] for name in layer.reads[1:]))
    if layer.step:
        return 1
    return arch.drain if any(at.factor > layer.out_stride for at in touched) else 1


def _multiple(count: int, step: int) -> int:
    return -(-count // step) * step


def _storage(network: Network, arch: Arch, name: str, factor: int, pitch: int) -> Storage:
    channels, height, width = network.shapes[name]
    planes = -(-channels // arch.in_channels)
    if network.is_vector(name):
        rows = -(-network.batch // arch.pixels)
        return Storage(channels, 1, network.batch, network.batch, 1, planes, rows, 0)
    skew = 0 if factor % 2 else arch.phase_skew
    bare = Storage(channels, height, width, 0, factor, planes, 0, skew)
    placed = replace(bare, pitch=max(pitch, bare.columns))
    return replace(placed, phase_rows=placed.phase_rows_of(placed.lines, arch.pixels))


def grid_columns(
    network: Network, arch: Arch, storages: Mapping[str, Storage], layer: Layer
) -> int:
    """Columns that a layer's grid has at least.

    Those of its output and D. Where several pixels leave in a cycle they must lie in as many banks:
    they lie in one line, or the lines of the maps written and added are no longer than the grid's.
    """
    if layer.step:
        return 1  # its grid lies along a line
    target = storages[layer.target]
    columns = target.width if network.together(layer) else network.grid(layer)[1]
    least = max(columns, arch.drain)
    step = _grid_step(arch, storages, layer)
    if step > 1:
        return _multiple(least, step)
    if arch.drain > 1 and target.lines > 1:
        added = [storages[name].pitch for name in layer.reads[1:]]
        least = max([least, target.pitch, *added])
    return least


def grid_width(network: Network, arch: Arch, storages: Mapping[str, Storage], layer: Layer) -> int:
    """Columns of a layer's grid: the source's pitch; a single line may be as long as it likes."""
    source = storages[layer.source]
    if source.lines == 1 or network.is_vector(layer.source):
        return grid_columns(network, arch, storages, layer)
    return source.pitch
