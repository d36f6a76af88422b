"""The network's side of a problem: base networks by their arguments, and what is cut from them.

A base network is what the user's function returns for a choice of ``network.*``, simplified. A
choice of ``prune.*`` then becomes channels and zero blocks (``codesign.prune``).
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from codesign.cost.workload import Workload
from codesign.errors import ExplorationError
from codesign.explore.cache import content_key
from codesign.explore.problem import Problem
from codesign.explore.space import Space, Value
from codesign.frontend import network as net
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_module
from codesign.prune.blocks import sparse_layers
from codesign.prune.channels import kept_channels
from codesign.prune.groups import ChannelGroup, channel_groups
from codesign.zoo.data import Data

NETWORK, METHOD = "network.", "quantize.method"
GRAIN = ("hardware.in_channels", "hardware.out_channels")
"""What the size of a block of weights follows from: M and N."""
Arguments = tuple[tuple[str, Value], ...]
_MAX_BASES = 8
"""Base networks that are all looked at for names to prune; of more, one argument varies at a
time."""


@dataclass(frozen=True, eq=False)
class Base:
    """A base network, as far as its costs go: its weights are of no matter."""

    network: net.Network

    @cached_property
    def workload(self) -> Workload:
        return Workload.of_network(self.network)

    @cached_property
    def groups(self) -> dict[str, ChannelGroup]:
        """Channel groups that can be pruned, by name."""
        return {at.name: at for at in channel_groups(self.network) if at.prunable}

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers whose blocks can be zero."""
        return sparse_layers(self.network)


@dataclass(frozen=True)
class Cut:
    """What is left of a base network: channels of each group and share of zero blocks of each
    layer, in the order of ``Base.groups`` and ``Base.layers``."""

    arguments: Arguments
    channels: tuple[int, ...]
    sparsity: tuple[float, ...]

    @property
    def sparse(self) -> bool:
        return any(self.sparsity)


