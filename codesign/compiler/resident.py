"""What stays on chip from inference to inference: weights, parameters, taps and tables.

Equal contents are stored once, whichever instructions use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign.arch import PARAM_RECORD_BITS, TABLE_ENTRIES, TAP_ENTRY_BITS, Arch
from codesign.compiler.by_line import Run, run_taps, runs
from codesign.compiler.layout import Storage, grid_width
from codesign.compiler.network import Block, Layer, Network, Tap
from codesign.errors import CapacityError, EncodingError
from codesign.isa import PARAM_RECORD, TAP_ENTRY, Mode, Target, pack, pack_parameter
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
        for number, block in enumerate(layer.blocks):
            taps, tap = memories[Target.TAP], 0
            by_run = {
                run: taps.put(little_endian(entries, TAP_ENTRY_BITS))
                for run, entries in _by_run(network, arch, storages[layer.source], layer, block)
            }
            if not layer.step:
                entries = (
                    tap_entry(network, arch, storages, layer, at, at.plane - block.source_plane)
                    for at in block.taps
                )
                tap = taps.put(little_endian(entries, TAP_ENTRY_BITS))
            addresses[layer.name, number] = Addresses(
                wgt=memories[Target.WGT].put(weight_words(arch, layer.mode, block)),
                param=memories[Target.PARAM].put(parameter_words(block)),
                tap=tap,
                table=table,
                taps=by_run,
            )
    return Resident({target: at.contents() for target, at in memories.items()}, addresses)


def _by_run(
    network: Network, arch: Arch, source: Storage, layer: Layer, block: Block
) -> Iterator[tuple[Run, tuple[int, ...]]]:
    """The tap entries of a block that is computed by line."""
    _, height, width = network.shapes[layer.target]
    if layer.step:
        for run in runs(arch, layer, block, (0, height), width):
            yield run, run_taps(arch, layer, block, run, source)


def tap_entry(
    network: Network,
    arch: Arch,
    storages: Mapping[str, Storage],
    layer: Layer,
    tap: Tap,
    plane: int,
) -> int:
    """A tap that reads ``plane`` planes from where its instruction's source begins.

    Raises
    ------
    CapacityError
        It reads farther than an entry tells.
    """
    source = storages[layer.source]
    y_phase, dy = tap.oy % layer.stride, tap.oy // layer.stride
    x_phase, dx = tap.ox % layer.stride, tap.ox // layer.stride
    first = plane * source.plane_rows * arch.pixels
    lines, columns = source.lines, source.columns
    if source.split:
        phase = source.phase(y_phase, x_phase)
        first += source.phase_pixel(phase, arch.pixels)
        lines, columns = source.phase_extent(phase)
    offset = dy * grid_width(network, arch, storages, layer) + dx
    row, bank = divmod(first + offset, arch.pixels)
    values = {
        "bank": bank,
        "row": row,
        "dy": dy,
        "dx": dx,
        "short_y": source.lines - lines,
        "short_x": source.columns - columns,
    }
    try:
        return pack(TAP_ENTRY, values, f"tap of {layer.name!r}")
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


def parameter_words(block: Block) -> bytes:
    """A block's words of PARAM."""
    names = tuple(field.name for field in PARAM_RECORD)
    columns = (getattr(block, name).tolist() for name in names)
    records = (
        pack_parameter(dict(zip(names, values, strict=True)))
        for values in zip(*columns, strict=True)
    )
    return little_endian(records, PARAM_RECORD_BITS)


def little_endian(words: Iterable[int], bits: int) -> bytes:
    """Words of so many bits, one behind the other."""
    return b"".join(word.to_bytes(bits // 8, "little") for word in words)
