"""Joint search of network and hardware beside searches of one side: CIFAR-10 on a PYNQ-Z2.

    python benchmarks/explore_cifar10.py run joint 0            # a sweep: mode, seed
    python benchmarks/explore_cifar10.py compare                # table and plot of those there are

Modes: ``joint``; ``network``, on the preset ``pynq_z2``; ``hardware``, for ResNet-8 as it was
trained. All have the same time and the same objectives. A sweep's result goes to
``benchmarks/results/explore_cifar10``, which also says what hypervolumes are shares of; the table
goes into ``docs/performance.md``, the plot beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from codesign.cli.explore import command as explore
from codesign.explore.front import hypervolume, non_dominated
from codesign.explore.store import RUN, TRIALS, read_json, read_lines
from codesign.report import files

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "explore_cifar10"
PAGE, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "explore_cifar10.svg"
EXAMPLES = ROOT / "examples" / "explore"
MODES = {"joint": "cifar10", "network": "cifar10_network", "hardware": "cifar10_hardware"}
SEEDS = (0, 1, 2)
MINUTES = 15.0
OBJECTIVES = ("error", "latency_ms", "energy_uj", "lut")
REFERENCE = {"error": 0.4, "latency_ms": 0.5, "energy_uj": 850.0, "lut": 0.85 * 53_200}
"""What every front is measured against: the bounds of the examples, and the LUTs that may be used
of an xc7z020. Hypervolumes are shares of the box between it and 0."""
_STEP_S = 15.0
_BEGIN, _END = "<!-- explore_cifar10 -->", "<!-- end of explore_cifar10 -->"
_COLOURS = {"joint": "#0a7d5c", "network": "#c25700", "hardware": "#3b5bdb"}
FloatArray = npt.NDArray[np.float64]


@click.group()
def main() -> None:
    """Compare searches of both sides with searches of one."""


@main.command()
@click.argument("mode", type=click.Choice(tuple(MODES)))
@click.argument("seed", type=click.IntRange(min=0))
@click.option("--minutes", type=float, default=MINUTES, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=ROOT / "build" / "explore")
def run(mode: str, seed: int, minutes: float, results: Path, output: Path) -> None:
    """One sweep on one core, its front without finalists, and its result."""
    folder = output / f"{mode}_{seed}"
    problem = EXAMPLES / f"{MODES[mode]}.yaml"
    options = {"--minutes": minutes, "--seed": seed, "--workers": 1, "--finalists": 0}
    given = [str(at) for option in options.items() for at in option]
    code = explore.main([str(problem), "-o", str(folder), *given], standalone_mode=False)
    if code:
        raise click.ClickException(f"the sweep ended with {code}")
    found = result(mode, seed, folder)
    files.write_json(results / f"{mode}_{seed}.json", found)
    click.echo(f"{mode} {seed}: hypervolume {found['hypervolume']:.4f}")


def result(mode: str, seed: int, folder: Path) -> dict[str, Any]:
    """What a sweep's folder tells, by the common reference point."""
    about = read_json(folder / RUN)
    assert about is not None
    history = growth(list(read_lines(folder / TRIALS)), about["elapsed_s"])
    latest = {at["id"]: objectives(at) for at in read_lines(folder / TRIALS)}
    values = np.array(list(latest.values())).reshape(-1, len(OBJECTIVES))
    front = values[non_dominated(values)]
    return {
        "mode": mode,
        "seed": seed,
        "elapsed_s": about["elapsed_s"],
        "counts": about["counts"],
        "versions": about["versions"],
        "reference": REFERENCE,
        "hypervolume": share(front),
        "history": history,
        "objectives": list(OBJECTIVES),
        "front": front.round(6).tolist(),
    }


def objectives(trial: Mapping[str, Any]) -> list[float]:
    """Of a line of ``trials.jsonl``, all the less the better."""
    values = {**trial["values"], "error": 1 - trial["values"]["accuracy"]}
    return [values[name] for name in OBJECTIVES]


