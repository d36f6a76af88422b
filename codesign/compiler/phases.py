"""How far maps are split into phase planes, and what layers then do phase by phase.

A map that is read at stride s is split by a multiple of s. A layer that upsamples by u writes one
phase plane after another: as an ordinary layer each, a map that is split by u. What reads that map
at stride 1 runs phase by phase too: its source and target are split alike. Layers that are computed
by line (``by_line``) need linear maps; where theirs are split, they run phase by phase as well.
"""

from __future__ import annotations

from dataclasses import replace
from math import lcm

from codesign.arch import Arch
from codesign.compiler.lower import copy_layer
from codesign.compiler.network import Block, Layer, Network
from codesign.errors import UnsupportedOpError

MAX_FACTOR = 16
"""256 phase planes: each is an instruction for every block of every layer on such a map."""


def separate_phases(network: Network, arch: Arch) -> Network:
    """Split maps as their readers and writers need it, and layers into those of all phases.

    A map that others need linear is copied for readers of stride 2: that readers of stride 1 need,
    or that a layer computes, or adds, by line.

    Raises
    ------
    UnsupportedOpError
        A map would have to be split further than ``MAX_FACTOR``.
    """
    factors = _Factors(network)
    found = factors.solve()
    network = factors.network
    shapes, copies = dict(network.shapes), set(network.split_copies)
    layers: list[Layer] = []
    for layer in network.layers:
        name = layer.source
        if not network.is_vector(name) and found[name] % layer.stride:
            copy = f"{name}:split"
            if copy not in copies:
                zero = next((at.zero_point for at in network.layers if at.target == name), 0)
                made = copy_layer(
                    arch, copy, f"the copy of {name!r}", name, copy, shapes[name][0], zero
                )
                shapes[copy], found[copy] = shapes[name], 2 * found[name]
                copies.add(copy)
                layers.append(made)
            layer = replace(layer, source=copy)
        layers.append(layer)
    changed = replace(network, shapes=shapes, split_copies=frozenset(copies))
    unrolled = tuple(
        _unrolled(changed, layer, found[layer.source] // layer.stride)
        if not changed.is_vector(layer.source)
        else layer
        for layer in layers
    )
    return replace(changed, layers=unrolled)


class _Factors:
    """The least factors with which every layer finds its source and its target split alike: they
    only grow, layer by layer, until all agree."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.found = dict.fromkeys(network.shapes, 1)

    @property
    def _linear(self) -> set[str]:
        """Maps that some layer has no phases of."""
        layers = self.network.layers
        by_line = {name for at in layers if at.step for name in (at.target, *at.reads[1:])}
        return by_line | {at.source for at in layers if at.stride == 1}

    def solve(self) -> dict[str, int]:
        before: dict[str, int] = {}
        while before != self.found:
            before = dict(self.found)
            self.network = replace(
                self.network, layers=tuple(self._in_phases(at) for at in self.network.layers)
            )
            linear = self._linear
            for layer in self.network.layers:
                if not layer.step:
                    self._agree(layer, layer.stride == 2 and layer.source in linear)
        return self.found

    def _in_phases(self, layer: Layer) -> Layer:
        """A layer by line whose maps are split computes phase by phase."""
        if not layer.step or max(self.found[name] for name in (*layer.reads, layer.target)) == 1:
            return layer
        stride_y, stride_x = layer.step
        if stride_y != stride_x or any(block.lines or block.columns for block in layer.blocks):
            raise UnsupportedOpError(
                f"{layer.where} is computed line by line, for its strides {layer.step} differ or "
                "its windows count different pixels, and reads or makes a map that upsampling "
                "splits into phase planes; use equal strides, and padding that counts in a mean"
            )
        return replace(layer, stride=stride_y, step=None)

    def _agree(self, layer: Layer, copied: bool) -> None:
        """``copied``: the source may be copied for the layer, rather than split for all."""
        vector = self.network.is_vector
        found, stride, source = self.found, layer.stride, layer.source
        if found[source] % stride and not copied:
            self._raise(layer, source, lcm(found[source], stride))
        step = layer.out_stride * max(1, found[source] // stride)
        for name in (layer.target, *layer.reads[1:]):
            if vector(name):
                continue
            if found[name] % step:
                self._raise(layer, name, lcm(found[name], step))
            if found[name] > 2 * step:  # CALC splits what it writes once, the layer's phases more
                most = found[name] // layer.out_stride
                self._raise(layer, source, stride * (most // 2 if most % 2 == 0 else most))

    def _raise(self, layer: Layer, name: str, factor: int) -> None:
        if factor > MAX_FACTOR or self.network.is_vector(name):
            raise UnsupportedOpError(
                f"{layer.where} would need map {name!r} of {self.network.shapes[name]} split into "
                f"{factor}x{factor} phase planes; at most {MAX_FACTOR}x{MAX_FACTOR}, and none of "
                "a map of 1 by 1, are accepted: stride or upsample by less between maps that are "
                "added, or in fewer steps"
            )
        self.found[name] = factor


def _unrolled(network: Network, layer: Layer, phases: int) -> Layer:
    """The layer as ``phases`` by ``phases`` of its grids, each on every ``phases``-th pixel."""
    if phases == 1:
        return layer
    _, height, width = network.shapes[layer.target]
    blocks: list[Block] = []
    for block in layer.blocks:
        for y, x in ((i, j) for i in range(phases) for j in range(phases)):
            phase = layer.out_stride * y + block.phase[0], layer.out_stride * x + block.phase[1]
            if phase[0] < height and phase[1] < width:
                taps = tuple(
                    tap._replace(oy=tap.oy + layer.stride * y, ox=tap.ox + layer.stride * x)
                    for tap in block.taps
                )
                blocks.append(replace(block, taps=taps, phase=phase))
    stride, out_stride = layer.stride * phases, layer.out_stride * phases
    return replace(layer, stride=stride, out_stride=out_stride, blocks=tuple(blocks))
