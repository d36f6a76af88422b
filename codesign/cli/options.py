"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from codesign import arch_file
from codesign.arch import PRESETS, Arch

FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
Decorated = TypeVar("Decorated", bound="Callable[..., Any] | click.Command")
FOLDER = click.Path(file_okay=False, path_type=Path)


class ArchType(click.ParamType[Arch]):
    """A preset's name or the path of a YAML file."""

    name = "NAME_OR_YAML"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Arch:
        if isinstance(value, Arch):
            return value
        try:
            return arch_file.find(value)
        except (ValueError, TypeError) as error:
            self.fail(str(error), param, ctx)


def arch_option(default: str | None = None) -> Callable[[Decorated], Decorated]:
    """``--arch``; required where there is no default."""
    return click.option(
        "--arch",
        type=ArchType(),
        default=default,
        required=default is None,
        show_default=default is not None,
        help=f"A preset ({', '.join(sorted(PRESETS))}) or a YAML file with fields of Arch, "
        "for example `base: pynq_z2` and `pixels: 5`.",
    )


def seed_option() -> Callable[[Decorated], Decorated]:
    return click.option(
        "--seed", type=int, default=0, show_default=True, help="Of everything that is random."
    )


def load_array(path: Path) -> npt.NDArray[Any]:
    """An .npy file's array; ``ValueError`` where it is none."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{str(path)!r} is no .npy file ({error}); save it with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"{str(path)!r} holds several arrays; save one with numpy.save")
    return array
