"""How far maps are split into phase planes, and what layers then do phase by phase.

A map that is read at stride s is split by a multiple of s. A layer that upsamples by u writes one
phase plane after another: as an ordinary layer each, a map that is split by u. What reads that map
at stride 1 runs phase by phase too: its source and target are split alike.
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

    A map that layers of stride 1 need linear is copied for those of stride 2.

    Raises
    ------
    UnsupportedOpError
        A map would have to be split further than ``MAX_FACTOR``.
    """
    found = _Factors(network).solve()
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
        readers = network.layers
        self.linear = {at.source for at in readers if at.stride == 1}
        """Maps with readers that need no phases."""

    def solve(self) -> dict[str, int]:
        before: dict[str, int] = {}
        while before != self.found:
            before = dict(self.found)
            for layer in self.network.layers:
                self._agree(layer)
        return self.found

    def _agree(self, layer: Layer) -> None:
        vector = self.network.is_vector
        found, stride, source = self.found, layer.stride, layer.source
        copied = stride == 2 and source in self.linear
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
                    replace(tap, oy=tap.oy + layer.stride * y, ox=tap.ox + layer.stride * x)
                    for tap in block.taps
                )
                blocks.append(replace(block, taps=taps, phase=phase))
    stride, out_stride = layer.stride * phases, layer.out_stride * phases
    return replace(layer, stride=stride, out_stride=out_stride, blocks=tuple(blocks))