class Networks:
    """The networks of a problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._bases: dict[Arguments, Base] = {}

    def base(self, arguments: Arguments) -> Base:
        """The base network for these ``network.*`` values."""
        if arguments not in self._bases:
            module, example = self.module(arguments)
            self._bases[arguments] = Base(simplify(from_module(module, example, self._name)))
        return self._bases[arguments]

    def adopt(self, arguments: Arguments, network: net.Network) -> None:
        """Take a trained network as the base of its arguments: it need not be made again."""
        self._bases[arguments] = Base(network)

    def module(self, arguments: Arguments) -> tuple[torch.nn.Module, torch.Tensor]:
        """What the user's function returns.

        Raises
        ------
        ExplorationError
            It raises something, or returns something else.
        """
        source = self._problem.source
        given = {**source.arguments, **dict(arguments)}
        made = self._call("network.model", source.model, **given)
        module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, torch.nn.Module) or not isinstance(example, torch.Tensor):
            raise self._problem.error(
                "network.model",
                f"{source.model} returns {type(made).__name__}; return (torch.nn.Module, example "
                "input tensor)",
            )
        return module.eval(), example

    def data(self) -> Data:
        """The problem's images; raises as ``module``."""
        source = self._problem.source
        data = self._call("network.data", source.data, **source.data_arguments)
        if not isinstance(data, Data):
            raise self._problem.error(
                "network.data",
                f"{source.data} returns {type(data).__name__}; return codesign.zoo.data.Data",
            )
        return data

    @cached_property
    def sources(self) -> str:
        """Digest of the user's own modules and weights, which accuracies follow from; empty where
        all is this package's. Raises as ``module``."""
        source = self._problem.source
        contents = [] if source.weights is None else [_content(self._problem, source.weights)]
        named = {"model": source.model, "data": source.data, "train": source.train}
        for place, name in named.items():
            if name is None or name.startswith(f"{__name__.partition('.')[0]}."):
                continue
            self._function(f"network.{place}", name)
            file = sys.modules[name.partition(":")[0]].__file__
            contents.append(b"" if file is None else Path(file).read_bytes())
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        return content_key(files=digests) if digests else ""

    def trained(self, arguments: Arguments, data: Data) -> tuple[net.Network, torch.Tensor]:
        """The simplified base network with its weights, and an example input."""
        source = self._problem.source
        module, example = self.module(arguments)
        if source.weights is not None:
            module.load_state_dict(_state(self._problem, source.weights))
        if source.train is not None:
            shape = tuple(example.shape[1:])
            fitting = data.fit((shape[0], shape[1], shape[2]))
            # the seed of its own: sweeps with other seeds begin from the same network
            module = self._call("network.train", source.train, module, fitting)
        return simplify(from_module(module.eval(), example, self._name)), example

    def space(self) -> Space:
        """The whole space: names to prune are those of all base networks."""
        groups: dict[str, None] = {}
        layers: dict[str, None] = {}
        if self._problem.channels or self._problem.blocks:
            for arguments in self._looked_at():
                base = self.base(arguments)
                groups |= dict.fromkeys(base.groups)
                layers |= dict.fromkeys(base.layers)
        return self._problem.space(tuple(groups), tuple(layers))

    def cut(self, choice: Mapping[str, Value]) -> Cut:
        """What a point's choice leaves of which base network."""
        arguments = arguments_of(choice)
        base = self.base(arguments)
        ratios = self._problem.ratios(choice, tuple(base.groups))
        shares = self._problem.sparsity(choice, base.layers)
        multiple = self._problem.multiple
        channels = tuple(
            kept_channels(group.channels, ratios.get(name, 0.0), multiple)
            for name, group in base.groups.items()
        )
        return Cut(arguments, channels, tuple(shares.get(name, 0.0) for name in base.layers))

    @property
    def _name(self) -> str:
        return self._problem.name

    def _looked_at(self) -> Iterator[Arguments]:
        parameters = self._problem.network
        names = [at.name.removeprefix(NETWORK) for at in parameters]
        whole = list(itertools.product(*(at.values for at in parameters)))
        if len(whole) > _MAX_BASES:
            last = tuple(at.values[-1] for at in parameters)
            whole = [
                (*last[:index], value, *last[index + 1 :])
                for index, at in enumerate(parameters)
                for value in at.values
            ]
        for values in dict.fromkeys(whole):
            yield tuple(zip(names, values, strict=True))

    def _call(self, place: str, name: str, *arguments: Any, **named: Any) -> Any:
        """A function of the user's, as ``module:function``."""
        function = self._function(place, name)
        try:
            return function(*arguments, **named)
        except (ExplorationError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise self._problem.error(
                place, f"{name} raised {type(error).__name__}: {error}"
            ) from error

    def _function(self, place: str, name: str) -> Callable[..., Any]:
        module, _, function = name.partition(":")
        folders = [str(Path.cwd())]
        if self._problem.path is not None:
            folders.append(str(self._problem.path.parent.resolve()))
        before = list(sys.path)
        sys.path[:0] = folders
        try:
            found = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            raise self._problem.error(
                place, f"module {module!r} cannot be imported from here: {error}"
            ) from error
        finally:
            sys.path[:] = before
        if not callable(found):
            raise self._problem.error(place, f"module {module!r} has no function {function!r}")
        called: Callable[..., Any] = found
        return called


def arguments_of(choice: Mapping[str, Value]) -> Arguments:
    """The ``network.*`` part of a choice."""
    return tuple(
        (name.removeprefix(NETWORK), value)
        for name, value in choice.items()
        if name.startswith(NETWORK)
    )


def _content(problem: Problem, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise problem.error("network.weights", f"{path} cannot be read: {error}") from error


def _state(problem: Problem, path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise problem.error(
            "network.weights", f"{path} is no state dict of torch.save: {error}"
        ) from error
