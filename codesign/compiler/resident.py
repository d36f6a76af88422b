"""What stays on chip from inference to inference: weights, parameters, taps and tables.

Equal contents are stored once, whichever instructions use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arch import TABLE_ENTRIES, Arch
from codesign.compiler.by_line import Run, run_taps, runs
from codesign.compiler.layout import Storage, grid_width
from codesign.compiler.network import Block, Layer, Network, Tap
from codesign.compiler.records import Words, pack_all, pack_parameters
from codesign.errors import CapacityError, EncodingError
from codesign.isa import PARAM_RECORD, TAP_ENTRY, Mode, Target
from codesign.reference.memory import depth, word_bytes


@dataclass(frozen=True)
class Addresses:
    """Where a block's data lie: first words, and the table's number. ``taps`` are those of every
    run of a block that is computed by line."""

    wgt: int
    param: int
    tap: int
    table: int
    taps: Mapping[Run, int]


@dataclass(frozen=True)
class Resident:
    """Contents of the four memories as they lie in DRAM, and the addresses of every block, by layer
    name and block number."""

    contents: Mapping[Target, bytes]
    addresses: Mapping[tuple[str, int], Addresses]


class _Memory:
    def __init__(self, arch: Arch, target: Target, remedy: str) -> None:
        self.data = bytearray()
        self._word, self._depth = word_bytes(arch, target), depth(arch, target)
        self._target, self._remedy = target, remedy
        self._known: dict[bytes, int] = {}

    def put(self, data: bytes) -> int:
        """Address of the first word of these contents."""
        if not data:
            return 0
        if data not in self._known:
            self._known[data] = len(self.data) // self._word
            self.data += data
        return self._known[data]

    def contents(self) -> bytes:
        words = len(self.data) // self._word
        if words > self._depth:
            raise CapacityError(
                f"the network needs {words} {self._target.name} words, the architecture has "
                f"{self._depth}; {self._remedy}"
            )
        return bytes(self.data)


def pack_resident(network: Network, arch: Arch, storages: Mapping[str, Storage]) -> Resident:
    """Lay out the memories that part ``setup`` fills.

    Raises
    ------
    CapacityError
        The network needs more words than a memory has.
    """
    memories = {
        Target.WGT: _Memory(arch, Target.WGT, "raise wgt_depth or prune the network"),
        Target.PARAM: _Memory(arch, Target.PARAM, "raise param_depth or use fewer channels"),
        Target.TAP: _Memory(arch, Target.TAP, "raise tap_depth or use smaller kernels"),
        Target.TABLE: _Memory(arch, Target.TABLE, "raise tables or use fewer functions"),
    }
    addresses = {}
    for layer in network.layers:
        table = memories[Target.TABLE].put(layer.table or b"") // TABLE_ENTRIES
        source, taps = storages[layer.source], memories[Target.TAP]
        pitch = grid_width(network, arch, storages, layer)
        known: dict[tuple[Tap, ...], int] = {}
        parameters = parameter_words(layer.blocks)
        for number, block in enumerate(layer.blocks):
            by_run = {
                run: taps.put(run_taps(arch, layer, block, run, source).tobytes())
                for run in _runs(network, arch, layer, block)
            }
            if not layer.step and block.taps not in known:
                words = tap_words(arch, source, pitch, layer, block)
                known[block.taps] = taps.put(words.tobytes())
            addresses[layer.name, number] = Addresses(
                wgt=memories[Target.WGT].put(weight_words(arch, layer.mode, block)),
                param=memories[Target.PARAM].put(parameters[number]),
                tap=known.get(block.taps, 0),
                table=table,
                taps=by_run,
            )
    return Resident({target: at.contents() for target, at in memories.items()}, addresses)


def _runs(network: Network, arch: Arch, layer: Layer, block: Block) -> Iterator[Run]:
    """Of a block that is computed by line."""
    _, height, width = network.shapes[layer.target]
    if layer.step:
        yield from runs(arch, layer, block, (0, height), width)


def tap_words(arch: Arch, source: Storage, pitch: int, layer: Layer, block: Block) -> Words:
    """A block's entries of TAP, [taps]: its instruction's source begins with the first plane that
    it reads, its grid has ``pitch`` columns.

    Raises
    ------
    CapacityError
        A tap reads farther than an entry tells.
    """
    oy, ox, plane = np.array(block.taps, np.int64).T
    dy, dx = oy // layer.stride, ox // layer.stride
    first = (plane - block.source_plane) * source.plane_rows * arch.pixels
    lines, columns = np.full_like(oy, source.lines), np.full_like(ox, source.columns)
    if source.split:
        y_phases, x_phases = oy % layer.stride, ox % layer.stride
        for y, x in set(zip(y_phases.tolist(), x_phases.tolist(), strict=True)):
            here, phase = (y_phases == y) & (x_phases == x), source.phase(y, x)
            first[here] += source.phase_pixel(phase, arch.pixels)
            lines[here], columns[here] = source.phase_extent(phase)
    row, bank = np.divmod(first + dy * pitch + dx, arch.pixels)
    values = {
        "bank": bank,
        "row": row,
        "dy": dy,
        "dx": dx,
        "short_y": source.lines - lines,
        "short_x": source.columns - columns,
    }
    try:
        return pack_all(TAP_ENTRY, values, f"tap of {layer.name!r}")
    except EncodingError as error:
        raise CapacityError(f"{layer.where}: {error}; use smaller maps") from error


def weight_words(arch: Arch, mode: Mode, block: Block) -> bytes:
    """A block's weights in WGT's words (docs/machine.md, "Memories")."""
    if block.weights is None:
        return b""
    if mode is Mode.DENSE:
        return packed_pairs(block.weights).tobytes()
    m, n = arch.in_channels, arch.out_channels
    words = -(-len(block.weights) // n)
    slices = np.zeros((words * n, m), np.int8)
    slices[: len(block.weights)] = block.weights
    return slices.tobytes()


def packed_pairs(weights: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Odd outputs' weights less the borrow of their even neighbour: w1 - (w0 < 0)."""
    packed: npt.NDArray[np.int8] = weights.copy()
    packed[..., 1::2] -= (weights[..., 0::2] < 0).astype(np.int8)
    return packed


def parameter_words(blocks: Sequence[Block]) -> list[bytes]:
    """Each block's words of PARAM."""
    columns = {
        field.name: np.concatenate([getattr(block, field.name) for block in blocks])
        for field in PARAM_RECORD
    }
    ends = np.cumsum([len(block.bias) for block in blocks])[:-1]
    return [words.tobytes() for words in np.split(pack_parameters(columns), ends)]
