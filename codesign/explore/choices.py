"""What a layer of a searched network may be: choices, written as YAML, and the small network that
shows what one costs.

    layers:
      stem: {in_channels: 3, out_channels: [8, 16], size: 32, position: first}
      body:                                    # alternatives, as in FBNet: also none at all
        - {op: mbconv, in_channels: 16, out_channels: 16, expand: [3, 6], kernel: [3, 5], size: 32}
        - {op: skip, in_channels: 16, out_channels: 16, size: 32}
      head: {op: linear, in_channels: {up_to: 64}, out_channels: 10, position: last}

Lists are multiplied out, the last field of ``FIELDS`` fastest. ``{up_to: 64}`` stands for the
multiples of the array's M (``in_channels``) or N (``out_channels``) that reach 64: between them
nothing changes. Extents are numbers, or ``49x10``: lines by columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codesign.arch import Arch
from codesign.explore import yaml_lines
from codesign.frontend import network as net
from codesign.ir import Pair, Window

OPS = ("conv", "depthwise", "mbconv", "linear", "max_pool", "avg_pool", "skip")
POSITIONS = ("first", "inner", "last")
NEIGHBOURS = ("before", "after")
_POOLS = ("max_pool", "avg_pool")
_DENSE = ("conv", "mbconv", "linear")
_SAME_CHANNELS = ("depthwise", "skip", *_POOLS)


@dataclass(frozen=True)
class Choice:
    """One layer, or one block of layers.

    Parameters
    ----------
    op:
        One of ``OPS``. ``mbconv`` is an inverted residual (MobileNetV2): 1 by 1 to ``expand`` times
        the channels, depthwise, 1 by 1. ``skip`` is nothing at all.
    kernel, stride, size:
        (lines, columns); ``size`` of the layer's input. Windows are padded by half the kernel,
        pools are not.
    expand:
        Of ``mbconv``.
    sparsity:
        Share of the M by N blocks of weights that are zero (``codesign.cost.sparsity``), of ops
        with dense kernels.
    residual:
        Whether the input is added to the result; in the same pass.
    """

    in_channels: int
    out_channels: int
    op: str = "conv"
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    size: Pair = (1, 1)
    expand: int = 1
    sparsity: float = 0.0
    residual: bool = False

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise ValueError(f"op {self.op!r} is none of {', '.join(OPS)}")
        sizes = (self.in_channels, self.out_channels, self.expand)
        if min(*sizes, *self.kernel, *self.stride, *self.size) < 1:
            raise ValueError(f"{self.to_dict()}: channels and extents are 1 or more")
        if not 0 <= self.sparsity <= 1:
            raise ValueError(f"sparsity {self.sparsity} is outside 0..1")
        if self.sparsity and self.op not in _DENSE:
            raise ValueError(f"sparsity is of {', '.join(_DENSE)}; {self.op} has no such blocks")
        if self.expand > 1 and self.op != "mbconv":
            raise ValueError(f"expand is of mbconv; {self.op} has nothing to expand")
        if self.op in _SAME_CHANNELS and self.in_channels != self.out_channels:
            raise ValueError(
                f"{self.op} keeps its channels, but has in_channels {self.in_channels} and "
                f"out_channels {self.out_channels}"
            )
        kept = self.in_channels == self.out_channels and self.stride == (1, 1)
        if not kept and (self.residual or self.op == "skip"):
            raise ValueError(
                f"{self.op} of {self.in_channels} to {self.out_channels} channels, stride "
                f"{_pair_text(self.stride)}: what is added, or skipped, keeps its shape"
            )
        if self.op == "linear" and (self.size != (1, 1) or self.kernel != (1, 1)):
            raise ValueError(
                f"a linear layer reads a vector: leave out size {_pair_text(self.size)} and kernel "
                f"{_pair_text(self.kernel)}, or take conv"
            )

    def to_dict(self) -> dict[str, Any]:
        """As YAML and JSON have it."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {n: _pair_text(v) if isinstance(v, tuple) else v for n, v in found.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """The reverse of ``to_dict``, and of YAML without lists.

        Raises
        ------
        ValueError
            A field is unknown, missing, of another type, or contradicts another one.
        """
        _check_names(values, FIELDS)
        op = str(values.get("op", "conv"))
        found: dict[str, Any] = _defaults(op, values) | dict(values)
        if op in _SAME_CHANNELS:
            found.setdefault("out_channels", found.get("in_channels"))
        for name in ("in_channels", "out_channels"):
            if found.get(name) is None:
                raise ValueError(f"{name} is missing")
        return cls(**{name: _READ[name](name, value) for name, value in found.items()})


FIELDS = ("op", "in_channels", "out_channels", "kernel", "stride", "size", "expand", "sparsity",
          "residual")  # fmt: skip


@dataclass(frozen=True)
class LayerChoices:
    """``position``: "first" reads the network's input from DRAM (the host folds it), "last" ends
    with the network's result there, "inner" does neither."""

    position: str
    choices: tuple[Choice, ...]


