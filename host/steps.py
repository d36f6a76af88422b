"""What the host computes behind the accelerator: the steps that a program names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from host.errors import ProgramFileError
from host.manifest import HostStep

Array = npt.NDArray[Any]


def check(steps: Sequence[HostStep]) -> None:
    """Refuse a step that this driver does not know.

    Raises
    ------
    ProgramFileError
        The program comes from a later version.
    """
    for step in steps:
        if step.op not in ("softmax", "argmax"):
            raise ProgramFileError(
                f"the program ends with host step {step.op!r}; this driver knows softmax and "
                "argmax: use the driver that the program was compiled with"
            )


def apply(steps: Sequence[HostStep], tensor: str, values: Array) -> Array:
    """The steps of one output's real values [samples, C, H, W]: float32, or int64 after an argmax,
    whose C is 1."""
    check(steps)
    for step in steps:
        if step.tensor != tensor:
            continue
        if step.op == "softmax":
            values = softmax(values, step.parameters["beta"])
        else:
            values = values.argmax(axis=1)[:, None]
    return values


def softmax(values: Array, beta: float) -> Array:
    """exp(beta * x) / sum exp(beta * x) over axis 1, computed from the largest value down."""
    powers = np.exp(beta * (values - values.max(axis=1, keepdims=True)))
    normalised: Array = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised
