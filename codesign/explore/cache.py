"""Results of evaluations by the content that they follow from, on disk.

A key is the digest of everything that has a say in a result; so a design that comes again, in this
sweep or after a restart, costs nothing. An entry is a JSON object and, where there are any, arrays;
it is either there as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.report import files

Arrays = Mapping[str, npt.NDArray[Any]]
_DIGITS = 32


def content_key(**parts: Any) -> str:
    """Digest of named JSON values, whatever their order."""
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def array_digest(*arrays: npt.NDArray[Any]) -> str:
    """Digest of arrays: their types, shapes and values."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:_DIGITS]


class Cache:
    """A folder of entries. Several processes may share it: equal keys have equal entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of a key; None where there is none, or a crash of the machine left half."""
        try:
            found: dict[str, Any] = json.loads(self._path(key, "json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found

    def arrays(self, key: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an entry; none where it has none."""
        try:
            data = self._path(key, "npz").read_bytes()
        except FileNotFoundError:
            return {}
        return read_arrays(data)

    def put(self, key: str, entry: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Keep an entry; its arrays are there before it is."""
        if arrays:
            files.write_bytes(self._path(key, "npz"), write_arrays(arrays))
        files.write_json(self._path(key, "json"), dict(entry))

    def _path(self, key: str, kind: str) -> Path:
        return self._folder / key[:2] / f"{key}.{kind}"


def write_arrays(arrays: Arrays) -> bytes:
    """Arrays as the bytes of an .npz file; any text may name them."""
    names = list(arrays)
    file = io.BytesIO()
    index = np.frombuffer(json.dumps(names).encode(), np.uint8)
    numbered: dict[str, Any] = {f"a{i}": arrays[name] for i, name in enumerate(names)}
    np.savez(file, names=index, **numbered)
    return file.getvalue()


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """What ``write_arrays`` wrote; ``ValueError`` where it did not."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            names = json.loads(found["names"].tobytes())
            return {name: found[f"a{i}"] for i, name in enumerate(names)}
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"these are no arrays of this cache: {error}") from error