def load(path: Path, arch: Arch) -> dict[str, LayerChoices]:
    """Layer -> its choices on an architecture.

    Raises
    ------
    ExplorationError
        The file declares no choices; the message names line and layer.
    """
    top = yaml_lines.read(path, "`layers`")
    layers = top.section("layers", required=True)
    top.finish()
    if not layers.entries:
        raise top.error("layers", "declares no choices; give each layer its fields")
    found = {}
    for name, entry in layers.entries.items():
        try:
            found[name] = expand(entry, arch)
        except ValueError as error:
            raise layers.error(name, str(error)) from error
    return found


def expand(entry: Any, arch: Arch) -> LayerChoices:
    """The choices of one layer's entry: a mapping with lists, or a list of such.

    Raises
    ------
    ValueError
        It is something else.
    """
    entries = entry if isinstance(entry, list) else [entry]
    if not entries or not all(isinstance(at, dict) for at in entries):
        raise ValueError(f"{entry!r} is neither a layer's fields nor a list of such")
    positions = {str(at.get("position", "inner")) for at in entries}
    if len(positions) > 1 or not positions <= set(POSITIONS):
        raise ValueError(f"position {sorted(positions)} must be one of {', '.join(POSITIONS)}")
    found: list[Choice] = []
    for at in entries:
        fields = {name: value for name, value in at.items() if name != "position"}
        _check_names(fields, (*FIELDS, "position"))
        axes = [_axis(name, fields[name], arch) for name in FIELDS if name in fields]
        for values in itertools.product(*axes):
            names = (name for name in FIELDS if name in fields)
            found.append(Choice.from_dict(dict(zip(names, values, strict=True))))
    return LayerChoices(positions.pop(), tuple(dict.fromkeys(found)))


