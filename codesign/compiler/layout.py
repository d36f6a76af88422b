"""How each map lies in activation memory: linear or phase-split, and how many pixels to a line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from codesign.arch import Arch
from codesign.compiler.lower import copy_layer
from codesign.compiler.network import Layer, Network

PHASES = 4
"""Phase planes of a split map: pixel (y, x) lies in phase 2*(y&1) + (x&1)."""


@dataclass(frozen=True)
class Storage:
    """A map's place, but for its region and first row. Rows and planes as in docs/machine.md.

    ``pitch`` and ``phase_rows`` are those of a phase plane where the map is split. The samples of a
    1 by 1 map lie side by side: its width is the batch.
    """

    channels: int
    height: int
    width: int
    pitch: int
    split: bool
    planes: int
    phase_rows: int
    skew: int
    """Pixels by which the phase planes of odd columns start later; 0 where the map is linear."""

    @property
    def lines(self) -> int:
        """Lines of a plane, or of the first phase plane."""
        return -(-self.height // 2) if self.split else self.height

    @property
    def columns(self) -> int:
        """Columns of a plane, or of the first phase plane."""
        return -(-self.width // 2) if self.split else self.width

    @property
    def plane_rows(self) -> int:
        return self.phase_rows * (PHASES if self.split else 1)

    @property
    def rows(self) -> int:
        return self.planes * self.plane_rows

    def phase_rows_of(self, lines: int, lanes: int) -> int:
        """Rows of P = ``lanes`` pixels that so many lines of a plane, or a phase plane, take."""
        return -(-(lines * self.pitch + self.skew) // lanes)

    def phase_pixel(self, phase: int, lanes: int) -> int:
        """First pixel of a phase plane, counted from that of its plane."""
        return phase * self.phase_rows * lanes + (phase & 1) * self.skew

    def phase_extent(self, phase: int) -> tuple[int, int]:
        """Lines and columns of a phase plane."""
        return (self.height + 1 - (phase >> 1)) // 2, (self.width + 1 - (phase & 1)) // 2


def separate_phases(network: Network, arch: Arch) -> Network:
    """Give readers of stride 2 a split copy of maps that others need linear: readers of stride 1,
    and layers that compute, or add, them by line."""
    layers = list(network.layers)
    shapes, copies = dict(network.shapes), set(network.split_copies)
    for name in network.shapes:
        strided = [layer for layer in layers if layer.source == name and layer.stride == 2]
        linear = [layer for layer in layers if layer.source == name and layer not in strided]
        linear += [at for at in layers if at.step and name in (at.target, *at.reads[1:])]
        if not strided or not linear:
            continue
        copy = f"{name}:split"
        zero_point = next((at.zero_point for at in layers if at.target == name), 0)
        first = layers.index(strided[0])
        layers = [replace(layer, source=copy) if layer in strided else layer for layer in layers]
        layers.insert(
            first,
            copy_layer(
                arch, copy, f"the copy of {name!r}", name, copy, shapes[name][0], zero_point
            ),
        )
        shapes[copy] = shapes[name]
        copies.add(copy)
    return replace(network, layers=tuple(layers), shapes=shapes, split_copies=frozenset(copies))


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
        split = {layer.source for layer in network.layers if layer.stride == 2}
    pitches = dict.fromkeys(network.shapes, 1) | dict(least or {})
    while True:
        storages = {
            name: _storage(network, arch, name, name in split, pitch)
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
    """What the columns of a layer's grid are a multiple of: D where it writes or adds a split map,
    for the pixels that leave in a cycle must then lie in one line."""
    touched = (storages[layer.target], *(storages[name] for name in layer.reads[1:]))
    if layer.step:
        return 1
    return arch.drain if any(at.split for at in touched) else 1


def _multiple(count: int, step: int) -> int:
    return -(-count // step) * step


def _storage(network: Network, arch: Arch, name: str, split: bool, pitch: int) -> Storage:
    channels, height, width = network.shapes[name]
    planes = -(-channels // arch.in_channels)
    if network.is_vector(name):
        rows = -(-network.batch // arch.pixels)
        return Storage(channels, 1, network.batch, network.batch, False, planes, rows, 0)
    skew = arch.phase_skew if split else 0
    bare = Storage(channels, height, width, 0, split, planes, 0, skew)
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
    columns = target.width if network.together(layer) else network.shapes[layer.target][2]
    least = max(columns, arch.drain)
    step = _grid_step(arch, storages, layer)
    if step > 1:
        return _multiple(least, step)
    if arch.drain > 1 and target.height > 1:
        added = [storages[name].pitch for name in layer.reads[1:]]
        least = max([least, target.pitch, *added])
    return least


def grid_width(network: Network, arch: Arch, storages: Mapping[str, Storage], layer: Layer) -> int:
    """Columns of a layer's grid: the source's pitch; a single line may be as long as it likes."""
    source = storages[layer.source]
    if source.lines == 1 or network.is_vector(layer.source):
        return grid_columns(network, arch, storages, layer)
    return source.pitch
