"""Fronts and hypervolumes of small sets that can be counted by hand."""

import numpy as np
import pytest

from codesign.explore.front import hypervolume, non_dominated


def test_the_front_of_a_few_points() -> None:
    values = np.array([[1.0, 4.0], [2.0, 2.0], [2.0, 3.0], [4.0, 1.0], [4.0, 4.0], [2.0, 2.0]])
    assert non_dominated(values).tolist() == [0, 1, 3]


def test_the_front_is_that_of_every_pair_compared() -> None:
    values = np.random.default_rng(0).integers(0, 6, (60, 3)).astype(np.float64)
    better = (values[:, None] <= values[None]).all(axis=2) & (values[:, None] < values[None]).any(
        axis=2
    )
    expected = np.unique(values[~better.any(axis=0)], axis=0)
    found = values[non_dominated(values)]
    assert np.array_equal(np.unique(found, axis=0), expected)
    assert len(found) == len(expected)


def test_hypervolume_of_two_steps() -> None:
    values = np.array([[1.0, 2.0], [2.0, 1.0], [2.5, 2.5]])
    assert hypervolume(values, np.array([3.0, 3.0])) == pytest.approx(3.0)


def test_points_beyond_the_reference_count_nothing() -> None:
    reference = np.array([3.0, 3.0])
    assert hypervolume(np.array([[0.0, 3.0], [4.0, 0.0]]), reference) == 0.0
    assert hypervolume(np.array([[1.0, 1.0], [0.0, 5.0]]), reference) == pytest.approx(4.0)


def test_nothing_has_no_front_and_no_volume() -> None:
    empty = np.empty((0, 2))
    assert non_dominated(empty).tolist() == []
    assert hypervolume(empty, np.array([1.0, 1.0])) == 0.0
