import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from codesign.errors import ExplorationError
from codesign.explore.engine import PATIENCE, Budget, Engine
from codesign.explore.evaluation import MAX_FAILURES, InProcess
from codesign.explore.front import hypervolume
from codesign.explore.models import Accuracy, Costs
from codesign.explore.problem import Finetune
from codesign.explore.search import NAMES
from codesign.explore.store import FRONT, PROBLEM, RUN, TRIALS, Store
from tests.conftest import ROOT
from tests.explore.sweep import (
    HARDWARE,
    NETWORK,
    Formulas,
    accuracy,
    make,
    problem,
    sweep,
    whole_front,
)

EVOLUTION = [name for name in ("random", "nsga2", "surrogate") if name in (*NAMES, "surrogate")]


def volume(engine):
    return engine.scale.hypervolume(engine.archive.minimised(engine.archive.front()))


def without_times(folder):
    lines = [json.loads(line) for line in (folder / TRIALS).read_text().splitlines()]
    return [{name: at[name] for name in at if name != "elapsed_s"} for at in lines]


def test_the_surrogate_finds_the_front_with_few_evaluations(tmp_path):
    engine = sweep(tmp_path, 120)
    best = engine.scale.hypervolume(whole_front())
    assert volume(engine) > 0.99 * best
    assert engine.counts.accuracy < 0.2 * 5**4


def test_the_surrogate_finds_more_than_samplers_with_as_many_evaluations(tmp_path):
    engine = sweep(tmp_path / "surrogate", 60)
    others = [
        sweep(tmp_path / name, engine.counts.accuracy, sampler=name) for name in ("nsga2", "random")
    ]
    assert volume(engine) > max(map(volume, others))


def test_the_front_is_that_of_the_designs(tmp_path):
    engine = sweep(tmp_path, 60, finetune=Finetune(100, 2))
    run = json.loads((tmp_path / RUN).read_text())
    latest = {at["id"]: at for at in without_times(tmp_path)}
    assert run["state"] == "finished"
    assert list(latest) == list(range(len(latest)))
    assert run["counts"]["finetuned"] == 2 * engine.progress().rounds
    points = np.array([
        [-at["values"]["accuracy"], at["values"]["latency_ms"], at["values"]["lut"]]
        for at in latest.values()
    ])  # fmt: skip
    dominated = [
        any((other <= at).all() and (other < at).any() for other in points) for at in points
    ]
    front = set(json.loads((tmp_path / FRONT).read_text()))
    assert not front & set(np.flatnonzero(dominated).tolist())
    reference = np.array(
        [
            -run["reference_point"]["accuracy"],
            *map(run["reference_point"].get, ("latency_ms", "lut")),
        ]
    )
    assert hypervolume(points[sorted(front)], reference) == pytest.approx(
        hypervolume(points, reference)
    )
    assert volume(engine) == pytest.approx(run["hypervolume"][-1][1])


def test_hypervolume_never_falls(tmp_path):
    engine = sweep(tmp_path, 60, finetune=Finetune(100, 2))
    values = [value for _, value in engine.progress().hypervolume]
    assert values == sorted(values)


def test_fine_tuning_takes_the_designs_of_its_network_along(tmp_path):
    engine = sweep(tmp_path, 40, finetune=Finetune(100, 3))
    lines = without_times(tmp_path)
    tuned = {at["network"] for at in lines if at["fidelity"] == "finetuned"}
    trained = {at.identity for at in engine.archive.networks.values() if any(at.accuracy)}
    assert len(trained) == 3 * engine.progress().rounds
    assert tuned
    assert tuned <= trained
    lossless = {name for name in trained if not name.strip("0,")}  # nothing to win back
    assert tuned == (trained - lossless) & {at["network"] for at in lines}
    last = {at["id"]: at for at in lines}
    assert {at["fidelity"] for at in last.values() if at["network"] in tuned} == {"finetuned"}
    assert {at["fidelity"] for at in last.values() if at["network"] not in tuned} == {"ptq"}


@pytest.mark.parametrize("sampler", EVOLUTION)
def test_equal_seeds_make_equal_sweeps(tmp_path, sampler):
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        sweep(folder, 30, sampler=sampler, seed=seed)
    first, again, other = map(without_times, folders)
    assert first == again
    assert first != other


def test_what_does_not_fit_is_counted_and_never_evaluated(tmp_path):
    engine = sweep(tmp_path, 40, sampler="random")
    assert engine.counts.rejected["lut beyond 700"] > 0
    assert all(at.costs["lut"] <= 700 for at in engine.archive.designs)


