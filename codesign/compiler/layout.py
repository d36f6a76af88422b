"""How each map lies in activation memory: linear or phase-split, and how many pixels to a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from codesign.arch import Arch
from codesign.compiler.lower import copy_layer
from codesign.compiler.network import Layer, Network
from codesign.errors import UnsupportedOpError

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

    def phase_extent(self, phase: int) -> tuple[int, int]:
        """Lines and columns of a phase plane."""
        return (self.height + 1 - (phase >> 1)) // 2, (self.width + 1 - (phase & 1)) // 2


def separate_phases(network: Network, arch: Arch) -> Network:
    """Give readers of stride 2 a split copy of maps that readers of stride 1 need linear."""
    layers = list(network.layers)
    shapes, copies = dict(network.shapes), set(network.split_copies)
    for name in network.shapes:
        strided = [layer for layer in layers if layer.source == name and layer.stride == 2]
        if not strided or all(layer in strided for layer in layers if layer.source == name):
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
    network: Network, arch: Arch, least: Mapping[str, int] | None = None
) -> dict[str, Storage]:
    """The storage of every map: split where it is read at stride 2, its lines as short as all its
    readers' grids allow.

    Raises
    ------
    UnsupportedOpError
        CALC would have to write or add a split map, which it can at a drain of one pixel only.
    """
    split = {layer.source for layer in network.layers if layer.stride == 2}
    _check_drain(network, arch, split)
    pitches = dict.fromkeys(network.shapes, 1) | dict(least or {})
    while True:
        storages = {
            name: _storage(network, arch, name, name in split, pitch)
            for name, pitch in pitches.items()
        }
        wanted = {
            name: max(
                [at.pitch]
                + [
                    grid_columns(network, arch, storages, layer)
                    for layer in network.layers
                    if layer.source == name and at.lines > 1
                ]
            )
            for name, at in storages.items()
        }
        if wanted == pitches:
            return storages
        pitches = wanted


def _check_drain(network: Network, arch: Arch, split: set[str]) -> None:
    for layer in network.layers:
        touched = {layer.target, *layer.reads[1:]} & split
        if touched and arch.drain > 1:
            reader = next(at for at in network.layers if at.source in touched and at.stride == 2)
            raise UnsupportedOpError(
                f"{reader.where} has stride 2 on a map that {layer.where} writes or adds: that "
                f"takes drain=1, the architecture has {arch.drain}; choose drain=1 or stride 1"
            )


def _storage(network: Network, arch: Arch, name: str, split: bool, pitch: int) -> Storage:
    channels, height, width = network.shapes[name]
    planes = -(-channels // arch.in_channels)
    if network.is_vector(name):
        rows = -(-network.batch // arch.pixels)
        return Storage(channels, 1, network.batch, network.batch, False, planes, rows)
    bare = Storage(channels, height, width, 0, split, planes, 0)
    pitch = max(pitch, bare.columns)
    rows = -(-bare.lines * pitch // arch.pixels)
    return replace(bare, pitch=pitch, phase_rows=rows)


def grid_columns(
    network: Network, arch: Arch, storages: Mapping[str, Storage], layer: Layer
) -> int:
    """Columns that a layer's grid has at least.

    Those of its output and D. Where several pixels leave in a cycle they must lie in as many banks:
    the lines of the maps written and added must be no longer than the grid's.
    """
    target = storages[layer.target]
    columns = target.width if network.together(layer) else network.shapes[layer.target][2]
    least = max(columns, arch.drain)
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
