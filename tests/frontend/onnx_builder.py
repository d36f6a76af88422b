"""Small ONNX models, written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13


class Model:
    """Nodes in a chain: each reads the last one's result first, unless told otherwise."""

    def __init__(self, extents: Sequence[int | str], kind: int = TensorProto.FLOAT) -> None:
        self.inputs = [helper.make_tensor_value_info("x", kind, list(extents))]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.last = "x"

    def add(
        self, kind: str, *operands: Any, inputs: Sequence[str] | None = None, outputs: int = 1,
        domain: str = "", **attributes: Any,
    ) -> str:  # fmt: skip
        """A node; ``operands`` that are arrays become constants, names are taken as they are."""
        number = len(self.nodes)
        names = list(inputs if inputs is not None else [self.last])
        for position, operand in enumerate(operands):
            if isinstance(operand, str):
                names.append(operand)
                continue
            name = f"c{number}_{position}"
            self.constants[name] = np.asarray(operand)
            names.append(name)
        made = [f"t{number}" if i == 0 else f"t{number}_{i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, names, made, f"{kind.lower()}{number}", domain=domain,
                             **attributes)
        )  # fmt: skip
        self.last = made[0]
        return self.last

    def quantized(self, scale: float, zero: int, dtype: Any = np.uint8) -> str:
        """QuantizeLinear and DequantizeLinear."""
        parameters = (np.float32(scale), np.array(zero, dtype))
        self.add("QuantizeLinear", *parameters)
        return self.add("DequantizeLinear", *parameters)

    def dequantized(
        self, codes: Any, scale: Any, zero: Any = None, axis: int = 0
    ) -> str:  # fmt: skip
        """Constant codes, dequantised; the chain goes on where it was."""
        before = self.last
        codes, scale = np.asarray(codes), np.asarray(scale, np.float32)
        name = f"q{len(self.nodes)}"
        self.constants[name] = codes
        zero = np.zeros(scale.shape, codes.dtype) if zero is None else np.asarray(zero, codes.dtype)
        made = self.add("DequantizeLinear", scale, zero, inputs=[name], axis=axis)
        self.last = before
        return made

    def proto(
        self, outputs: Sequence[str] | None = None, opset: int = OPSET,
        domains: Mapping[str, int] | None = None, kind: int = TensorProto.FLOAT, rank: int = 2,
    ) -> onnx.ModelProto:  # fmt: skip
        """The model; its outputs have ``rank`` open extents."""
        results = [
            helper.make_tensor_value_info(name, kind, [f"{name}_{i}" for i in range(rank)])
            for name in outputs or [self.last]
        ]
        graph = helper.make_graph(
            self.nodes, "net", self.inputs, results,
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )  # fmt: skip
        imports = [helper.make_opsetid("", opset)]
        imports += [helper.make_opsetid(name, version) for name, version in (domains or {}).items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)
