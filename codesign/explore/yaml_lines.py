"""YAML whose every entry knows its line, so that a message can point at it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from codesign.errors import ExplorationError

_MERGE = "tag:yaml.org,2002:merge"


@dataclass(eq=False)
class Section:
    """A mapping of the file; entries are taken by name, and ``finish`` refuses what is left.

    Parameters
    ----------
    place:
        Dotted path of the mapping, empty at the top.
    entries:
        Name -> value as plain YAML makes it.
    lines:
        Dotted path -> line, of the whole file.
    """

    path: Path
    place: str
    entries: Mapping[str, Any]
    lines: Mapping[str, int]
    _known: list[str] = field(default_factory=list)

    def where(self, name: str) -> str:
        """Dotted path of an entry."""
        return f"{self.place}.{name}" if self.place else name

    def error(self, name: str, text: str) -> ExplorationError:
        """An error about an entry, or about the whole section where it is not there."""
        place = self.where(name)
        line = self.lines.get(place) or self.lines.get(self.place) or 1
        return ExplorationError(f"{self.path}:{line}: {place}: {text}")

    def take(self, name: str, default: Any = None, required: bool = False) -> Any:
        """An entry as it is, ``default`` where the file has none; an empty entry is refused."""
        self._known.append(name)
        if name in self.entries:
            if self.entries[name] is None:
                raise self.error(name, "has no value; give one or leave the entry out")
            return self.entries[name]
        if required:
            raise self.error(name, "is missing")
        return default

    def section(self, name: str, required: bool = False) -> Section:
        """A mapping within; an empty one where the file has none."""
        value = self.take(name, {}, required)
        if not isinstance(value, dict):
            raise self.error(name, f"must be a mapping, not {value!r}")
        return Section(self.path, self.where(name), value, self.lines)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required where there is no default."""
        value = self.take(name, default, required=default is None)
        if not isinstance(value, str) or not value:
            raise self.error(name, f"must be text, not {value!r}")
        return value

    def number(self, name: str, value: Any) -> float:
        """``value``, the entry's or a part of it, as a number."""
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.error(name, f"must be a number, not {value!r}{_exponent(value)}")
        return value

    def count(self, name: str, default: int | None, least: int = 1) -> int:
        """A whole number, ``least`` or more; required where there is no default."""
        value = self.take(name, default, required=default is None)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.error(name, f"must be a whole number from {least}, not {value!r}")
        return value

    def one_of(self, name: str, value: Any, names: tuple[str, ...]) -> str:
        """``value`` where it is one of the names."""
        if value not in names:
            raise self.error(name, f"cannot be {value!r}{suggestion(str(value), names)}")
        return str(value)

    def finish(self) -> None:
        """Refuse entries that were never taken: most are misspelt."""
        for name in self.entries:
            if name not in self._known:
                raise self.error(name, f"is not known{suggestion(name, tuple(self._known))}")


def read(path: Path, entries: str) -> Section:
    """A file's topmost mapping; ``entries`` tells in messages what it holds.

    Raises
    ------
    ExplorationError
        It cannot be read, is no YAML, no mapping, or has a key twice or one that is no text.
    """
    lines: dict[str, int] = {}
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        value = _value(loader, node, "", path, lines) if node else None
    except (OSError, UnicodeDecodeError) as error:
        raise ExplorationError(f"{path} cannot be read: {error}") from error
    except RecursionError as error:
        raise ExplorationError(f"{path}: an anchor (&) holds itself; write it out") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or error
        raise ExplorationError(f"{path}{line}: is not YAML: {said}") from error
    if not isinstance(value, dict):
        raise ExplorationError(f"{path}:1: must be a mapping, with {entries}")
    return Section(path, "", value, lines)


def suggestion(wrong: str, names: tuple[str, ...]) -> str:
    """The end of a message about a name that is none: the likeliest one, or all there are."""
    near = difflib.get_close_matches(wrong, names, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"


def _value(
    loader: yaml.SafeLoader, node: yaml.Node, place: str, path: Path, lines: dict[str, int]
) -> Any:
    """The node as plain values; fills ``lines``."""
    if isinstance(node, yaml.SequenceNode):
        return [
            _value(loader, at, f"{place}.{number}", path, lines)
            for number, at in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node, path)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == _MERGE:
            raise ExplorationError(f"{path}:{line}: merge keys (<<) are not read; write it out")
        key = _scalar(loader, key_node, path)
        if not isinstance(key, str):
            raise ExplorationError(f"{path}:{line}: the key {key!r} must be text; put it in quotes")
        below = f"{place}.{key}" if place else key
        if key in found:
            raise ExplorationError(
                f"{path}:{line}: {below} stands twice, before in line {lines[below]}"
            )
        lines[below] = line
        found[key] = _value(loader, value_node, below, path, lines)
    return found


def _scalar(loader: yaml.SafeLoader, node: yaml.Node, path: Path) -> Any:
    """A number, text, true or false, or nothing; ``ExplorationError`` for dates that are none."""
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:
        line = node.start_mark.line + 1
        raise ExplorationError(f"{path}:{line}: {error}; put text in quotes") from error


def _exponent(value: Any) -> str:
    """YAML 1.1 reads 1e-3 as text."""
    if not isinstance(value, str):
        return ""
    try:
        return f"; write {float(value)!r}" if "e" in value.lower() else ""
    except ValueError:
        return ""
