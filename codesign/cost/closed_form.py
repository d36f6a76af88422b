"""Cycles of a network on thousands of architectures at once, in closed form.

What the machine reference counts instruction by instruction is here a sum over layers: the slots
that CALC keeps the array, where it waits for its own results, for the first map's lines and for
instructions, and the last map's way out (``closed_form_run``).

Layers of a network that fits on the chip are within 3 %, networks within 5 %, most of both exact
(tests/cost/test_closed_form.py). Less exact are:

- networks whose results are maps, and those with results before the last layer: how SAVE shares
  ports and tokens with CALC is not told;
- batches above 1: samples behind the first wait for nothing but the bus, where the compiler's order
  of samples and its places may have them wait for more;
- networks that do not fit (``resident`` is False): ``closed_form_stream``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.cost.archs import Archs
from codesign.cost.closed_form_fold import folded
from codesign.cost.closed_form_memory import Reason
from codesign.cost.closed_form_run import LayerColumns, Run, RunColumns
from codesign.cost.layer_shape import BoolArray, IntArray
from codesign.cost.workload import Workload
from codesign.reference.timing import Dram

_ROWS = 8192
"""Architectures that are taken at once: their columns stay in the processor's caches."""


class Bound(IntEnum):
    """What most of a layer's cycles go to: slots of the array, waits for the bus, or waits for
    results and instructions."""

    ARRAY = 0
    DRAM = 1
    LATENCY = 2


@dataclass(frozen=True, eq=False)
class Cycles:
    """Cycles of a workload of L layers on A architectures.

    Attributes
    ----------
    names:
        Of the layers.
    total:
        [A], doorbell to done, weights resident where they fit.
    layers:
        [L, A]: from the last tap of the layer before to the layer's own, as
        ``report.run.layer_rows`` counts; what follows the last tap (the pipeline's depth, the last
        SAVE) belongs to no layer.
    compute:
        [L, A]: slots of the array.
    active:
        [L, A]: slots with a tap.
    drained:
        [L, A]: groups times planes that leave the array.
    instructions:
        [L, A]: CALCs, LOADs and SAVEs.
    read, written:
        [L, A]: bytes over the bus, without instructions.
    dram:
        [L, A]: beats of the busier direction of the bus.
    bound:
        [L, A]: ``Bound``.
    resident:
        [A]: maps and weights stay on the chip.
    fits:
        [A]: the compiler finds a program, with maps in DRAM where it must.
    cause:
        [A]: ``Reason``, why the network is not resident; NONE where it is.
    needed, limit:
        [A]: words (rows, bits) that it needs of that memory, and those that there are.
    """

    names: tuple[str, ...]
    total: IntArray
    layers: IntArray
    compute: IntArray
    active: IntArray
    drained: IntArray
    instructions: IntArray
    read: IntArray
    written: IntArray
    dram: IntArray
    bound: IntArray
    resident: BoolArray
    fits: BoolArray
    cause: IntArray
    needed: IntArray
    limit: IntArray

    def reason(self, row: int) -> str:
        """Why a network does not fit on an architecture; empty where it does."""
        if self.fits[row]:
            return ""
        what = Reason(int(self.cause[row])).what
        return (
            f"the network needs {self.needed[row]} {what}, the architecture has {self.limit[row]}"
        )


def cycles(workload: Workload, archs: Archs, dram: Dram | None = None) -> Cycles:
    """Cycles of a workload on every architecture; where the workload has arrays [A], of network a
    on architecture a.

    Raises
    ------
    ValueError
        Arrays of the workload are not as long as there are architectures.
    """
    rows = workload.rows
    if rows not in (None, len(archs)):
        raise ValueError(f"the workload has {rows} networks for {len(archs)} architectures")
    memory = dram or Dram()
    parts = [
        _run(workload, archs, np.arange(first, min(first + _ROWS, len(archs))), memory)
        for first in range(0, len(archs), _ROWS)
    ]
    names = tuple(layer.name for layer in workload.layers)
    if not parts:
        return _none(names)
    return Cycles(names, **{key: np.concatenate([at[key] for at in parts], -1) for key in parts[0]})


def _none(names: tuple[str, ...]) -> Cycles:
    """Of no architectures."""
    flags, tables = ("resident", "fits"), {field.name for field in fields(LayerColumns)}
    columns = (field.name for field in fields(Cycles) if field.name != "names")
    empty: dict[str, Any] = {
        name: np.zeros(
            (len(names), 0) if name in (*tables, "dram", "bound") else 0,
            np.bool_ if name in flags else np.int64,
        )
        for name in columns
    }
    return Cycles(names, **empty)


def _run(
    workload: Workload, archs: Archs, rows: npt.NDArray[np.intp], dram: Dram
) -> dict[str, npt.NDArray[Any]]:
    """The columns of ``Cycles`` for some rows."""
    workload, archs = workload.take(rows), archs.take(rows)
    found: dict[str, npt.NDArray[Any]] = {}
    for mine, variant in folded(workload, archs):
        columns = _columns(Run(variant.take(mine), archs.take(mine), dram).run())
        for key, values in columns.items():
            shape = (*values.shape[:-1], len(rows))
            found.setdefault(key, np.zeros(shape, values.dtype))[..., mine] = values
    return found


def _columns(run: RunColumns) -> Mapping[str, npt.NDArray[Any]]:
    """A run's columns, and what follows from them."""
    found = {field.name: getattr(run, field.name) for field in fields(run)}
    waited = found.pop("waited")
    beat = found.pop("beat_bytes")
    found["dram"] = -(-np.maximum(run.read, run.written) // beat)
    found["bound"] = np.where(
        2 * run.compute >= run.layers,
        int(Bound.ARRAY),
        np.where(2 * waited >= run.layers - run.compute, int(Bound.DRAM), int(Bound.LATENCY)),
    )
    return found
