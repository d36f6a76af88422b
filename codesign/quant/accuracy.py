"""How well a quantised graph follows its labels and its float network."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from codesign.ir import Graph
from codesign.quant.values import Coding
from codesign.reference import graph as reference


def accuracy(logits: npt.NDArray[np.generic], labels: npt.NDArray[np.int64]) -> float:
    """Share of samples whose largest logit (the first of equal ones) is the label's.

    ``logits`` [B, classes] or [B, classes, 1, 1], real or int8.
    """
    if len(logits) != len(labels) or not len(labels):
        raise ValueError(f"{len(logits)} results for {len(labels)} labels; give one for each")
    return float((logits.reshape(len(labels), -1).argmax(axis=1) == labels).mean())


def run_graph(
    graph: Graph, inputs: npt.NDArray[np.float32], chunk: int = 128
) -> npt.NDArray[np.float32]:
    """Real values of the graph's one output for real ``inputs`` [K, C, H, W] of any number K."""
    (source,), (result,) = graph.inputs, graph.outputs
    x, y = graph.tensors[source], graph.tensors[result]
    codes = Coding(x.scale, x.zero_point).encode(inputs).reshape(-1, *x.shape)
    parts = []
    for start in range(0, len(codes), chunk):
        part = codes[start : start + chunk]
        values = reference.run(dataclasses.replace(graph, batch=len(part)), {source: part})
        parts.append(values[result])
    return Coding(y.scale, y.zero_point).decode(np.concatenate(parts))
