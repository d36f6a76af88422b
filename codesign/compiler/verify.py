"""What must hold between the passes of the compiler; a broken rule is a bug of the compiler."""

from __future__ import annotations

from collections.abc import Iterator

from codesign.compiler.network import Layer, Network
from codesign.compiler.schedule import Plan
from codesign.errors import GraphError
from codesign.isa import Mode


def verify_network(network: Network) -> None:
    """Raise ``GraphError`` where a lowered network contradicts itself."""
    for problem in _network_problems(network):
        raise GraphError(f"lowered network: {problem}")


def _network_problems(network: Network) -> Iterator[str]:
    known = set(network.inputs)
    names = [layer.name for layer in network.layers]
    if len(set(names)) != len(names):
        yield "two layers have the same name"
    for layer in network.layers:
        for tensor in layer.reads:
            if tensor not in known:
                yield f"layer {layer.name!r} reads {tensor!r} before anything writes it"
        if layer.target in known:
            yield f"layer {layer.name!r} writes {layer.target!r} a second time"
        known.add(layer.target)
        yield from _layer_problems(network, layer)
    for output in network.outputs:
        if output.tensor not in known:
            yield f"nothing writes output {output.name!r}"


def _layer_problems(network: Network, layer: Layer) -> Iterator[str]:
    if layer.residual:
        if layer.residual.tensor == layer.source:
            yield f"layer {layer.name!r} reads {layer.source!r} as source and residual at once"
        if network.shapes[layer.residual.tensor] != network.shapes[layer.target]:
            yield f"layer {layer.name!r} adds a map of another shape"
    phases = {block.phase for block in layer.blocks}
    if any(max(phase) >= layer.out_stride for phase in phases):
        yield f"layer {layer.name!r} has phases {sorted(phases)} of stride {layer.out_stride}"
    for block in layer.blocks:
        if not block.taps:
            yield f"layer {layer.name!r} has a block without taps"
        if (block.weights is None) != (layer.mode is Mode.MAX):
            yield f"layer {layer.name!r}: weights do not fit mode {layer.mode.name}"
        elif block.weights is not None and len(block.weights) != len(block.taps):
            yield f"layer {layer.name!r}: {len(block.weights)} weights for {len(block.taps)} taps"


def verify_plan(plan: Plan) -> None:
    """Raise ``GraphError`` where maps that are alive at one time overlap, or leave their region."""
    places = list(plan.places.items())
    for number, (name, place) in enumerate(places):
        rows = plan.storages[name[0]].rows
        if place.row < 0 or place.row + rows > plan.arch.act_depth:
            raise GraphError(f"allocation: map {name} leaves region {place.region}")
        life = plan.lives.of[name]
        for other, beside in places[:number]:
            span = plan.lives.of[other]
            together = span.first <= life.last and life.first <= span.last
            end = beside.row + plan.storages[other[0]].rows
            if (
                together
                and beside.region == place.region
                and beside.row < place.row + rows
                and place.row < end
            ):
                raise GraphError(f"allocation: maps {name} and {other} overlap")
