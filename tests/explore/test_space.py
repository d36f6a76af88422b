"""Points, values and rules of the space."""

import re

import numpy as np
import pytest

from codesign.explore.space import Parameter, Rule, Space

SPACE = Space(
    (
        Parameter("hardware.pixels", (1, 2, 3, 4, 6)),
        Parameter("hardware.drain", (1, 2, 3)),
        Parameter("network.bias", (False, True), ordered=False),
        Parameter("quantize.method", ("minmax", "mse"), ordered=False),
    ),
    (
        Rule(
            "hardware.pixels",
            "hardware.drain",
            tuple(tuple(p % d == 0 for d in (1, 2, 3)) for p in (1, 2, 3, 4, 6)),
        ),
    ),
)


def all_points(space: Space) -> np.ndarray:
    return np.indices(tuple(space.sizes)).reshape(len(space), -1).T


def test_sizes() -> None:
    assert SPACE.size == 5 * 3 * 2 * 2
    assert SPACE.sizes.tolist() == [5, 3, 2, 2]
    assert len(SPACE) == 4


def test_every_point_returns_from_its_choice() -> None:
    points = all_points(SPACE)
    assert np.array_equal(SPACE.encode(SPACE.decode(points)), points)


def test_a_choice_names_values() -> None:
    assert SPACE.decode(np.array([[4, 1, 0, 1]])) == [
        {
            "hardware.pixels": 6,
            "hardware.drain": 2,
            "network.bias": False,
            "quantize.method": "mse",
        }
    ]


def test_values_keep_their_types_in_columns() -> None:
    points = np.array([[0, 0, 1, 0], [4, 2, 0, 1]])
    assert SPACE.column("hardware.pixels", points).tolist() == [1, 6]
    assert SPACE.column("network.bias", points).tolist() == [True, False]
    assert SPACE.column("quantize.method", points).tolist() == ["minmax", "mse"]


def test_repair_moves_forbidden_points_alone_and_as_little_as_it_can() -> None:
    points = all_points(SPACE)
    repaired = SPACE.repair(points)
    pixels, drain = (SPACE.column(f"hardware.{n}", repaired) for n in ("pixels", "drain"))
    assert (pixels % drain == 0).all()
    before = [SPACE.column(f"hardware.{n}", points) for n in ("pixels", "drain")]
    allowed = before[0] % before[1] == 0
    assert 0 < allowed.sum() < len(points)
    assert np.array_equal(repaired[allowed], points[allowed])
    assert np.array_equal(repaired[:, [0, 2, 3]], points[:, [0, 2, 3]])  # drain 1 suits any pixels
    assert (repaired != points).any(axis=1).sum() == (~allowed).sum()


def test_repair_moves_the_first_where_the_second_cannot() -> None:
    space = Space(
        (Parameter("a", (4, 8)), Parameter("b", (4,))), (Rule("a", "b", ((True,), (False,))),)
    )
    assert space.repair(np.array([[1, 0]])).tolist() == [[0, 0]]


def test_draws_are_even_and_allowed() -> None:
    points = SPACE.draw(4000, np.random.default_rng(1))
    SPACE.check(points)
    assert np.array_equal(SPACE.repair(points), points)
    share = np.bincount(points[:, 0], minlength=5) / len(points)
    assert np.abs(share - 0.2).max() < 0.03


def test_a_part_keeps_the_rules_of_its_parameters() -> None:
    assert SPACE.part("hardware").rules == SPACE.rules
    assert SPACE.part("network", "quantize").names == ("network.bias", "quantize.method")
    assert SPACE.part("network", "quantize").rules == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parameter("a", ()), "a has no value; give at least one"),
        (lambda: Parameter("a", (1, 1)), "a lists a value twice: 1, 1"),
        (lambda: Parameter("a", (2, 1)), "a: ordered values must ascend, not 2, 1; sort them"),
        (lambda: Parameter("a", ("x", "y")), "'x' is no number: such a parameter is not ordered"),
        (
            lambda: Space((Parameter("a", (1,)), Parameter("a", (2,)))),
            "two parameters are called 'a'; names must differ",
        ),
        (
            lambda: Space(
                (Parameter("a", (1,)), Parameter("b", (2,))), (Rule("a", "b", ((False,),)),)
            ),
            "no value of b goes with any of a; add one that does",
        ),
        (lambda: SPACE.index("b"), "the space has no parameter 'b'; it has hardware.pixels, "),
        (lambda: SPACE.check(np.zeros((2, 3), np.int64)), "must have the shape [n, 4], not (2, 3)"),
        (
            lambda: SPACE.decode(np.array([[0, 0, 0, 0], [0, 3, 0, 0]])),
            "point 1: hardware.drain has the values 0..2 by index, not 3",
        ),
        (
            lambda: SPACE.encode([{"hardware.pixels": 1}]),
            "choice 0 does not name the parameters of this space: 'hardware.drain'",
        ),
        (
            lambda: SPACE.encode([{**SPACE.decode(np.zeros((1, 4), np.int64))[0],
                                   "hardware.pixels": 5}]),
            "hardware.pixels cannot be 5; it can be 1, 2, 3, 4, 6",
        ),
    ],
)  # fmt: skip
def test_errors_say_what_and_how(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
