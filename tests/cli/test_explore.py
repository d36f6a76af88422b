import json

import pytest

from codesign.arch_file import load as load_arch
from codesign.artifact import Program
from codesign.cli.explore import EXIT_INTERRUPTED, REPORT, command
from codesign.cli.explore_view import View, clock, growth, rejected
from codesign.errors import ExplorationError
from codesign.explore.counting import Counts
from codesign.explore.engine import Budget, Engine, Progress
from codesign.explore.store import RUN, TRIALS, read_lines

TEXT = """
name: small
network:
  model: codesign.zoo.explorable:digits
  data: codesign.zoo.explorable:digits_data
  train: codesign.zoo.explorable:train_digits
  arguments: {width: 4}
space:
  hardware:
    base: tiny
    clock_mhz: [50, 100]
  prune:
    multiple: 2
    channels: {"*": [0, 0.5]}
constraints:
  board: pynq-z2
objectives: {accuracy: max, latency_ms: min}
search: {sampler: surrogate, population: 16, trials: 3}
fidelities:
  finetune: {steps: 2, top: 1}
"""


@pytest.fixture
def problem(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def explore(problem, folder, *options, workers=1):
    arguments = [str(problem), "-o", str(folder), "--workers", str(workers), *map(str, options)]
    return command.main(arguments, standalone_mode=False)


def test_a_sweep_leaves_a_front_and_a_report(problem, tmp_path, capsys):
    folder = tmp_path / "sweep"
    assert explore(problem, folder) == 0
    run = json.loads((folder / RUN).read_text())
    assert run["state"] == "finished"
    assert run["counts"]["finetuned"] >= 1
    front = json.loads((folder / "front.json").read_text())
    assert front
    trials = {at["id"]: at for at in read_lines(folder / TRIALS)}
    assert trials.keys() >= set(front)
    assert (folder / REPORT).stat().st_size > 1000
    assert "front" in capsys.readouterr().out


def test_two_workers_find_what_this_process_finds(problem, tmp_path):
    problem.write_text(TEXT.partition("fidelities:")[0])
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        assert explore(problem, folder, workers=workers) == 0
        lines = list(read_lines(folder / TRIALS))
        assert lines
        found.append([(at["choice"], at["values"]) for at in lines])
    assert found[0] == found[1]


def test_too_little_time_is_enough_for_a_network(problem, tmp_path):
    assert explore(problem, tmp_path / "sweep", "--minutes", 1e-6) == 0
    counts = json.loads((tmp_path / "sweep" / RUN).read_text())["counts"]
    assert counts["accuracy"] == 1


def test_actors_of_a_cluster_find_what_this_process_finds(problem, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    problem.write_text(TEXT.partition("fidelities:")[0])
    cluster = Cluster(True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        assert explore(problem, tmp_path / "ray", "--ray", cluster.address) == 0
    finally:
        cluster.shutdown()
    assert explore(problem, tmp_path / "here") == 0
    there, here = (list(read_lines(tmp_path / name / TRIALS)) for name in ("ray", "here"))
    assert [at["values"] for at in there] == [at["values"] for at in here]


def test_a_sweep_that_could_not_begin_leaves_its_folder_free(problem, tmp_path):
    folder = tmp_path / "sweep"
    problem.write_text(TEXT.replace("digits_data", "digits"))
    with pytest.raises(ExplorationError, match=r"small.yaml:5: network.data: .*return"):
        explore(problem, folder)
    problem.write_text(TEXT)
    assert explore(problem, folder) == 0


def test_progress_says_what_is_waited_for(capsys):
    waiting = Progress(1.0, 0, 0, 0, (), Counts(), "waiting for workers to start", 2)
    View("small", Budget(60.0)).show(waiting)
    assert "waiting for workers to start" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(problem, tmp_path, monkeypatch, capsys):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "run", interrupted)
    assert explore(problem, tmp_path / "sweep") == EXIT_INTERRUPTED
    assert "goes on from here" in capsys.readouterr().out


def test_a_design_that_is_not_there_is_named(problem, tmp_path):
    folder = tmp_path / "sweep"
    with pytest.raises(ExplorationError, match="has no designs yet"):
        explore(problem, folder, "--design", 0)
    explore(problem, folder, "--seed", 3)
    before = (folder / RUN).read_text()
    with pytest.raises(ExplorationError, match="there is no design 999"):
        explore(problem, folder, "--design", 999)  # of the sweep's own seed
    assert (folder / RUN).read_text() == before


@pytest.mark.slow
def test_a_finalist_is_verified_and_can_be_built(problem, tmp_path):
    folder = tmp_path / "sweep"
    assert explore(problem, folder, "--finalists", 1) == 0
    (design,) = (folder / "designs").iterdir()
    found = json.loads((design / "design.json").read_text())
    program = Program.load(design / "design.prog")
    assert found["bit_exact"] is True
    assert found["cycles"]["simulated_rtl"] == found["cycles"]["predicted_exact"]
    assert program.predicted_cycles == found["cycles"]["predicted_exact"]
    assert load_arch(design / "arch.yaml").fingerprint == program.arch.fingerprint
    layers = found["layers"]
    assert [at["start"] for at in layers[1:]] == [at["end"] for at in layers[:-1]]
    assert 0 < found["accuracy"]["test"] <= 1
    assert explore(problem, folder, "--design", found["id"]) == 0
    assert json.loads((folder / RUN).read_text())["counts"]["verified"] == 1


def test_the_view_is_short():
    assert clock(185) == "3:05"
    assert rejected({}) == "none"
    assert rejected({"a": 1, "b": 30}) == "31: b 30, a 1"
    assert growth([0.1, 0.2, 0.3]).startswith("0.3000 ▁")
