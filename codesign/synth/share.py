"""Identical modules of a design in RTLIL, made one: synthesis then works once for all of them."""

from __future__ import annotations

import hashlib
import re

_MODULE = re.compile(r"^module (\S+)$(.*?)^end$", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^(\s+cell )(\\\S+)( \S+)$", re.MULTILINE)


def share_modules(rtlil: str, inside: str) -> tuple[str, list[str]]:
    """The design with one of each group of equal modules, and the names of those that stay.

    Parameters
    ----------
    rtlil:
        Text of the design, as Amaranth writes it.
    inside:
        Only modules whose full name this regular expression matches are compared. They may hold no
        instances of each other.
    """
    first: dict[str, str] = {}
    instead: dict[str, str] = {}
    for match in _MODULE.finditer(rtlil):
        name, body = match.groups()
        if re.fullmatch(inside, name.removeprefix("\\")):
            key = hashlib.sha256(body.encode()).hexdigest()
            instead[name] = first.setdefault(key, name)
    if not instead:
        raise ValueError(f"no module of the design matches {inside!r}")

    def module(match: re.Match[str]) -> str:
        name = match.group(1)
        return match.group(0) if instead.get(name, name) == name else ""

    def instance(match: re.Match[str]) -> str:
        before, kind, after = match.groups()
        return f"{before}{instead.get(kind, kind)}{after}"

    text = _INSTANCE.sub(instance, _MODULE.sub(module, rtlil))
    return text, [name.removeprefix("\\") for name in first.values()]
