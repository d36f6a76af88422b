"""Latency that a training loop can descend: expected over choices, smooth over channel counts.

Both read a ``LatencyTable``, so that what is optimised is the architecture's own latency. The
figures are in milliseconds, or in any other column of the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import torch

from codesign.explore.latency_table import LatencyTable, Row, columns_differing

AXES = ("in_channels", "out_channels", "expand", "sparsity")
"""Fields that may be any number between two choices."""


class ExpectedLatency(torch.nn.Module):
    """Latency of a network whose layers are mixtures of their choices: the sum over layers of
    (weight of a choice * its latency).

    Weights are what the network mixes its choices with: softmax or Gumbel-softmax of architecture
    parameters (Wu et al., FBNet, CVPR 2019, equation 4), or the probabilities with which it
    samples them (Cai et al., ProxylessNAS, ICLR 2019, equation 6).

    Parameters
    ----------
    table:
        Its layers and choices, in their order.
    column:
        The figure: "latency_ms", or another of ``latency_table.COLUMNS``.
    """

    def __init__(self, table: LatencyTable, column: str = "latency_ms") -> None:
        super().__init__()
        self.layers = tuple(table.layers)
        for number, name in enumerate(self.layers):
            self._keep(f"layer{number}", torch.from_numpy(table.column(name, column)))

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def forward(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """``weights``: layer -> [..., choices], summing to 1; the latency is of shape [...].

        Raises
        ------
        ValueError
            A layer is missing, unknown, or has another number of choices.
        """
        _check_layers(weights, self.layers)
        total = torch.zeros(())
        for number, name in enumerate(self.layers):
            latencies, given = self.get_buffer(f"layer{number}"), weights[name]
            if given.shape[-1:] != latencies.shape:
                raise ValueError(
                    f"layer {name!r} has {len(latencies)} choices; its weights are of shape "
                    f"{list(given.shape)}"
                )
            total = total + (given * latencies.to(given.dtype)).sum(-1)
        return total


class SmoothLatency(torch.nn.Module):
    """Latency of a network whose channel counts, or sparsities, are real numbers: linear between
    neighbouring choices of the table along every axis, and exact at them.

    The machine's own latency is a staircase, for a block of N outputs or M inputs takes its time
    whether it is full or not: the line through the stairs' edges tells a training loop where fewer
    channels lead. Beyond the first and last choice of an axis the latency stays as it is there.

    Parameters
    ----------
    table:
        The choices of each layer differ in ``AXES`` alone, and are all combinations of the values
        along them (`{up_to: 64}` in YAML).
    """

    def __init__(self, table: LatencyTable, column: str = "latency_ms") -> None:
        super().__init__()
        self.layers = tuple(table.layers)
        self.axes: dict[str, tuple[str, ...]] = {}
        for number, name in enumerate(self.layers):
            axes, steps, grid = _grid(name, table.layers[name], table.column(name, column))
            self.axes[name] = axes
            self._keep(f"grid{number}", grid)
            for axis, values in zip(axes, steps, strict=True):
                self._keep(f"steps{number}_{axis}", values)

    def _keep(self, name: str, values: torch.Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def forward(self, values: Mapping[str, Mapping[str, torch.Tensor]]) -> torch.Tensor:
        """``values``: layer -> axis -> any shape, the same for all; the latency is of that shape.

        Raises
        ------
        ValueError
            A layer is missing or unknown, or its axes are others.
        """
        _check_layers(values, self.layers)
        total = torch.zeros(())
        for number, name in enumerate(self.layers):
            if set(values[name]) != set(self.axes[name]):
                raise ValueError(
                    f"layer {name!r} has axes {list(self.axes[name])}, not {sorted(values[name])}"
                )
            total = total + self._layer(number, name, values[name])
        return total

    def _layer(self, number: int, name: str, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Multilinear interpolation: the sum over the corners of the cell around the point."""
        grid = self.get_buffer(f"grid{number}")
        cells = [
            _cell(self.get_buffer(f"steps{number}_{axis}"), values[axis])
            for axis in self.axes[name]
        ]
        total: torch.Tensor = torch.zeros((), dtype=grid.dtype, device=grid.device)
        for corner in itertools.product((0, 1), repeat=len(cells)):
            weight: torch.Tensor = torch.ones((), dtype=grid.dtype, device=grid.device)
            for side, (_, along) in zip(corner, cells, strict=True):
                weight = weight * (along if side else 1 - along)
            place = tuple(first + side for side, (first, _) in zip(corner, cells, strict=True))
            total = total + weight * grid[place]
        return total


def _cell(steps: torch.Tensor, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The step before each value, and how far the value is on the way to the next, 0..1."""
    inside = torch.clamp(at.to(steps.dtype), steps[0], steps[-1])
    first = torch.bucketize(inside.detach(), steps, right=True) - 1
    first = torch.clamp(first, 0, len(steps) - 2)
    return first, (inside - steps[first]) / (steps[first + 1] - steps[first])


def _grid(
    layer: str, rows: tuple[Row, ...], figures: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> tuple[tuple[str, ...], list[torch.Tensor], torch.Tensor]:
    """Axes along which a layer's choices differ, the values along each, and figures on the grid."""
    axes = tuple(columns_differing(rows))
    if others := [name for name in axes if name not in AXES]:
        raise ValueError(
            f"choices of layer {layer!r} differ in {others[0]}, between whose values nothing lies; "
            "use ExpectedLatency"
        )
    steps = [sorted({getattr(row.choice, axis) for row in rows}) for axis in axes]
    grid = np.full([len(values) for values in steps], np.nan)
    for row, figure in zip(rows, figures, strict=True):
        place = (v.index(getattr(row.choice, a)) for a, v in zip(axes, steps, strict=True))
        grid[tuple(place)] = figure
    if np.isnan(grid).any():
        raise ValueError(
            f"choices of layer {layer!r} are not all combinations of {', '.join(axes)}: "
            f"{len(rows)} of {grid.size}"
        )
    tensors = [torch.tensor(values, dtype=torch.float64) for values in steps]
    return axes, tensors, torch.from_numpy(grid)


def _check_layers(given: Mapping[str, object], known: tuple[str, ...]) -> None:
    if odd := sorted(given.keys() ^ set(known)):
        what = "is missing" if odd[0] in known else "is not in the table"
        raise ValueError(f"layer {odd[0]!r} {what}; the table has {', '.join(known)}")
