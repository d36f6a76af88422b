"""CIFAR-10's files: their layout, and what is wrong with others."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from codesign.zoo import cifar10

COUNT = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random images in the official layout; image i of a file is all (i mod 251) but its first
    pixel, which is random."""
    place = tmp_path_factory.mktemp("cifar") / cifar10.FOLDER
    place.mkdir()
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"):
        records = np.empty((COUNT, 3073), np.uint8)
        records[:, 0] = random.integers(0, 10, COUNT)
        records[:, 1:] = (np.arange(COUNT) % 251)[:, None]
        records[:, 1:3073:1024] = random.integers(0, 256, (COUNT, 3))
        records.tofile(place / name)
    return place


def raw(path: Path) -> npt.NDArray[np.uint8]:
    return np.fromfile(path, np.uint8).reshape(-1, 3073)


def test_images_are_normalised_by_colour(folder: Path) -> None:
    data = cifar10.load(folder)
    records = raw(folder / "test_batch.bin")
    assert data.shape == cifar10.SHAPE
    assert data.test_images.dtype == np.float32
    np.testing.assert_array_equal(data.test_labels, records[:, 0])
    green = (records[7, 1 + 1024 : 1 + 2048].reshape(32, 32) - 123.0) / 62.1
    np.testing.assert_allclose(data.test_images[7, 1], green, rtol=1e-6)


def test_validation_is_split_off_the_training_images(folder: Path) -> None:
    data, again, other = (cifar10.load(folder, 3000, seed) for seed in (0, 0, 1))
    assert data.validation_images.shape == (3000, *cifar10.SHAPE)
    assert data.train_images.shape == (47_000, *cifar10.SHAPE)
    np.testing.assert_array_equal(data.validation_labels, again.validation_labels)
    assert (data.validation_labels != other.validation_labels).any()
    labels = np.concatenate([raw(folder / f"data_batch_{n}.bin")[:, 0] for n in range(1, 6)])
    found = np.concatenate([data.train_labels, data.validation_labels])
    np.testing.assert_array_equal(np.bincount(found), np.bincount(labels))


def test_errors_name_the_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"data_batch_1\.bin is missing; .*must hold the six"
    ):
        cifar10.load(tmp_path)
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "data_batch_3.bin").unlink()
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(3073))
    with pytest.raises(
        ValueError, match=r"data_batch_3\.bin \(3073 bytes\) is no file of CIFAR-10"
    ):
        cifar10.load(tmp_path)
    with pytest.raises(ValueError, match="validation=50000 of 50000 images"):
        cifar10.load(folder, 50_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path / "data" / name)
    with pytest.raises(FileNotFoundError, match=r"neither in .* nor in .*data/codesign/cifar-10"):
        cifar10.load()


def test_the_users_data_directory_is_the_default(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: folder.parent)
    assert len(cifar10.load().test_labels) == COUNT
