"""CIFAR-10 from its official binary files: 60,000 images of 32 by 32 pixels in ten classes.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html. Nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import platformdirs

from codesign.zoo.data import Augmentation, Data

FOLDER = "cifar-10-batches-bin"
"""Name of the folder in the official archive, cifar-10-binary.tar.gz."""
SHAPE = (3, 32, 32)
MEAN = (125.3, 123.0, 113.9)
DEVIATION = (63.0, 62.1, 66.7)
"""Of the training images' red, green and blue, 0..255."""
VALIDATION = 5000
_RECORD = 1 + 3 * 32 * 32
_RECORDS = 10_000
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"


def load(
    folder: str | Path | None = None,
    validation: int = VALIDATION,
    seed: int = 0,
) -> Data:
    """The images of a folder in the official layout, each colour with mean 0 and deviation 1.

    Parameters
    ----------
    folder:
        Where the six ``.bin`` files are. None: ``cifar-10-batches-bin`` in the working directory
        or, if there is none, in the user's data directory (``platformdirs``).
    validation:
        Training images to set aside, chosen by the seed.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    ValueError
        A file holds something else, or ``validation`` leaves no image to train on.
    """
    place = _folder() if folder is None else Path(folder)
    images, labels = _records([place / name for name in _TRAIN])
    test_images, test_labels = _records([place / _TEST])
    if not 1 <= validation < len(labels):
        raise ValueError(
            f"validation={validation} of {len(labels)} images: set aside one at least, not all"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    aside, rest = order[:validation], order[validation:]
    return Data(
        _normalised(images[rest]), labels[rest],
        _normalised(images[aside]), labels[aside],
        _normalised(test_images), test_labels, Augmentation(shift=4, mirrored=True),
    )  # fmt: skip


def _folder() -> Path:
    choices = (Path(FOLDER), platformdirs.user_data_path("codesign") / FOLDER)
    for place in choices:
        if place.is_dir():
            return place
    raise FileNotFoundError(
        f"CIFAR-10 is neither in {choices[0].absolute()} nor in {choices[1]}; unpack "
        "cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html) in one of their "
        "parents, or name the folder"
    )


def _records(paths: list[Path]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images [K, 3, 32, 32] and labels [K]."""
    parts = []
    for path in paths:
        try:
            content = np.fromfile(path, np.uint8)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} is missing; {path.parent} must hold the six files of "
                "cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html)"
            ) from None
        if content.size != _RECORDS * _RECORD or content[::_RECORD].max() > 9:
            raise ValueError(
                f"{path} ({content.size} bytes) is no file of CIFAR-10's binary version: "
                f"{_RECORDS} records of a label 0..9 and {_RECORD - 1} bytes are expected"
            )
        parts.append(content.reshape(_RECORDS, _RECORD))
    records = np.concatenate(parts)
    return records[:, 1:].reshape(-1, *SHAPE), records[:, 0].astype(np.int64)


def _normalised(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, DEVIATION))
    found: npt.NDArray[np.float32] = (images.astype(np.float32) - mean) / deviation
    return found
