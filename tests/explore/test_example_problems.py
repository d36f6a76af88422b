"""The problems under examples/explore: each is read, and names only what its network has."""

from pathlib import Path

import numpy as np
import pytest

from codesign import boards
from codesign.arch import preset
from codesign.cost.resources import fits
from codesign.explore import hardware
from codesign.explore.networks import Networks
from codesign.explore.problem import Problem
from codesign.explore.space import Space
from codesign.explore.space_file import load

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "explore"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CIFAR10 = ("cifar10", "cifar10_network", "cifar10_hardware")


@pytest.fixture(scope="module")
def problems() -> dict[str, Problem]:
    return {name: load(FOLDER / f"{name}.yaml") for name in NAMES}


@pytest.fixture(scope="module")
def spaces(problems: dict[str, Problem]) -> dict[str, Space]:
    """Each over the names of its own networks."""
    return {name: Networks(problem).space() for name, problem in problems.items()}


def test_the_examples_are_there() -> None:
    assert set(CIFAR10) | {"digits"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_is_named_as_its_file(problems: dict[str, Problem], name: str) -> None:
    assert problems[name].name == name
    assert problems[name].search.minutes is not None
    assert problems[name].objectives


@pytest.mark.parametrize("name", NAMES)
def test_its_space_has_designs_that_fit_the_board(
    problems: dict[str, Problem], spaces: dict[str, Space], name: str
) -> None:
    problem, space = problems[name], spaces[name]
    points = space.draw(256, np.random.default_rng(0))
    archs = hardware.architectures(problem.base, space, points)
    fit = fits(archs, boards.board(problem.constraints.board))
    assert np.asarray(fit.ok).any()


@pytest.mark.parametrize("name", NAMES)
def test_its_network_can_stay_whole_and_be_pruned(
    problems: dict[str, Problem], spaces: dict[str, Space], name: str
) -> None:
    problem, space = problems[name], spaces[name]
    pruned = [at for at in space.parameters if at.name.startswith("prune.")]
    assert all(at.values[0] == 0 and len(at.values) > 1 for at in pruned)
    assert bool(pruned) == bool(problem.channels or problem.blocks)


def test_the_three_of_cifar10_differ_in_what_they_vary(
    problems: dict[str, Problem], spaces: dict[str, Space]
) -> None:
    joint, network, hardware_alone = (problems[name] for name in CIFAR10)
    for other in (network, hardware_alone):
        assert other.constraints == joint.constraints
        assert other.objectives == joint.objectives
        assert other.search == joint.search
        assert other.source == joint.source
        assert other.base == joint.base == preset("pynq_z2")
    sides = [spaces[name] for name in CIFAR10]
    assert set(sides[0].names) == set(sides[1].names) | set(sides[2].names)
    assert not set(sides[1].names) & set(sides[2].names)
    assert all(len(side) for side in sides)
    for at in sides[2].parameters:
        wanted = getattr(joint.base, at.name.removeprefix("hardware."))
        assert wanted in at.values, f"the preset's {at.name} is not in the space"
