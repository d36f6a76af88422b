"""What a simulated board refuses."""

from __future__ import annotations


class BoardError(Exception):
    """A request that hardware would answer with a bus error, a crash or wrong data."""
