"""scikit-learn's digits: 1797 real 8 by 8 images of handwritten digits, no download.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_IMAGES = 360


@dataclass(frozen=True, eq=False)
class Digits:
    """Images [K, 1, 8, 8] with the training images' mean 0 and deviation 1, labels [K] 0..9."""

    train_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]


def load(seed: int = 0) -> Digits:
    """The images split by the seed, every digit in equal parts in training and test images."""
    bunch = load_digits()
    images = bunch.images.astype(np.float32)[:, None]
    labels = bunch.target.astype(np.int64)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=TEST_IMAGES, random_state=seed, stratify=labels
    )
    mean, deviation = train.mean(), train.std()
    return Digits((train - mean) / deviation, train_labels, (test - mean) / deviation, test_labels)
