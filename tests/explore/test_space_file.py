"""Problems in YAML, and what is said about wrong ones."""

import re
from pathlib import Path

import pytest

from codesign.arch import preset
from codesign.errors import ExplorationError
from codesign.explore.problem import (
    Constraints,
    Fidelities,
    Finetune,
    Objective,
    Pattern,
    Search,
    Source,
)
from codesign.explore.space import Parameter
from codesign.explore.space_file import load

WHOLE = """\
name: digits
network:
  model: some.module:network
  arguments: {classes: 10, bias: true}
  data: some.module:data
  train: some.module:train
  data_arguments: {folder: images}
  weights: weights.pt
space:
  hardware:
    base: tiny
    pixels: {min: 1, max: 6}
    drain: [3, 1, 2]
    act_depth: {min: 64, max: 512, factor: 2}
    clock_mhz: [50, 62.5]
  network:
    width: {min: 0.5, max: 1.0, step: 0.25}
    activation: [relu, relu6]
    skip: [false, true]
  prune:
    multiple: 8
    channels:
      "*": {min: 0, max: 0.5, step: 0.25}
      stem: 0
    blocks:
      "stage*": {values: [0, 0.5], together: true}
  quantize:
    method: [minmax, mse]
constraints:
  board: pynq-z2
  max: {latency_ms: 2.5, lut: 30000}
  min: {accuracy: 0.8}
objectives:
  accuracy: max
  latency_ms: min
search: {sampler: random, seed: 3, population: 32, trials: 500, minutes: 2.5}
fidelities:
  finetune: {steps: 200, top: 4}
  finalists: 2
"""


def written(folder: Path, text: str) -> Path:
    (folder / "weights.pt").touch()
    path = folder / "problem.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    problem = load(written(tmp_path, WHOLE))
    assert problem.name == "digits"
    assert problem.source == Source(
        "some.module:network",
        "some.module:data",
        "some.module:train",
        {"classes": 10, "bias": True},
        {"folder": "images"},
        tmp_path / "weights.pt",
    )
    assert problem.base == preset("tiny")
    assert problem.hardware == (
        Parameter("hardware.pixels", (1, 2, 3, 4, 5, 6)),
        Parameter("hardware.drain", (1, 2, 3)),
        Parameter("hardware.act_depth", (64, 128, 256, 512)),
        Parameter("hardware.clock_mhz", (50, 62.5)),
    )
    assert [(rule.first, rule.second) for rule in problem.rules] == [
        ("hardware.pixels", "hardware.drain")
    ]
    assert problem.network == (
        Parameter("network.width", (0.5, 0.75, 1.0)),
        Parameter("network.activation", ("relu", "relu6"), ordered=False),
        Parameter("network.skip", (False, True), ordered=False),
    )
    assert problem.channels == (Pattern("*", (0.0, 0.25, 0.5)), Pattern("stem", (0.0,)))
    assert problem.blocks == (Pattern("stage*", (0.0, 0.5), together=True),)
    assert problem.quantize == (Parameter("quantize.method", ("minmax", "mse"), ordered=False),)
    assert problem.constraints == Constraints(
        "pynq-z2", {"latency_ms": 2.5, "lut": 30000}, {"accuracy": 0.8}
    )
    assert problem.objectives == (Objective("accuracy", True), Objective("latency_ms", False))
    assert problem.search == Search("random", 3, 32, 500, 2.5)
    assert problem.fidelities == Fidelities(Finetune(200, 4), 2)
    assert problem.multiple == 8
    assert problem.lines["space.prune.channels.stem"] == 24


MINIMAL = """\
network: {model: "m:f", data: "m:d"}
space: {}
constraints: {board: zcu104}
objectives: {latency_ms: min}
"""


def test_what_need_not_be_said(tmp_path: Path) -> None:
    problem = load(written(tmp_path, MINIMAL))
    assert (problem.name, problem.base.name) == ("problem", "zcu104")
    assert problem.search == Search()
    assert problem.fidelities == Fidelities()
    assert problem.space().size == 1


def test_the_bases_board_is_the_constraints(tmp_path: Path) -> None:
    text = MINIMAL.replace("space: {}", "space: {hardware: {base: pynq_z2}}")
    assert load(written(tmp_path, text)).base.board == "zcu104"
    text = text.replace("constraints: {board: zcu104}", "")
    assert load(written(tmp_path, text)).constraints.board == "pynq-z2"


