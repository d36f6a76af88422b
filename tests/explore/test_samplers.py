"""What every sampler promises (``codesign.explore.search.sampler.Sampler``)."""

import re

import numpy as np
import pytest

from codesign.explore.front import hypervolume
from codesign.explore.search import NAMES, sampler
from codesign.explore.search.sampler import Sampler
from codesign.explore.space import Parameter, Rule, Space

OBJECTIVES = 2
SPACE = Space(
    (
        *(Parameter(f"x{n}", tuple(range(8))) for n in range(5)),
        Parameter("kind", ("a", "b", "c", "d"), ordered=False),
        Parameter("fixed", (7,)),
        Parameter("twice", (1, 2, 4)),
        Parameter("divisor", (1, 2, 4)),
    ),
    (Rule("twice", "divisor", ((True, False, False), (True, True, False), (True, True, True))),),
)
SLOW = pytest.param("gp", marks=pytest.mark.slow)  # seconds for a point
ALL = [*(name for name in NAMES if name != "gp"), SLOW]
CHEAP = ("random", "grid", "nsga2", "nsga3", "optuna-nsga2")
BUDGET = {"gp": 32, "tpe": 100}
"""Points that the slow samplers are given, of 400."""
MODELLED = 18
"""Points after which samplers with a model use it."""