def steps(arch: Arch, name: str, up_to: int) -> list[int]:
    """Numbers of channels, ``name`` "in_channels" or "out_channels", at which an architecture takes
    another block: multiples of M or N, the last no less than ``up_to``."""
    step: int = getattr(arch, name)
    return [step * (i + 1) for i in range(-(-up_to // step))]


def shown(choice: Choice) -> str:
    """A choice in a few words."""
    text = f"{choice.op} {choice.in_channels}>{choice.out_channels}"
    if choice.op not in ("linear", "skip"):
        text += f" {choice.kernel[0]}x{choice.kernel[1]}"
    text += f" /{_pair_text(choice.stride)}" if choice.stride != (1, 1) else ""
    text += f" e{choice.expand}" if choice.op == "mbconv" else ""
    return text + (f" {choice.sparsity:.0%} sparse" if choice.sparsity else "")


def probe(choice: Choice, position: str) -> net.Network:
    """A network in which the choice stands as it would in a user's; the layers ``NEIGHBOURS`` are
    none of its own.

    Inner layers stand between two convolutions: they find their input on chip, and wait for the
    pipeline of the layer before as they would anywhere.
    """
    before, after = NEIGHBOURS
    made = _Maker((choice.in_channels, *choice.size))
    if position != "first":
        made.conv(before, choice.in_channels, (1, 1) if choice.size == (1, 1) else (3, 3))
    source = made.last
    if choice.op == "mbconv":
        wide = choice.in_channels * choice.expand
        if choice.expand > 1:
            made.conv("expand", wide)
        made.conv("depthwise", wide, choice.kernel, choice.stride, groups=wide)
        made.conv("project", choice.out_channels)
    elif choice.op in _POOLS:
        made.pool("layer", choice)
    elif choice.op != "skip":
        groups = choice.in_channels if choice.op == "depthwise" else 1
        made.conv("layer", choice.out_channels, choice.kernel, choice.stride, groups)
    if choice.residual:
        made.add("sum", source if choice.op == "mbconv" else "image")
    if position != "last":
        made.conv(after, choice.out_channels)
    return made.network()


class _Maker:
    """A chain of operations; their weights are ones that take no memory."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shapes = {"image": shape}
        self.ops: list[net.Op] = []
        self.last = "image"

    def conv(
        self, name: str, outputs: int, kernel: Pair = (1, 1), stride: Pair = (1, 1), groups: int = 1
    ) -> None:
        inputs = self.shapes[self.last][0]
        weight = np.broadcast_to(np.float32(1), (outputs, inputs // groups, *kernel))
        above, left = kernel[0] // 2, kernel[1] // 2
        padding = (above, kernel[0] - 1 - above, left, kernel[1] - 1 - left)
        window = Window(kernel, stride, padding)
        bias = np.zeros(outputs, np.float32)
        self._put(net.Conv2d(name, self.last, f"{name}.y", weight, bias, window, groups))

    def pool(self, name: str, choice: Choice) -> None:
        make = net.MaxPool2d if choice.op == "max_pool" else net.AvgPool2d
        self._put(make(name, self.last, f"{name}.y", Window(choice.kernel, choice.stride)))

    def add(self, name: str, other: str) -> None:
        self._put(net.Add(name, self.last, other, f"{name}.y"))

    def _put(self, op: net.Op) -> None:
        self.shapes[op.y] = net.output_shape(op, self.shapes)
        self.ops.append(op)
        self.last = op.y

    def network(self) -> net.Network:
        return net.Network("probe", self.shapes, tuple(self.ops), ("image",), (self.last,))


def _defaults(op: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of fields that follow from others."""
    if op in _POOLS:
        return {"stride": values.get("kernel", 3)}
    return {"kernel": 1} if op == "linear" else {}


def _axis(name: str, value: Any, arch: Arch) -> list[Any]:
    """The values that a field of YAML stands for."""
    if isinstance(value, dict):
        if set(value) != {"up_to"} or name not in ("in_channels", "out_channels"):
            raise ValueError(f"{name} {value!r}: a mapping is `up_to: CHANNELS`, of channels")
        up_to = _whole(name, value["up_to"])
        if up_to < 1:
            raise ValueError(f"{name} up_to {up_to}: must be 1 or more")
        return list(steps(arch, name, up_to))
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError(f"{name} is an empty list")
    return values


def _check_names(values: Iterable[str], known: Iterable[str]) -> None:
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field {name!r}; there are {', '.join(known)}")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return value


def _pair(name: str, value: Any) -> Pair:
    """``5`` or ``10x4``."""
    if isinstance(value, str):
        lines, _, columns = value.partition("x")
        if lines.isdecimal() and columns.isdecimal():
            return int(lines), int(columns)
        raise ValueError(f"{name} must be a number or such as 10x4, not {value!r}")
    return _whole(name, value), _whole(name, value)


def _pair_text(pair: Pair) -> int | str:
    return pair[0] if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, not {value!r}")
    return float(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a word, not {value!r}")
    return value


_READ: Mapping[str, Any] = {
    "op": _text, "in_channels": _whole, "out_channels": _whole, "kernel": _pair, "stride": _pair,
    "size": _pair, "expand": _whole, "sparsity": _share, "residual": _flag,
}  # fmt: skip
