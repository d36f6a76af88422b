import numpy as np
import pytest

from codesign.errors import ExplorationError
from codesign.explore import hardware
from codesign.explore.designs import Designs
from codesign.explore.estimate import cost
from codesign.explore.networks import Networks
from codesign.explore.space_file import load

TEXT = """
name: small
network:
  model: codesign.zoo.explorable:digits
  data: codesign.zoo.explorable:digits_data
space:
  hardware:
    base: tiny
    pixels: [1, 2, 3]
    in_channels: [4, 8]
    out_channels: [4, 8]
    act_depth: [16, 64]
  network:
    width: [4, 8]
  prune:
    multiple: 2
    channels: {"*": [0, 0.5]}
    blocks: {"stacks.1.conv*": {values: [0, 0.5], together: true}}
constraints:
  board: pynq-z2
  max: {latency_ms: 0.02}
objectives: {accuracy: max, latency_ms: min, lut: min}
"""


@pytest.fixture(scope="module")
def designs(tmp_path_factory):
    path = tmp_path_factory.mktemp("problem") / "small.yaml"
    path.write_text(TEXT)
    problem = load(path)
    return problem, Designs(problem, Networks(problem))


def test_costs_of_many_are_those_of_each(designs):
    _, models = designs
    points = models.space.draw(40, np.random.default_rng(0))
    together = models.costs(points)
    for row in range(0, 40, 7):
        alone = models.costs(points[row : row + 1])
        assert alone.violation[0] == together.violation[row]
        assert alone.reasons[0] == together.reasons[row]
        for name, column in together.values.items():
            np.testing.assert_equal(alone.values[name][0], column[row], name)


def test_an_unpruned_design_costs_what_estimate_says(designs):
    problem, models = designs
    start = models.start()
    (choice,) = models.space.decode(start)
    found = models.costs(start).values
    network = Networks(problem).base((("width", choice["network.width"]),)).network
    expected = cost(network, hardware.architecture(problem.base, choice, "a"))
    assert found["cycles"][0] == expected.cycles
    assert found["energy_uj"][0] == pytest.approx(expected.energy.total_uj)
    assert found["lut"][0] == expected.resources.lut
    assert found["macs"][0] == expected.macs


def test_it_begins_with_nothing_pruned_on_the_base(designs):
    problem, models = designs
    (choice,) = models.space.decode(models.start())
    assert choice["hardware.pixels"] == problem.base.pixels
    assert choice["network.width"] == 8
    assert not any(value for name, value in choice.items() if name.startswith("prune."))


def test_accuracy_follows_from_the_hardware_where_blocks_are_zero_alone(designs):
    _, models = designs
    space = models.space
    dense = space.repair(np.repeat(models.start(), 4, axis=0))
    columns = [space.index(f"hardware.{name}") for name in ("in_channels", "out_channels")]
    dense[:, columns] = [[0, 0], [0, 1], [1, 1], [1, 1]]
    dense[3, space.index("hardware.pixels")] = 0
    sparse = dense.copy()
    sparse[:, space.index("prune.blocks.stacks.1.conv*")] = 1
    assert len(set(models.identities(dense))) == 1
    first, second, third, again = models.identities(sparse)
    assert len({first, second, third}) == 3
    assert third == again
    assert not models.bound(dense).any()
    assert models.bound(sparse).sum(axis=0).nonzero()[0].tolist() == sorted(columns)


def test_what_does_not_fit_says_why(designs):
    _, models = designs
    costs = models.costs(models.space.draw(200, np.random.default_rng(1)))
    reasons = {reason for reason in costs.reasons if reason}
    assert "latency_ms beyond 0.02" in reasons
    for violation, reason in zip(costs.violation, costs.reasons, strict=True):
        assert (violation > 0) == bool(reason)


def test_a_users_module_that_changed_makes_other_networks(tmp_path, designs):
    _, models = designs
    assert models.sources == ""
    path, module = tmp_path / "own.yaml", tmp_path / "network_of_a_user.py"
    path.write_text(TEXT.replace("codesign.zoo.explorable:digits\n", "network_of_a_user:make\n"))
    text = "from codesign.zoo.explorable import digits\n\ndef make(**given): return digits(**given)"
    names = []
    for ending in ("\n", "  # of another kind\n"):
        module.write_text(text + ending)
        own = Designs(load(path), Networks(load(path)))
        names.append((own.sources, *own.identities(own.start())))
    assert not set(names[0]) & set(names[1])
    assert names[0][1] != models.identities(models.start())[0]


def test_a_function_that_returns_something_else_is_named(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(TEXT.replace("codesign.zoo.explorable:digits\n", "codesign.zoo.digits:load\n"))
    problem = load(path)
    with pytest.raises(ExplorationError, match=r"wrong.yaml:4.*codesign.zoo.digits:load"):
        Networks(problem).space()
