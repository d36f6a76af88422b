"""`codesign explore`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
from rich.table import Table

from codesign.cli.console import console
from codesign.cli.explore_verify import verify
from codesign.cli.explore_view import View, clock, rejected
from codesign.cli.options import EXISTING_FILE, FOLDER
from codesign.cli.session import EXIT_DIFFERENT
from codesign.errors import ExplorationError
from codesign.explore.accuracy import make_evaluator
from codesign.explore.designs import Designs
from codesign.explore.engine import Budget, Engine
from codesign.explore.evaluation import InProcess
from codesign.explore.finalists import Finalist, Finals, wrong
from codesign.explore.networks import Networks
from codesign.explore.problem import Problem
from codesign.explore.remote import use_one_thread
from codesign.explore.space_file import load
from codesign.explore.store import RUN, Store, read_json
from codesign.explore.workers import ProcessWorkers, Workers
from codesign.report import explore_page

EXIT_INTERRUPTED = 130
REPORT = "report.html"
_SHOWN = 12


@click.command()
@click.argument("problem", type=EXISTING_FILE)
@click.option("-o", "--output", type=FOLDER, required=True, help="The sweep's folder.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
              help="Time for the search, in all its runs; finalists come after it.")  # fmt: skip
@click.option("--trials", type=click.IntRange(min=1), help="Designs to evaluate.")
@click.option("--workers", type=click.IntRange(min=1),
              help="Processes that evaluate networks; 1: this one.  [default: cores]")  # fmt: skip
@click.option("--ray", metavar="ADDRESS",
              help="Evaluate on a Ray cluster: HOST:PORT, ray://HOST:PORT or auto.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), help="Instead of the problem's.")
@click.option("--finalists", type=click.IntRange(min=0), help="Instead of the problem's.")
@click.option("--design", type=click.IntRange(min=0), multiple=True,
              help="Compile and verify this design; search no more.")  # fmt: skip
def command(
    problem: Path,
    output: Path,
    minutes: float | None,
    trials: int | None,
    workers: int | None,
    ray: str | None,
    seed: int | None,
    finalists: int | None,
    design: tuple[int, ...],
) -> int:
    """Search networks and hardware together for what PROBLEM, a YAML file, asks.

    The closed form rejects what does not fit; accuracies are evaluated after pruning and
    quantisation; what promises most is fine-tuned; finalists are compiled and must give the same
    bits in RTL simulation. The front is written as it grows; the same command goes on where an
    earlier one was stopped, whatever stopped it. docs/explore.md tells more.

    Exit code: 0, 1 where a finalist's RTL differs, 2 anything else, 130 after Ctrl-C.

    \b
    Examples:
      codesign explore examples/explore/digits.yaml -o build/digits
      codesign explore examples/explore/cifar10.yaml -o build/cifar10 --minutes 30 --workers 8
      codesign explore examples/explore/digits.yaml -o build/digits --design 7
      codesign report build/digits
    """
    if design and seed is None:  # that of the sweep which found it
        seed = (read_json(output / RUN) or {}).get("seed")
    asked = _asked(load(problem), minutes, trials, seed)
    limit = asked.search.minutes
    budget = Budget(None if limit is None else 60 * limit, asked.search.trials)
    count = asked.fidelities.finalists if finalists is None else finalists
    with Store(output) as store:
        # workers start while the network is loaded: both take seconds, of importing torch
        with _workers(asked, 1 if design else workers, None if design else ray) as evaluators:
            console.print(f"{asked.name}: loading the network")
            designs = Designs(asked, Networks(asked))
            about = {"sources": designs.sources}
            store.begin(problem.read_text(encoding="utf-8"), seed=asked.search.seed, **about)
            view = View(asked.name, budget)
            engine = Engine(
                asked, designs, evaluators, store, budget,
                limits=designs.limits(), about=about, observe=view.show,
            )  # fmt: skip
            try:
                if not design:
                    with view:
                        engine.run()
                    _show(engine)
                final = _final(asked, engine, store, count, design)
            except KeyboardInterrupt:
                console.print("stopped; the same command goes on from here")
                return EXIT_INTERRUPTED
        engine.record_verified()
        explore_page.write(output, output / REPORT)
    console.print(f"{output / REPORT} shows it all; `codesign report {output}` makes it again")
    if bad := wrong(final):
        console.print(f"RTL differs from the reference in {bad}: these are no results")
        return EXIT_DIFFERENT
    return 0


def _asked(
    problem: Problem, minutes: float | None, trials: int | None, seed: int | None
) -> Problem:
    """The problem with what the command line says otherwise."""
    search = problem.search
    if minutes is not None or trials is not None:  # the file's limits are no longer meant
        search = dataclasses.replace(search, minutes=minutes, trials=trials)
    if seed is not None:
        search = dataclasses.replace(search, seed=seed)
    return dataclasses.replace(problem, search=search)


def _workers(problem: Problem, count: int | None, ray: str | None) -> Workers:
    make = partial(make_evaluator, problem)
    if ray is not None:
        from codesign.explore.ray_workers import RayWorkers

        return RayWorkers(make, ray, count)
    count = count or os.cpu_count() or 1
    if count == 1:
        use_one_thread()
        return InProcess(make)
    return ProcessWorkers(make, count)


def _final(
    problem: Problem, engine: Engine, store: Store, count: int, design: Sequence[int]
) -> list[Finalist]:
    """The finalists, verified: those that were asked for by number, or some of the front."""
    if not count and not design:
        return []
    finals = Finals(problem, engine.archive, engine.scale, store, verify)
    if design:
        known = len(engine.archive.designs)
        if not known:
            raise ExplorationError(f"{store.folder} has no designs yet; search without --design")
        if missing := [number for number in design if number >= known]:
            raise ExplorationError(f"there is no design {missing[0]}; the sweep has 0..{known - 1}")
        found = [finals.finish(engine.archive.designs[number], console.print) for number in design]
    else:
        found = finals.run(count, console.print)
    _show_finalists(found)
    return found


def _show(engine: Engine) -> None:
    """The front, the best in the first objective first."""
    progress = engine.progress()
    counts, names = progress.counts, [at.name for at in engine.problem.objectives]
    console.print(
        f"{clock(progress.elapsed_s)} for {counts.closed_form:,} designs in closed form, "
        f"{counts.accuracy} networks evaluated, {counts.finetuned} of them fine-tuned"
    )
    console.print(f"rejected {rejected(counts.rejected)}")
    front = engine.archive.front()
    table = Table(title=f"front: {len(front)} of {progress.trials} designs")
    for heading in ("design", *names, "by"):
        table.add_column(heading, justify="right")
    values = engine.archive.minimised(front)
    order = values[:, 0].argsort(kind="stable").tolist()
    step = max(1, -(-len(order) // _SHOWN))
    for row in order[::step]:
        measured = engine.archive.values(front[row])
        fidelity = engine.archive.networks[front[row].identity].fidelity
        table.add_row(
            str(front[row].number), *(_shown(name, measured[name]) for name in names), fidelity
        )
    console.print(table)


def _show_finalists(found: Sequence[Finalist]) -> None:
    table = Table(title="finalists, in RTL simulation")
    for heading in ("design", "test accuracy", "cycles", "predicted", "closed form", "bit exact"):
        table.add_column(heading, justify="right")
    for at in found:
        cycles = at.document["cycles"]
        table.add_row(
            str(at.number),
            f"{at.document['accuracy']['test']:.2%}",
            f"{cycles['simulated_rtl']:,}",
            f"{cycles['predicted_exact']:,}",
            f"{cycles['predicted_closed_form']:,}",
            "yes" if at.bit_exact else "NO",
        )
    console.print(table)


def _shown(name: str, value: float) -> str:
    return f"{value:.2%}" if name == "accuracy" else f"{value:,.4g}"
