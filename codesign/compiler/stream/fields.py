"""The fields of a CALC on strips."""

from __future__ import annotations

from dataclasses import dataclass

from codesign.compiler.allocate import Place
from codesign.compiler.by_line import Run, run_fields, source_pixel
from codesign.compiler.layout import grid_width
from codesign.compiler.network import Block, Layer
from codesign.compiler.stream.buffers import Buffer
from codesign.compiler.stream.work import Lines, Work
from codesign.compiler.tile import groups


@dataclass(frozen=True)
class Slot:
    """A strip of a map on chip: ``lines`` of it, from the first row of ``place`` on."""

    buffer: Buffer
    place: Place
    lines: Lines

    @property
    def first(self) -> int:
        """First line, of a phase plane where the map is split."""
        return self.lines[0] // 2 if self.buffer.storage.split else self.lines[0]

    def row(self, plane: int) -> int:
        return self.place.row + plane % self.buffer.kept * self.buffer.storage.plane_rows

    def rows(self, first: int, last: int) -> list[tuple[int, int]]:
        """Rows [from, to) of planes [first, last)."""
        found = []
        size, kept = self.buffer.storage.plane_rows, self.buffer.kept
        while first < last:
            end = min(last, first - first % kept + kept)
            found.append((self.row(first), self.row(first) + (end - first) * size))
            first = end
        return found


def calc_fields(
    work: Work,
    layer: Layer,
    block: Block,
    source: Slot,
    target: Slot,
    residual: Slot | None,
    run: Run | None,
) -> dict[str, int]:
    """All fields but those that say where weights, parameters, taps and tables lie; of a ``run``
    where the layer is computed by line."""
    network, arch = work.network, work.arch
    first, last = target.lines
    column = 0
    pitch = grid_width(network, arch, work.storages, layer)
    together = network.together(layer)
    columns = network.batch if together else network.shapes[layer.target][2]
    whole = work.storages[layer.source]
    pixel = source.row(block.source_plane) * arch.pixels + (first - source.first) * pitch
    if run:
        first, column = run.line, run.column
        pixel = source.row(block.source_plane) * arch.pixels
        pixel += source_pixel(layer, run, source.buffer.storage, source.first)
    row, bank = divmod(pixel, arch.pixels)
    values = {
        "mode": int(layer.mode), "groups": groups(arch, last - first, columns, pitch),
        "taps": len(block.taps), "src_region": source.place.region, "src_bank": bank,
        "src_row": row, "grid_width": pitch, "in_height": whole.lines, "in_width": whole.columns,
        "y_start": first, "pad": layer.pad, "out_height": last, "out_width": columns,
        "planes": block.planes, "zero_point": layer.zero_point, "low": layer.low,
        "high": layer.high, **_map("dst", work, target, first, column, block, run),
    }  # fmt: skip
    if run:
        values |= run_fields(run, arch, network.shapes[layer.source][2])
    if residual is None or layer.residual is None:
        return values
    column += work.first_column(layer.target) - work.first_column(layer.residual.tensor)
    return values | {
        "residual": 1,
        "res_zero_point": layer.residual.res_zero_point,
        "out_zero_point": layer.residual.out_zero_point,
        "acc_multiplier": layer.residual.acc_multiplier,
        "res_multiplier": layer.residual.res_multiplier,
        "add_shift": layer.residual.add_shift,
        **_map("res", work, residual, first, column, block, run),
    }


def _map(
    prefix: str, work: Work, slot: Slot, line: int, column: int, block: Block, run: Run | None
) -> dict[str, int]:
    """Where pixel (line, column) of the block's planes lies, the column counted within the panel,
    and the pixels from one line of the grid to the next."""
    storage, lanes = slot.buffer.storage, work.arch.pixels
    if storage.split:
        line, column = line // 2, column // 2
    pixel = (line - slot.first) * storage.pitch + column
    row, bank = divmod(slot.row(block.plane) * lanes + pixel, lanes)
    pitch_row, pitch_bank = divmod(run.every if run else storage.pitch, lanes)
    return {
        f"{prefix}_region": slot.place.region, f"{prefix}_bank": bank, f"{prefix}_row": row,
        f"{prefix}_pitch_bank": pitch_bank, f"{prefix}_pitch_row": pitch_row,
        f"{prefix}_split": int(storage.split), f"{prefix}_phase_rows": storage.phase_rows,
        f"{prefix}_plane_rows": storage.plane_rows,
    }  # fmt: skip
