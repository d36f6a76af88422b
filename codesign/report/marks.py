"""Pages of which a part is made: what stands between two marks, the rest by hand."""

from __future__ import annotations


def replace_between(page: str, begin: str, end: str, content: str, *, name: str) -> str:
    """The page with other content between its marks, on lines of its own.

    Raises
    ------
    ValueError
        The page, ``name`` in the message, does not have both marks.
    """
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"{name} needs the marks {begin!r} and {end!r}")
    return f"{before}{begin}\n{content}\n{end}{after}"
