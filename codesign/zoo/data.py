"""Labelled images in three parts: what networks are trained on, what a search selects by, and what
its results are reported on."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from codesign.ir import Shape

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """What leaves an image's label as it is: moving it by up to ``shift`` pixels either way (0
    moves in), and mirroring it where ``mirrored``."""

    shift: int = 0
    mirrored: bool = False

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """A batch moved, all alike, and mirrored every other time; by torch's global random
        state."""
        height, width = images.shape[2:]
        if self.shift:
            padded = functional.pad(images, (self.shift,) * 4)
            y, x = torch.randint(0, 2 * self.shift + 1, (2,)).tolist()
            images = padded[:, :, y : y + height, x : x + width]
        if self.mirrored and torch.rand(()) < 0.5:
            images = images.flip(3)
        return images.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class Data:
    """Images [K, C, H, W], normalised, float32, and labels [K], int64, of each part.

    ``validation`` is split off the training images: choices are made by it, so that the test images
    stay unseen until a result is reported. ``augmentation`` is for training.

    Raises
    ------
    TypeError, ValueError
        An array of another type or shape, or a part without images.
    """

    train_images: Images
    train_labels: Labels
    validation_images: Images
    validation_labels: Labels
    test_images: Images
    test_labels: Labels
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.dtype != np.float32 or labels.dtype != np.int64:
                raise TypeError(
                    f"{part} images are {images.dtype} and labels {labels.dtype}; "
                    "make them float32 and int64"
                )
            if images.ndim != 4 or images.shape[1:] != self.train_images.shape[1:]:
                raise ValueError(
                    f"{part} images have shape {images.shape}; give [K, C, H, W], all parts alike"
                )
            if labels.shape != images.shape[:1] or not len(labels):
                raise ValueError(
                    f"{part}: labels of shape {labels.shape} for {len(images)} images; give one "
                    "label for each, and one image at least"
                )

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def fit(self, shape: Shape) -> Data:
        """The images at the resolution of ``shape``, (C, H, W): resampled, with antialiasing.

        Raises
        ------
        ValueError
            Another number of channels.
        """
        if shape[0] != self.shape[0]:
            raise ValueError(
                f"the images have {self.shape[0]} channels, the network takes {shape[0]}; "
                "give it data of its own kind"
            )
        if shape == self.shape:
            return self
        return dataclasses.replace(
            self,
            train_images=_resampled(self.train_images, shape),
            validation_images=_resampled(self.validation_images, shape),
            test_images=_resampled(self.test_images, shape),
            augmentation=dataclasses.replace(
                self.augmentation, shift=round(self.augmentation.shift * shape[1] / self.shape[1])
            ),
        )


def digest(images: Images, labels: Labels) -> str:
    """SHA-256 of a set of labelled images: their order does not matter."""
    sums = sorted(
        (zlib.crc32(image.tobytes()), int(label))
        for image, label in zip(images, labels, strict=True)
    )
    return hashlib.sha256(repr((images.shape[1:], sums)).encode()).hexdigest()


def _resampled(images: Images, shape: Shape) -> Images:
    found: Images = functional.interpolate(
        torch.from_numpy(images), shape[1:], mode="bilinear", antialias=True
    ).numpy()
    return found