def judged(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and violation: two ends that no point reaches both, the wrong kind, a bound, and
    points that are refused without values."""
    x = points[:, :5] / 7
    worse = 0.5 * (points[:, 5] != 2) + 0.1 * (points[:, 7] - points[:, 8])
    values = np.stack([(x**2).mean(axis=1) + worse, ((x - 1) ** 2).mean(axis=1) + worse], axis=1)
    violation = np.maximum(points[:, 0] + points[:, 1] - 10, 0) / 10.0
    values[violation > 0.2] = np.nan
    return values, violation


def made(name: str, seed: int = 0, space: Space = SPACE) -> Sampler:
    return sampler(name, space, OBJECTIVES, seed=seed, population=20)


def run(at: Sampler, count: int, batch: int = 6) -> np.ndarray:
    """The points that were proposed, told in turn."""
    asked = []
    for _ in range(count // batch):
        asked.append(at.ask(batch))
        at.tell(asked[-1], *judged(asked[-1]))
    return np.concatenate(asked)


def reached(points: np.ndarray) -> float:
    values, violation = judged(points)
    return hypervolume(values[violation == 0], np.array([1.2, 1.2]))


@pytest.mark.parametrize("name", NAMES)
def test_points_are_allowed_points_of_the_space(name: str) -> None:
    at = made(name)
    for count in (1, 0, MODELLED - 2, 1, 1):
        points = at.ask(count)
        assert points.shape == (count, len(SPACE))
        assert points.dtype == np.int64
        SPACE.check(points)
        assert np.array_equal(SPACE.repair(points), points)
        at.tell(points, *judged(points))


@pytest.mark.parametrize("name", ALL)
def test_the_seed_decides(name: str) -> None:
    first, again, other = (run(made(name, seed), MODELLED + 6) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ALL)
def test_a_history_told_again_goes_on_alike(name: str) -> None:
    at = made(name)
    history = run(at, 24)
    after = run(at, 6, batch=2)
    resumed = made(name)
    for part in history.reshape(-1, 6, len(SPACE)):
        resumed.tell(part, *judged(part))
    assert np.array_equal(run(resumed, 6, batch=2), after)


@pytest.mark.parametrize("name", [at for at in ALL if at != "optuna-nsga2"])
def test_the_parts_of_a_history_do_not_matter(name: str) -> None:
    history = run(made("random", 5), 36)
    values, violation = judged(history)
    whole, parts = made(name), made(name)
    whole.tell(history, values, violation)
    for rows in np.array_split(np.arange(36), 7):
        parts.tell(history[rows], values[rows], violation[rows])
    assert np.array_equal(whole.ask(3), parts.ask(3))


@pytest.mark.parametrize("name", ALL)
def test_foreign_and_infeasible_points_are_tolerated(name: str) -> None:
    at = made(name)
    drawn = SPACE.draw(25, np.random.default_rng(0))
    at.tell(drawn, np.full((25, OBJECTIVES), np.nan), np.linspace(0.1, 5, 25))
    pending = at.ask(3)
    at.tell(drawn[:4], *judged(drawn[:4]))  # a second time, with values
    points = run(at, 6)
    at.tell(pending, *judged(pending))
    SPACE.check(points)


@pytest.mark.parametrize("name", [at for at in ALL if at not in ("random", "grid")])
def test_a_front_is_found_better_than_by_chance(name: str) -> None:
    count = BUDGET.get(name, 400)
    chance = [reached(run(made("random", seed), count, 4)) for seed in range(10)]
    found = [reached(run(made(name, seed), count, 4)) for seed in range(2)]
    assert np.mean(found) > np.mean(chance) + np.std(chance)


@pytest.mark.parametrize("name", [name for name in CHEAP if name != "grid"])
def test_a_space_of_few_points_does_not_stop_it(name: str) -> None:
    space = Space((Parameter("a", (1, 2)), Parameter("b", ("x", "y"), ordered=False)))
    at = made(name, space=space)
    for _ in range(10):
        points = at.ask(5)
        assert points.shape == (5, 2)
        at.tell(points, points.astype(float), np.zeros(5))


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_evolution_goes_on_from_good_points_that_it_is_told(name: str) -> None:
    chance = run(made("random"), 600)
    values, violation = judged(chance)
    best = np.argsort(np.where(violation == 0, values.sum(axis=1), np.inf))[:10]
    at = made(name)
    at.tell(chance[best], values[best], violation[best])
    children, drawn = at.ask(20), made("random").ask(20)
    assert np.nanmean(judged(children)[0]) < np.nanmean(judged(drawn)[0])


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_evolution_proposes_a_point_once(name: str) -> None:
    points = run(made(name), 600)
    assert len(np.unique(points, axis=0)) == 600


@pytest.mark.parametrize("seed", range(5))
def test_the_grid_is_every_point_once(seed: int) -> None:
    space = Space((SPACE.parameters[0], *SPACE.parameters[5:]), SPACE.rules)
    at = made("grid", seed, space)
    points = np.concatenate([at.ask(50), at.ask(1000)])
    allowed = np.indices(tuple(space.sizes)).reshape(len(space), -1).T
    allowed = allowed[(space.repair(allowed) == allowed).all(axis=1)]
    assert np.array_equal(np.unique(points, axis=0), allowed)
    assert len(points) == len(allowed)
    assert at.ask(5).shape == (0, len(space))


def test_the_grid_leaves_out_what_was_told() -> None:
    space = Space((SPACE.parameters[0], *SPACE.parameters[5:]), SPACE.rules)
    whole = made("grid", space=space).ask(1000)
    at = made("grid", space=space)
    foreign = np.concatenate([whole[100:101], whole[:3]])
    at.tell(foreign, np.zeros((4, OBJECTIVES)), np.zeros(4))
    assert np.array_equal(at.ask(1000), np.delete(whole, [0, 1, 2, 100], axis=0))


def test_the_grid_begins_everywhere() -> None:
    points = made("grid").ask(400)
    for column, size in enumerate(SPACE.sizes):
        share = np.bincount(points[:, column], minlength=size) / len(points)
        assert share.min() > 0.3 / size


def test_random_points_are_those_of_their_numbers() -> None:
    at = made("random")
    assert np.array_equal(np.concatenate([at.ask(3), at.ask(4), at.ask(1)]), made("random").ask(8))


@pytest.mark.parametrize("name", ALL)
def test_what_is_told_must_fit(name: str) -> None:
    at, points = made(name), np.zeros((2, len(SPACE)), np.int64)
    for told, message in (
        ((points, np.zeros((2, 3)), np.zeros(2)), "2 points need values [2, 2] and violation [2]"),
        ((points, np.zeros((2, 2)), -np.ones(2)), "violation must be 0 or more in every row"),
        ((points, np.full((2, 2), np.nan), np.zeros(2)), "point 0 is feasible and has no value"),
        ((points[:, 1:], np.zeros((2, 2)), np.zeros(2)), "points must have the shape [n, 9]"),
        ((points + 8, np.zeros((2, 2)), np.zeros(2)), "point 0: x0 has the values 0..7 by index"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            at.tell(*told)


def test_names_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"no sampler is called 'cma'; there are random, grid, "):
        sampler("cma", SPACE, 2)