CASES = [
    ("name: digits", "name: ../x", "1: name: '../x' becomes part of file names; take letters, "),
    ("  model: some.module:network", "  modl: a:b", "2: network.model: is missing"),
    ("  model: some", "  model: 'x", "is not YAML: "),
    ("module:network", "module.network", "3: network.model: must be `module:function`, not 'some"),
    ("weights: weights.pt", "weights: x.pt", "8: network.weights: no file is called "),
    ("bias: true", "bias: [1]", "4: network.arguments.bias: must be a number, text, true or"),
    ("    base: tiny", "    base: tini", "11: space.hardware.base: no preset is called 'tini'"),
    ("pixels: {min", "pixel: {min", "12: space.hardware.pixel: is not known; did you mean 'pixels"),
    ("pixels: {min: 1", "pixels: {low: 1", "12: space.hardware.pixels.min: is missing"),
    ("pixels: {min: 1, max: 6}", "pixels:", "12: space.hardware.pixels: has no value; give one or"),
    ("min: 1, max: 6}", "min: 1, max: 60}", "12: space.hardware.pixels: pixels=33 is outside 1..3"),
    ("min: 1, max: 6}", "min: 7, max: 6}", "12: space.hardware.pixels.max: 6 is below min, 7"),
    ("min: 1, max: 6}", "min: 1, max: 6, step: 0}", "12: space.hardware.pixels.step: 0 must be ab"),
    ("min: 1, max: 6}", "min: 0, max: 6, factor: 2}", "pixels.factor: 2 of min 0: takes a factor"),
    ("min: 1, max: 6}", "min: 1, max: 6, step: 1, factor: 2}", "factor: stands beside a step"),
    ("min: 1, max: 6}", "min: 1, max: 6, step: 1e-3}", "must be a number, not '1e-3'; write 0.001"),
    ("min: 1, max: 6}", "min: 1, max: 6, step: 0.001}", "step: makes 5001 values, more than 4096"),
    ("min: 1, max: 6}", "min: 1, max: 6, sept: 1}", "sept: is not known; did you mean 'step'?"),
    ("drain: [3, 1, 2]", "drain: [3, 3]", "13: space.hardware.drain: lists a value twice: [3, 3]"),
    ("drain: [3, 1, 2]", "drain: [7]", "none of its values goes with any of hardware.pixels; add"),
    ("drain: [3, 1, 2]", "drain: []", "13: space.hardware.drain: has no value; give at least one"),
    ("drain: [3, 1, 2]", "drain: [1, a]", "drain: must be numbers, or texts, or true and false, "),
    ("drain: [3, 1, 2]", "drain: 1.5", "13: space.hardware.drain: drain must be an integer, not 1"),
    ("drain: [3, 1, 2]", "dma_bits: 128", "dma_bits: 128 is wider than pynq-z2's memory port; at "),
    ("[50, 62.5]", "[50, 200]", "15: space.hardware.clock_mhz: 200 is above the 150 MHz that pynq"),
    ("    width: {", "    classes: {", "17: space.network.classes: is fixed as 10 by network.argu"),
    ("      stem: 0", "      stem: 1", "24: space.prune.channels.stem: 1 is no share: 0 keeps all"),
    ("      stem: 0", "      stem: x", "24: space.prune.channels.stem: must be a number, not 'x'"),
    ("      stem: 0", "      '*': 0", "24: space.prune.channels.* stands twice, before in line 23"),
    ("      stem: 0", "      7: 0", "24: the key 7 must be text; put it in quotes"),
    ("multiple: 8", "multiple: 0", "21: space.prune.multiple: must be a whole number from 1, not "),
    ("train: some.module:train", "train: x", "6: network.train: must be `module:function`, not"),
    ("together: true", "together: 1", "26: space.prune.blocks.stage*.together: must be true or fa"),
    ("together: true", "togther: true", "togther: is not known; did you mean 'together'?"),
    ("[minmax, mse]", "[minmax, max]", "28: space.quantize.method: cannot be 'max'; did you mean "),
    ("board: pynq-z2", "board: pynqz2", "30: constraints.board: cannot be 'pynqz2'; did you mean"),
    ("lut: 30000", "luts: 30000", "31: constraints.max.luts: is not known; did you mean 'lut'?"),
    ("lut: 30000", "lut: -3", "31: constraints.max.lut: must be 0 or more, not -3"),
    ("lut: 30000", "lut: .nan", "31: constraints.max.lut: must be a number, not nan"),
    ("accuracy: 0.8", "accuracy: 80", "32: constraints.min.accuracy: 80 is no share, 0..1; 80% is"),
    ("  latency_ms: min", "  latency: min", "35: objectives.latency: is not known; did you mean '"),
    ("  latency_ms: min", "  latency_ms: low", "35: objectives.latency_ms: cannot be 'low'; there"),
    ("sampler: random", "sampler: rand", "36: search.sampler: cannot be 'rand'; did you mean 'ran"),
    ("seed: 3", "seed: -1", "36: search.seed: must be a whole number from 0, not -1"),
    ("minutes: 2.5", "minutes: 0", "36: search.minutes: must be above 0, not 0"),
    ("population: 32", "population: 1", "population: must be a whole number from 2, not 1"),
    ("steps: 200, ", "", "38: fidelities.finetune.steps: is missing"),
    ("finalists: 2", "finalist: 2", "39: fidelities.finalist: is not known; did you mean 'finalis"),
    ("fidelities:", "fidelity:", "37: fidelity: is not known; did you mean 'fidelities'?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), CASES)
def test_errors_point_at_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert WHOLE.count(old) >= 1
    with pytest.raises(ExplorationError, match=re.escape(message)) as caught:
        load(written(tmp_path, WHOLE.replace(old, new, 1)))
    assert re.match(rf"{re.escape(str(tmp_path))}/problem\.yaml:\d+: ", str(caught.value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "problem.yaml:1: must be a mapping, with `network`, `space` and more"),
        ("[1]", "problem.yaml:1: must be a mapping, with `network`, `space` and more"),
        ("space: {}", "problem.yaml:1: network: is missing"),
        (MINIMAL.replace("objectives: {latency_ms: min}", ""), "1: objectives: is missing"),
        (MINIMAL.replace("{latency_ms: min}", "{}"), "4: objectives.accuracy: or another measure"),
        (MINIMAL.replace("{board: zcu104}", "{}"), "3: constraints.board: is missing; name a boar"),
        (MINIMAL.replace("space: {}", "space: 3"), "2: space: must be a mapping, not 3"),
    ],
)  # fmt: skip
def test_what_must_be_there(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExplorationError, match=re.escape(message)):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: &x {b: 1}\nc:\n  <<: *x",
            "problem.yaml:3: merge keys (<<) are not read; write it out",
        ),
        ("a: 1\nb: 2020-99-99", "problem.yaml:2: month must be in 1..12; put text in quotes"),
        ("a: &x {b: *x}", "problem.yaml: an anchor (&) holds itself; write it out"),
        ("a: 1\nb: !!python/name:os.path x", "problem.yaml:2: is not YAML: could not determine a "),
    ],
)
def test_yaml_that_is_not_read(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExplorationError, match=re.escape(message)):
        load(written(tmp_path, text))


def test_a_base_of_another_board_keeps_to_what_the_board_takes(tmp_path: Path) -> None:
    text = MINIMAL.replace("zcu104", "pynq-z2")
    moved = text.replace("space: {}", "space: {hardware: {base: zcu104}}")
    with pytest.raises(ExplorationError, match=r"2: space.hardware.base: 'zcu104' has clock_mhz"):
        load(written(tmp_path, moved))
    changes = "{base: zcu104, clock_mhz: [100, 150], dma_bits: 64}"
    found = load(written(tmp_path, text.replace("space: {}", f"space: {{hardware: {changes}}}")))
    assert (found.base.board, found.base.clock_mhz, found.base.dma_bits) == ("pynq-z2", 150.0, 64)
    faster = changes.replace("150", "200")
    with pytest.raises(ExplorationError, match="200 is above the 150 MHz that pynq-z2's preset"):
        load(written(tmp_path, text.replace("space: {}", f"space: {{hardware: {faster}}}")))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExplorationError, match=r"none\.yaml cannot be read: .*No such file"):
        load(tmp_path / "none.yaml")
