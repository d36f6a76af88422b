"""A sweep's progress in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from codesign.cli.console import console
from codesign.explore.engine import Budget, Progress

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 40
_REASONS = 4
_PLAIN_S = 20.0
"""Where output is no terminal: a line every so many seconds."""


class View:
    """Shows progress while it is entered: live in a terminal, else line by line."""

    def __init__(self, name: str, budget: Budget) -> None:
        self._name, self._budget = name, budget
        self._live: Live | None = None
        self._last = 0.0

    def show(self, progress: Progress) -> None:
        """The state of the sweep now."""
        if self._live is not None:
            self._live.update(self._panel(progress))
        elif time.monotonic() - self._last >= _PLAIN_S:
            self._last = time.monotonic()
            console.print(self._line(progress))

    def _panel(self, at: Progress) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        counts = at.counts
        share, left = self._left(at)
        table.add_row(self._name, f"{at.activity}" + (f" ({at.running})" if at.running else ""))
        bar = ProgressBar(100.0, 100.0 * share, width=_WIDTH) if share is not None else Text("")
        table.add_row("time", Text(f"{clock(at.elapsed_s)}{left}"))
        if share is not None:
            table.add_row("", bar)
        table.add_row("closed form", f"{counts.closed_form:,} designs")
        table.add_row("rejected", rejected(counts.rejected))
        table.add_row(
            "networks", f"{counts.accuracy} evaluated, {counts.finetuned} of them fine-tuned"
        )
        table.add_row("front", f"{at.front} of {at.trials} designs")
        table.add_row("hypervolume", growth([value for _, value in at.hypervolume]))
        return Group(table)

    def _line(self, at: Progress) -> str:
        _, left = self._left(at)
        volume = at.hypervolume[-1][1] if at.hypervolume else 0.0
        return (
            f"{clock(at.elapsed_s)}{left}: {at.activity}; "
            f"{at.counts.closed_form:,} in closed form, "
            f"{sum(at.counts.rejected.values()):,} rejected, {at.counts.accuracy} networks, "
            f"{at.counts.finetuned} fine-tuned, front {at.front}, hypervolume {volume:.4f}"
        )

    def _left(self, at: Progress) -> tuple[float | None, str]:
        """The share of the budget that is used up, and what is left of it."""
        seconds, trials = self._budget.seconds, self._budget.trials
        if seconds is not None:
            left = max(seconds - at.elapsed_s, 0.0)
            return min(at.elapsed_s / seconds, 1.0), f", {clock(left)} left"
        if trials is not None and at.trials:
            left = at.elapsed_s / at.trials * max(trials - at.trials, 0)
            return min(at.trials / trials, 1.0), f", about {clock(left)} left"
        return None, ""

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._live = Live(console=console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()


def clock(seconds: float) -> str:
    """Such as 3:05."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


def rejected(reasons: dict[str, int]) -> str:
    """How many, and the most frequent reasons."""
    if not reasons:
        return "none"
    most = sorted(reasons.items(), key=lambda at: -at[1])
    text = ", ".join(f"{why} {count:,}" for why, count in most[:_REASONS])
    more = sum(count for _, count in most[_REASONS:])
    return f"{sum(reasons.values()):,}: {text}" + (f", others {more:,}" if more else "")


def growth(values: Sequence[float]) -> str:
    """The last value, and how it came to be as bars."""
    if not values:
        return ""
    low, high = values[0], values[-1]
    step = max(1, -(-len(values) // _WIDTH))
    shown = values[::-1][::step][::-1]
    extent = max(high - low, 1e-12)
    bars = "".join(
        _BARS[min(int((value - low) / extent * (len(_BARS) - 1) + 0.5), 7)] for value in shown
    )
    return f"{high:.4f} {bars}"
