"""Nodes computed by ONNX's own reference implementation: constants, and functions of one value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from codesign.frontend.network import FloatArray
from codesign.frontend.onnx_file import Array, Node

_IMPLEMENTED_FROM = {"QuantizeLinear": 19}
"""Opsets of operators whose older versions the reference lacks; they say the same of int8."""


FAILURES = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What the reference raises on nodes that contradict themselves."""


class Function:
    """y = f(x): the nodes between ``x`` and ``y``, constants given by ``constants``."""

    def __init__(
        self, nodes: Sequence[Node], x: str, y: str, constants: dict[str, Array], opset: int
    ) -> None:
        self._x, self._constants = x, constants
        self._evaluator = _evaluator(nodes, (x, *constants), (y,), opset)

    def __call__(self, x: FloatArray) -> FloatArray:
        feeds = {self._x: np.asarray(x, np.float32), **self._constants}
        with np.errstate(all="ignore"):
            (result,) = self._evaluator.run(None, feeds)
        return np.asarray(result, np.float32).reshape(np.shape(x))  # constants may have more axes


def fold(node: Node, constants: dict[str, Array], opset: int) -> dict[str, Array]:
    """The outputs of a node all of whose inputs are constants."""
    needed = {name: constants[name] for name in node.inputs if name}
    outputs = tuple(name for name in node.outputs if name)
    with np.errstate(all="ignore"):
        results = _evaluator((node,), tuple(needed), outputs, opset).run(None, needed)
    return {name: np.asarray(value) for name, value in zip(outputs, results, strict=True)}


def _evaluator(
    nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> ReferenceEvaluator:
    opset = max(opset, *(_IMPLEMENTED_FROM.get(node.kind, 0) for node in nodes))
    graph = onnx.helper.make_graph(
        [node.proto for node in nodes],
        "part",
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in inputs],
        [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in outputs],
    )
    return ReferenceEvaluator(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    )
