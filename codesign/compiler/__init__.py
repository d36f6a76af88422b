"""The compiler: a quantised graph becomes a program for one architecture."""

from codesign.compiler.pipeline import compile

__all__ = ["compile"]
