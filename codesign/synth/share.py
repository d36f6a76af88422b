"""Less work for Yosys, in the text of a design in RTLIL."""

from __future__ import annotations

import hashlib
import re

_MODULE = re.compile(r"^module (\S+)$(.*?)^end$", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^(\s+cell )(\\\S+)( \S+)$", re.MULTILINE)
_ZEROS = re.compile(
    r"^  cell \$meminit_v2 \S+\n(?:    .*\n)*?    connect \\DATA \d+'0+\n(?:    .*\n)*?  end\n",
    re.MULTILINE,
)


def without_zeros(rtlil: str) -> str:
    """The design without the zeros that its memories begin with.

    Block memories, UltraRAMs and LUT memories begin with zeros unless told otherwise; carrying
    megabits of them through every pass takes most of the time of a design with large memories.
    """
    return _ZEROS.sub("", rtlil)


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