def test_hardware_alone_takes_one_evaluation_and_ends(tmp_path):
    engine = sweep(tmp_path, parameters=HARDWARE)
    assert engine.counts.accuracy == 1
    values = engine.archive.minimised(engine.archive.front())
    everything = whole_front()
    accurate = everything[everything[:, 0] == everything[:, 0].min()]
    assert engine.scale.hypervolume(values) == pytest.approx(engine.scale.hypervolume(accurate))


def test_networks_alone_have_one_design_each(tmp_path):
    engine = sweep(tmp_path, 24, parameters=NETWORK)
    assert engine.counts.accuracy == len(engine.archive.designs)


def test_time_ends_a_sweep(tmp_path):
    begin = time.monotonic()
    engine = sweep(tmp_path, seconds=1.0, delay=0.05)
    assert time.monotonic() - begin < 5
    assert engine.archive.designs


@pytest.mark.parametrize("sampler", EVOLUTION)
def test_a_sweep_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, sampler):
    sweep(tmp_path / "whole", 40, sampler=sampler)
    asked = problem(sampler=sampler)
    for stop in (5, 9, 10**9):
        calls = 0

        def evaluate(task, stop=stop):
            nonlocal calls
            calls += 1
            if calls == stop:
                raise KeyboardInterrupt
            return make()(task)

        with (
            Store(tmp_path / "parts") as store,
            InProcess(lambda: evaluate) as workers,
        ):
            store.begin("formulas\n", seed=0)
            engine = Engine(asked, Formulas(), workers, store, Budget(trials=40))
            if stop < 10**9:
                with pytest.raises(KeyboardInterrupt):
                    engine.run()
                assert store.run()["state"] == "interrupted"
            else:
                engine.run()
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")


@pytest.mark.parametrize("sampler", ["surrogate", "nsga2"])
def test_a_sweep_that_was_killed_loses_the_running_evaluation_at_most(tmp_path, sampler):
    folder, log = tmp_path / "killed", tmp_path / "log"
    command = [sys.executable, "-m", "tests.explore.sweep", folder, "40", "0.05", log, sampler]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment)
    while not log.exists() or len(log.read_text().splitlines()) < 19:
        assert first.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, check=True)
    evaluated = log.read_text().splitlines()
    assert len(evaluated) - len(set(evaluated)) <= 1
    sweep(tmp_path / "whole", 40, sampler=sampler, finetune=Finetune(100, 3))
    assert without_times(folder) == without_times(tmp_path / "whole")
    names = (FRONT, "front.csv")
    assert [(folder / at).read_text() for at in names] == [
        (tmp_path / "whole" / at).read_text() for at in names
    ]


def test_a_network_that_fails_is_counted_and_not_tried_again(tmp_path):
    tried = []

    def evaluate(task):
        tried.append(task.identity)
        if task.choice["prune.channels.layer0"] >= 0.4:
            raise ValueError("odd channels")
        return make()(task)

    with Store(tmp_path) as store, InProcess(lambda: evaluate) as workers:
        store.begin("formulas\n", seed=0)
        engine = Engine(problem(), Formulas(), workers, store, Budget(trials=30))
        engine.run()
    assert engine.counts.failed["ValueError: odd channels"] > 0
    assert len(tried) == len(set(tried))


def test_a_sweep_in_which_nothing_can_be_evaluated_ends(tmp_path):
    tried = []

    def evaluate(task):
        tried.append(task)
        raise ValueError("no data")

    with Store(tmp_path) as store, InProcess(lambda: evaluate) as workers:
        store.begin("formulas\n", seed=0)
        engine = Engine(problem(), Formulas(), workers, store, Budget(trials=60))
        with pytest.raises(ExplorationError, match=r"cannot be evaluated.*no data"):
            engine.run()
    assert len(tried) == MAX_FAILURES


class Tight(Formulas):
    """Few designs fit: the smallest architecture, its layers nearly empty."""

    def costs(self, points):
        found = super().costs(points)
        beyond = np.where((found.values["lut"] <= 180) & (found.values["macs"] <= 1.4e6), 0.0, 1.0)
        return Costs(found.values, beyond, tuple("too large" if at else "" for at in beyond))


