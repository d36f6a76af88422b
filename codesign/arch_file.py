"""Architectures that a user writes: a YAML file with the fields of ``Arch``.

base: pynq_z2        # optional: start from a preset
name: my_board
pixels: 5
drain: 1
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import yaml

from codesign.arch import PRESETS, Arch, preset

_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
_FIELDS = {field.name: field for field in dataclasses.fields(Arch)}


def load(path: Path) -> Arch:
    """The architecture in a YAML file; ``name`` is the file's where the file gives none.

    Raises
    ------
    ValueError
        The file is no mapping, holds an unknown key, lacks a field that has no default, or its
        values contradict each other (``Arch``).
    TypeError
        A value has the wrong type.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must be a mapping of architecture fields, not {data!r}")
    if unknown := sorted(map(str, data.keys() - _FIELDS.keys() - {"base"})):
        names = ", ".join(["base", *_FIELDS])
        raise ValueError(f"{path}: unknown field {unknown[0]!r}; there are {names}")
    base = data.pop("base", None)
    if not _NAME.fullmatch(str(data.setdefault("name", path.stem))):
        raise ValueError(
            f"{path}: name {data['name']!r} becomes part of file names; take letters, digits, "
            "'_', '-' and '.', beginning with none of the last two"
        )
    if base is None and (
        missing := [
            n for n, f in _FIELDS.items() if f.default is dataclasses.MISSING and n not in data
        ]
    ):
        raise ValueError(
            f"{path}: {missing[0]!r} is missing; give every field without a default "
            f"({', '.join(missing)}) or a preset as `base`"
        )
    try:
        return Arch(**data) if base is None else preset(base).replace(**data)
    except TypeError as error:
        raise TypeError(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def find(name: str) -> Arch:
    """The preset of that name, or the architecture in the YAML file of that path.

    Raises
    ------
    ValueError
        There is neither, or the file is wrong (``load``).
    """
    path = Path(name)
    if name not in PRESETS and (path.suffix in (".yaml", ".yml") or path.is_file()):
        if not path.is_file():
            raise ValueError(
                f"no file is called {name!r}; presets are {', '.join(sorted(PRESETS))}"
            )
        return load(path)
    return preset(name)
