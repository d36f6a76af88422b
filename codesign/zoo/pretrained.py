"""Weights of trained networks in the user's cache, found by what they were trained from."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import nn

from codesign.report import files
from codesign.zoo.data import Augmentation, Images, Labels, digest
from codesign.zoo.training import Recipe

VERSION = 1
"""Raise it when ``codesign.zoo.training`` trains otherwise."""


def key(
    model: nn.Module,
    images: Images,
    labels: Labels,
    recipe: Recipe,
    augmentation: Augmentation,
    seed: int,
) -> str:
    """What the weights depend on, hashed: the model's structure (its ``repr``), the set of images
    and its augmentation, the recipe and the seed. The weights that training begins from are not
    among them: a structure's initialisations serve alike."""
    parts = {
        "version": VERSION,
        "model": repr(model),
        "images": digest(images, labels),
        "recipe": dataclasses.asdict(recipe),
        "augmentation": dataclasses.asdict(augmentation),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def place(name: str) -> Path:
    """Where the weights of that key are kept."""
    return platformdirs.user_cache_path("codesign") / "weights" / f"{name}.npz"


def cached(model: nn.Module, path: Path, train: Callable[[], None]) -> None:
    """Give ``model`` the weights of a file; where there is none (or what is there is damaged), call
    ``train``, which trains ``model`` in place, and write it."""
    try:
        load(model, path)
    except (FileNotFoundError, ValueError):
        train()
        save(model, path)


def save(model: nn.Module, path: Path) -> None:
    """Write the model's state as a ``.npz``, complete or not at all."""
    content = io.BytesIO()
    arrays = {name: value.numpy(force=True) for name, value in model.state_dict().items()}
    np.savez(content, **arrays)
    files.write_bytes(path, content.getvalue())


def load(model: nn.Module, path: Path) -> None:
    """Give ``model`` the state of a ``.npz`` file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, or of another model.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as archive:
            state = {name: torch.from_numpy(archive[name]) for name in archive.files}
        model.load_state_dict(state)
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} holds no weights of this {type(model).__name__}") from error
    model.eval()