def share(values: FloatArray) -> float:
    """Hypervolume of designs as a share of the box."""
    scaled = np.asarray(values, np.float64) / np.array(list(REFERENCE.values()))
    return hypervolume(scaled, np.ones(len(REFERENCE)))


def growth(trials: Sequence[Mapping[str, Any]], end_s: float) -> list[tuple[float, float]]:
    """(seconds, hypervolume) of the front, every quarter of a minute."""
    latest: dict[int, list[float]] = {}
    found, waiting = [], sorted(trials, key=lambda at: at["elapsed_s"])
    for until in [*np.arange(_STEP_S, end_s, _STEP_S).tolist(), end_s]:
        while waiting and waiting[0]["elapsed_s"] <= until:
            trial = waiting.pop(0)
            latest[trial["id"]] = objectives(trial)
        values = np.array(list(latest.values())).reshape(-1, len(OBJECTIVES))
        found.append((round(until, 1), share(values[non_dominated(values)])))
    return found


@main.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), default=PLOT, show_default=True)
def compare(results: Path, page: Path, plot: Path) -> None:
    """Write the table between the page's marks, and the plot."""
    found = [json.loads(path.read_text()) for path in sorted(results.glob("*_*.json"))]
    if not found:
        raise click.ClickException(f"{results} holds no result; run some sweeps first")
    text = table(found)
    click.echo(text)
    whole = page.read_text(encoding="utf-8")
    if _BEGIN not in whole:
        raise click.ClickException(f"{page} lacks the mark {_BEGIN}")
    marked = re.compile(f"{_BEGIN}.*{_END}", re.DOTALL)
    files.write_text(page, marked.sub(lambda _: f"{_BEGIN}\n{text}\n{_END}", whole))
    draw(found, plot)


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """A row a seed: hypervolumes, and how much of the fronts of one side the joint one covers."""
    by_mode = {(at["mode"], at["seed"]): at for at in found}
    seeds = sorted({at["seed"] for at in found})
    lines = [
        "| seed | joint | network alone | hardware alone | covered: network | hardware |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for seed in seeds:
        rows = {mode: by_mode.get((mode, seed)) for mode in MODES}
        volumes = [f"{at['hypervolume']:.4f}" if at else "" for at in rows.values()]
        joint = rows["joint"]
        covers = [
            f"{covered(joint['front'], at['front']):.0%}" if joint and at else ""
            for at in (rows["network"], rows["hardware"])
        ]
        lines.append(f"| {' | '.join([str(seed), *volumes, *covers])} |")
    return "\n".join(lines)


def covered(front: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """The share of another front's designs that some design of the front is as good as, or better,
    in every objective (E. Zitzler, L. Thiele, 1999: coverage)."""
    better = np.array(front)
    return float(np.mean([(better <= np.array(at) + 1e-9).all(axis=1).any() for at in other]))


def draw(found: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Hypervolume over time, and the fronts as error against latency."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.hashsalt": "explore", "font.size": 9})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 3.6))
    for mode, colour in _COLOURS.items():
        of_mode = [at for at in found if at["mode"] == mode]
        for at in of_mode:
            seconds, volumes = zip(*at["history"], strict=True)
            label = {"label": mode} if at is of_mode[0] else {}
            left.plot(np.array(seconds) / 60, volumes, color=colour, lw=1.2, **label)
            points = np.array(at["front"])[:, :2]
            front = points[non_dominated(points)]
            front = front[front[:, 1].argsort()]
            right.step(front[:, 1], 1 - front[:, 0], where="post", color=colour, lw=1.2, **label)
    left.set(xlabel="minutes", ylabel="hypervolume", title="front's growth, each seed")
    right.set(xlabel="latency, ms", ylabel="accuracy (validation)", title="accuracy and latency")
    right.set_xscale("log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