def test_batches_that_are_rejected_whole_end_no_sweep(tmp_path):
    with Store(tmp_path) as store, InProcess(make) as workers:
        store.begin("formulas\n", seed=0)
        engine = Engine(problem(sampler="random"), Tight(), workers, store, Budget(trials=2))
        engine.run()
    assert len(engine.archive.designs) >= 2
    empty = [not at["networks"] for at in Store(tmp_path).rounds()]
    longest = max(len(run) for run in "".join(".#"[at] for at in empty).split("."))
    assert longest > PATIENCE


def test_a_space_in_which_nothing_fits_ends_with_the_reasons(tmp_path):
    class Misfits(Formulas):
        def costs(self, points):
            found = super().costs(points)
            return Costs(found.values, np.ones(len(points)), ("too large",) * len(points))

    with Store(tmp_path) as store, InProcess(make) as workers:
        store.begin("formulas\n", seed=0)
        models = Misfits(HARDWARE)
        engine = Engine(problem(sampler="random"), models, workers, store, Budget(trials=3))
        with pytest.raises(ExplorationError, match=r"none of 18 .*too large \(18\); relax"):
            engine.run()
    assert engine.counts.accuracy == 0


def test_networks_that_fit_on_no_hardware_are_not_evaluated(tmp_path):
    class Heavy(Formulas):
        def costs(self, points):
            found = super().costs(points)
            beyond = np.where(found.values["macs"] > 2e6, 1.0, 0.0)
            return Costs(found.values, beyond, tuple("macs" if at else "" for at in beyond))

    with Store(tmp_path) as store, InProcess(make) as workers:
        store.begin("formulas\n", seed=0)
        engine = Engine(problem(), Heavy(), workers, store, Budget(trials=30))
        engine.run()
    assert len(engine.archive.designs) >= 30
    assert all(at.macs <= 2e6 for at in engine.archive.networks.values())


def test_fine_tuning_that_does_harm_is_not_taken(tmp_path):
    def evaluate(task):
        better = accuracy(task.choice, 0)
        return Accuracy(better - 0.2 if task.steps else better, 1.0)

    asked = problem(finetune=Finetune(100, 3))
    with Store(tmp_path) as store, InProcess(lambda: evaluate) as workers:
        store.begin("formulas\n", seed=0)
        engine = Engine(asked, Formulas(), workers, store, Budget(trials=30))
        engine.run()
        again = Engine(asked, Formulas(), workers, store, Budget(trials=30))
    assert engine.counts.finetuned > 0
    for found in (engine, again):
        assert {at.fidelity for at in found.archive.networks.values()} == {"ptq"}
    for line in without_times(tmp_path):
        assert line["values"]["accuracy"] == pytest.approx(accuracy(line["choice"], 0))


def test_a_measure_that_is_not_known_is_null(tmp_path):
    class Unmetered(Formulas):
        def costs(self, points):
            found = super().costs(points)
            energy = {"energy_uj": np.full(len(points), np.nan)}
            return Costs({**found.values, **energy}, found.violation, found.reasons)

    with Store(tmp_path) as store, InProcess(make) as workers:
        store.begin("formulas\n", seed=0)
        Engine(problem(), Unmetered(), workers, store, Budget(trials=10)).run()
        again = Engine(problem(), Unmetered(), workers, store, Budget(trials=10))
    assert {at["values"]["energy_uj"] for at in without_times(tmp_path)} == {None}
    assert all(np.isnan(at.costs["energy_uj"]) for at in again.archive.designs)


def test_a_folder_without_rounds_takes_a_corrected_problem(tmp_path):
    with Store(tmp_path) as store:
        store.begin("wrong\n", seed=0)
        store.write_run({"name": "wrong", "seed": 0})
    with Store(tmp_path) as store:
        store.begin("right\n", seed=1)
    assert (tmp_path / PROBLEM).read_text() == "right\n"


def test_a_users_own_file_is_left_alone(tmp_path):
    (tmp_path / PROBLEM).write_text("mine\n")
    with Store(tmp_path) as store, pytest.raises(ExplorationError, match="another problem"):
        store.begin("formulas\n", seed=0)
    assert (tmp_path / PROBLEM).read_text() == "mine\n"


def test_another_problem_needs_another_folder(tmp_path):
    sweep(tmp_path, 10)
    with Store(tmp_path) as store:
        with pytest.raises(ExplorationError, match="another seed"):
            store.begin("formulas\n", seed=1)
        with pytest.raises(ExplorationError, match="another problem"):
            store.begin("other\n", seed=0)


def test_a_folder_takes_one_sweep_at_a_time(tmp_path):
    with Store(tmp_path), pytest.raises(ExplorationError, match="another sweep is writing"):
        Store(tmp_path)
