"""A network as its cost sees it: its layers, fused as the compiler fuses them, free of any
architecture.

Channels and block sparsity may be arrays [A]: as many networks as architectures, which are then
paired element by element.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from codesign import ir
from codesign.cost import lowered
from codesign.cost.layer_shape import (
    BoolArray,
    FloatArray,
    LayerShape,
    Link,
    MapShape,
    Number,
    Part,
)
from codesign.frontend import network as net
from codesign.isa import Mode


@dataclass(frozen=True, eq=False)
class Workload:
    """A network: ``layers`` in order of execution, ``maps`` by name, those that the host writes and
    reads.

    ``links`` joins tensors whose channels are one set; the channels of ``fixed`` groups stay.
    """

    name: str
    batch: int
    layers: tuple[LayerShape, ...]
    maps: Mapping[str, MapShape]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    links: Mapping[str, Link] = field(default_factory=dict, repr=False)
    fixed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, graph: ir.Graph) -> Workload:
        """The workload of a quantised graph, its weights' blocks of zeros included.

        Raises
        ------
        GraphError
            The graph breaks a rule of ``codesign.ir``.
        UnsupportedOpError
            An operation that the machine cannot execute.
        CapacityError
            A kernel that no architecture takes.
        """
        at = lowered.of_graph(graph)
        return cls(
            graph.name, graph.batch, at.layers, at.maps, graph.inputs, at.outputs, at.links,
            at.fixed,
        )  # fmt: skip

    @classmethod
    def of_network(cls, network: net.Network, batch: int = 1) -> Workload:
        """The workload of a float network (``frontend.passes.simplify``): that of its quantised
        graph, without any calibration.

        Raises
        ------
        GraphError
            The network is not simplified.
        UnsupportedOpError, CapacityError
            As ``of``.
        """
        return cls.of(lowered.surrogate(network, batch))

    def with_channels(self, channels: Mapping[str, Number]) -> Workload:
        """The network with other channels, its kernels dense.

        Parameters
        ----------
        channels:
            Tensor -> its channels. All tensors of its group follow: those added to it, pooled,
            filtered by depthwise kernels; the flattened ones.

        Raises
        ------
        ValueError
            An unknown tensor; channels that contradict each other, are not positive, or cannot
            change: those of inputs and of grouped convolutions.
        """
        groups: dict[int, Number] = {}
        for name, count in channels.items():
            link = self._link(name)
            value = _divided(name, count, link.factor)
            known = groups.setdefault(link.group, value)
            if np.any(np.asarray(known) != np.asarray(value)):
                raise ValueError(
                    f"tensor {name!r}: {count} channels contradict those of another tensor of its "
                    "group; residual sums, pools and depthwise kernels keep channels together"
                )
        maps = dict(self.maps)
        for name, shape in maps.items():
            link = self._link(name)
            if link.group not in groups:
                continue
            count = groups[link.group] * link.factor
            if link.group in self.fixed and np.any(np.asarray(count) != shape.channels):
                raise ValueError(
                    f"the channels of {name!r} cannot change: it is an input of the network, or a "
                    "grouped convolution reads or writes it"
                )
            maps[name] = replace(shape, channels=count)
        return replace(self, maps=maps, layers=tuple(_resized(maps, at) for at in self.layers))

    def with_sparsity(self, sparsity: Mapping[str, float | FloatArray]) -> Workload:
        """The network with blocks of zeros.

        Parameters
        ----------
        sparsity:
            Layer -> share of its M x N tap blocks that are zero, whatever M and N: every block of
            N outputs keeps ``kept_taps`` of them. A first layer that the host folds keeps all.

        Raises
        ------
        ValueError
            An unknown layer, one that is no dense convolution, or a share outside [0, 1].
        """
        layers = {layer.name: layer for layer in self.layers}
        for name, share in sparsity.items():
            layer = layers.get(name)
            if layer is None or layer.mode is not Mode.DENSE:
                dense = sorted(at.name for at in self.layers if at.mode is Mode.DENSE)
                raise ValueError(f"{name!r} is no dense layer; these are: {', '.join(dense)}")
            if not np.all((np.asarray(share) >= 0) & (np.asarray(share) <= 1)):
                raise ValueError(f"layer {name!r}: sparsity {share} is outside 0..1")
            layers[name] = replace(layer, sparsity=share, parts=_dense(layer))
        return replace(self, layers=tuple(layers.values()))

    def take(self, rows: npt.NDArray[np.intp] | BoolArray) -> Workload:
        """The networks of these rows, where numbers are arrays [A]."""

        def number(value: Number) -> Number:
            return value[rows] if isinstance(value, np.ndarray) else value

        maps = {
            name: replace(at, channels=number(at.channels)) if _varies(at.channels) else at
            for name, at in self.maps.items()
        }
        return replace(self, maps=maps, layers=tuple(_taken(at, rows) for at in self.layers))

    @property
    def rows(self) -> int | None:
        """A where some number is an array [A], else None.

        Raises
        ------
        ValueError
            Arrays of different lengths.
        """
        lengths = {len(at) for at in self._arrays()}
        if len(lengths) > 1:
            raise ValueError(f"channels and sparsities have different lengths {sorted(lengths)}")
        return lengths.pop() if lengths else None

    def _arrays(self) -> Iterator[npt.NDArray[np.generic]]:
        numbers = [at.channels for at in self.maps.values()]
        for value in (*numbers, *(at.sparsity for at in self.layers)):
            if isinstance(value, np.ndarray):
                yield value

    def _link(self, name: str) -> Link:
        try:
            return self.links[name]
        except KeyError:
            raise ValueError(
                f"network {self.name!r} has no tensor {name!r}; it has {', '.join(self.links)}"
            ) from None


def _varies(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _divided(name: str, count: Number, factor: int) -> Number:
    """Channels of the group of a tensor."""
    value = np.asarray(count, np.int64)
    if np.any(value < 1) or np.any(value % factor):
        of = f" and a multiple of {factor}" if factor > 1 else ""
        raise ValueError(f"tensor {name!r}: {count} channels; the number must be positive{of}")
    return value // factor if value.ndim else int(value) // factor


def _dense(layer: LayerShape) -> tuple[Part, ...]:
    return tuple(replace(part, nonzero=None) for part in layer.parts)


def _resized(maps: Mapping[str, MapShape], layer: LayerShape) -> LayerShape:
    """A layer on maps of other channels."""
    inputs, outputs = maps[layer.source].channels, maps[layer.target].channels
    if inputs is layer.in_channels and outputs is layer.out_channels:
        return layer
    before: Number = layer.out_channels
    now: Number = outputs
    if layer.mode is Mode.DENSE:
        before, now = before * layer.in_channels, now * inputs
    macs = layer.macs * now // before
    return replace(layer, in_channels=inputs, out_channels=outputs, macs=macs, parts=_dense(layer))


def _taken(layer: LayerShape, rows: npt.NDArray[np.intp] | BoolArray) -> LayerShape:
    names = [
        name
        for name in ("in_channels", "out_channels", "macs", "sparsity")
        if _varies(getattr(layer, name))
    ]
    return (
        replace(layer, **{name: getattr(layer, name)[rows] for name in names}) if names else layer
    )
