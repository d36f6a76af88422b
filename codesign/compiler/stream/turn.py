"""Turning the places of successive groups, so that the first strip of one can be loaded while the
one before still runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from codesign.arch import Arch
from codesign.compiler.allocate import Place
from codesign.compiler.stream.buffers import Buffer, Placement
from codesign.compiler.stream.tasks import Group

_Taken = tuple[Buffer, Place, bool]
"""A copy of a buffer, and whether the group's last strip uses it."""


def turned(arch: Arch, groups: Sequence[Group], batch: int) -> tuple[Group, ...]:
    """Regions exchanged and rows counted from the other end where that keeps a group's buffers
    clear of those of the group before. ``batch``: samples that layers on maps run for."""
    found: list[Group] = []
    before: list[_Taken] = []
    for group in groups:
        ways = [
            _turn(arch, group, turn, mirror)
            for turn in range(arch.regions)
            for mirror in (False, True)
        ]
        places = min(ways, key=lambda way: _overlap(group, way, before))
        found.append(replace(group, places=places))
        last = len(group.strips) * group.work.samples(batch) - 1
        before = [
            (at, places[at.name, copy], bool(group.by_block) or copy == last % at.copies)
            for at in group.buffers
            for copy in range(at.copies)
        ]
    return tuple(found)


def _turn(arch: Arch, group: Group, turn: int, mirror: bool) -> Placement:
    rows = {at.name: at.rows for at in group.buffers}
    return {
        (name, copy): Place(
            (at.region + turn) % arch.regions,
            arch.act_depth - at.row - rows[name] if mirror else at.row,
        )
        for (name, copy), at in group.places.items()
    }


def _overlap(group: Group, places: Placement, before: Sequence[_Taken]) -> int:
    """Rows of a group's first copies that lie where the group before has something: those that its
    last strip uses weigh more, and so do those that are loaded."""
    shared = 0
    for at in group.buffers:
        mine = places[at.name, 0]
        for other, beside, last in before:
            if beside.region == mine.region:
                low, high = max(mine.row, beside.row), mine.row + at.rows
                common = min(high, beside.row + other.rows) - low
                weight = (4 if at.name in group.work.external else 1) * (4 if last else 1)
                shared += weight * max(0, common)
    return shared
