"""Networks with parameters, their data, their training and its cache."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.zoo import explorable, pretrained, training
from codesign.zoo.data import digest
from codesign.zoo.resnet8 import ResNet8

QUICK = training.Recipe(epochs=5, batch=32, learning_rate=0.1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(explorable, "DIGITS", QUICK)
    return tmp_path / "codesign" / "weights"


def accuracy(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    with torch.no_grad():
        return float((model(torch.from_numpy(images)).argmax(1).numpy() == labels).mean())


def test_the_default_is_resnet8() -> None:
    model, example = explorable.resnet()
    weights = ResNet8().state_dict()
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in weights.items()
    }
    assert example.shape == (1, 3, 32, 32)
    torch.manual_seed(0)
    reference = ResNet8().eval()
    model.load_state_dict(reference.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images), reference(images))


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 8, "blocks": 2, "kernel": 5, "resolution": 24},
        {"width": 12, "blocks": 1, "kernel": 1, "resolution": 4},
    ],
)
def test_every_choice_is_a_network(arguments: dict[str, int]) -> None:
    model, example = explorable.resnet(**arguments)
    network = simplify(from_module(model, example))
    assert network.shapes[network.outputs[0]] == (10, 1, 1)
    assert network.shapes[network.inputs[0]] == (
        3,
        arguments["resolution"],
        arguments["resolution"],
    )
    kernels = {op.window.kernel for op in network.ops if "conv1" in op.name}
    assert kernels == {(arguments["kernel"], arguments["kernel"])}


def test_the_seed_is_the_network() -> None:
    first, second, other = (explorable.digits(seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert torch.equal(first["conv.weight"], second["conv.weight"])
    assert not torch.equal(first["conv.weight"], other["conv.weight"])


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel 4 must be odd"):
        explorable.resnet(kernel=4)
    with pytest.raises(ValueError, match="resolution 30 must be a multiple of 4: 3 stages"):
        explorable.resnet(resolution=30)
    with pytest.raises(ValueError, match="at least 1"):
        explorable.digits(width=0)


def test_digits_come_in_three_parts() -> None:
    data = explorable.digits_data()
    parts = data.train_labels, data.validation_labels, data.test_labels
    assert [len(labels) for labels in parts] == [1137, 300, 360]
    for labels in parts:
        assert np.ptp(np.bincount(labels) / len(labels)) < 0.01
    smaller = data.fit((1, 6, 6))
    assert smaller.shape == (1, 6, 6)
    assert smaller.test_images.mean() == pytest.approx(data.test_images.mean(), abs=0.1)
    assert smaller.augmentation == data.augmentation
    assert data.fit((1, 2, 2)).augmentation.shift == 0
    assert data.fit(data.shape) is data
    with pytest.raises(ValueError, match="have 1 channels, the network takes 3"):
        data.fit((3, 8, 8))


def test_data_of_another_kind_is_refused() -> None:
    data = explorable.digits_data()
    with pytest.raises(TypeError, match="test images are float64 and labels int64; make them"):
        dataclasses.replace(data, test_images=data.test_images.astype(np.float64))
    with pytest.raises(ValueError, match=r"train images have shape \(1137, 8, 8\); give \[K, C"):
        dataclasses.replace(data, train_images=data.train_images[:, 0])
    with pytest.raises(ValueError, match=r"validation: labels of shape \(299,\) for 300 images"):
        dataclasses.replace(data, validation_labels=data.validation_labels[1:])


def test_training_is_cached_by_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = explorable.digits_data()
    model = explorable.train_digits(explorable.digits()[0], data)
    found = accuracy(model, data.test_images, data.test_labels)
    assert found > 0.9
    assert len(list(cache.iterdir())) == 1

    monkeypatch.setattr(training, "train", None)  # calling it fails
    again = explorable.train_digits(explorable.digits()[0], data)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)
    with pytest.raises(TypeError):
        explorable.train_digits(explorable.digits()[0], data, seed=1)
    with pytest.raises(TypeError):
        explorable.train_digits(explorable.digits(width=6)[0], data)


def test_training_repeats(cache: Path) -> None:
    data = explorable.digits_data()
    found = []
    for _ in range(2):
        model = explorable.digits()[0]
        training.train(
            model, data.train_images, data.train_labels, QUICK, data.augmentation, seed=3
        )
        found.append(accuracy(model, data.validation_images, data.validation_labels))
    assert found[0] == found[1]


def test_damaged_weights_are_made_anew(cache: Path) -> None:
    model, path = explorable.digits()[0], cache / "one.npz"
    pretrained.save(model, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"one\.npz holds no weights of this ResNet"):
        pretrained.load(model, path)
    calls = []
    pretrained.cached(model, path, lambda: calls.append(1))
    pretrained.load(explorable.digits(seed=5)[0], path)
    assert calls == [1]
    with pytest.raises(ValueError, match="holds no weights"):
        pretrained.load(explorable.digits(width=6)[0], path)


def test_a_set_of_images_has_no_order() -> None:
    data = explorable.digits_data()
    images, labels = data.test_images, data.test_labels
    assert digest(images, labels) == digest(images[::-1], labels[::-1])
    assert digest(images, labels) != digest(images, labels[::-1])
