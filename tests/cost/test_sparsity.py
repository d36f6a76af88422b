"""What block sparsity leaves of taps."""

import numpy as np
import pytest

from codesign.cost.sparsity import kept_taps


@pytest.mark.parametrize(
    ("taps", "share", "kept"),
    [(9, 0, 9), (9, 0.5, 5), (18, 0.5, 9), (100, 0.29, 71), (9, 1, 1), (1, 0.9, 1), (10, 0.3, 7)],
)
def test_rounding_keeps_more_rather_than_less(taps: int, share: float, kept: int) -> None:
    assert kept_taps(taps, share) == kept


def test_arrays_broadcast() -> None:
    found = kept_taps(np.array([[9], [36]]), np.array([0.0, 0.5, 1.0]))
    assert found.tolist() == [[9, 5, 1], [36, 18, 1]]


def test_a_share_is_one() -> None:
    with pytest.raises(ValueError, match=r"sparsity -0\.1 is outside 0\.\.1"):
        kept_taps(9, -0.1)
