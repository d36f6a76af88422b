"""The host's steps of a float network, once it is a quantised graph."""

from __future__ import annotations

from collections.abc import Mapping

from codesign.artifact import HostStep
from codesign.errors import GraphError
from codesign.frontend.network import Network
from codesign.ir import Graph

PARAMETERS: Mapping[str, Mapping[str, float]] = {"softmax": {"beta": 1.0}, "argmax": {}}
"""Of the steps that frameworks have no parameters for."""


def host_steps(network: Network, graph: Graph) -> tuple[HostStep, ...]:
    """The steps of ``network`` behind the outputs of ``graph``, which was made of it.

    Raises
    ------
    GraphError
        Another output is the same tensor without the step.
    """
    found = []
    for output, kind in network.host_steps:
        tensor = graph.outputs[output]
        if graph.outputs.count(tensor) > 1:
            raise GraphError(
                f"network {network.name!r} returns a tensor and its {kind}; return one of them: "
                "an accelerator's int8 outputs are the values before it"
            )
        found.append(HostStep(kind, tensor, PARAMETERS[kind]))
    return tuple(found)
