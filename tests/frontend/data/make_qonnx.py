"""Makes the QONNX models of this folder and what Brevitas answers on them.

Brevitas is no dependency of the project; the files were made with
`pip install brevitas==0.13.4 qonnx==1.0.0 onnxoptimizer onnxscript torch==2.13.0` and
`python tests/frontend/data/make_qonnx.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from notes import without_notes
from torch import nn

FOLDER = Path(__file__).parent
SAMPLES = 24


class Network(nn.Module):
    """A stem, a residual block with a depthwise convolution, pools and a linear layer."""

    def __init__(self, weights: Any, weight_bits: int, activation_bits: int, ends: bool) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, **options: Any) -> nn.Module:
            return qnn.QuantConv2d(
                inputs, outputs, kernel, padding=kernel // 2, weight_quant=weights,
                weight_bit_width=weight_bits, bias_quant=Int32Bias, return_quant_tensor=True,
                **options,
            )  # fmt: skip

        def relu() -> nn.Module:
            return qnn.QuantReLU(
                act_quant=Uint8ActPerTensorFloat, bit_width=activation_bits,
                return_quant_tensor=True,
            )  # fmt: skip

        def identity() -> nn.Module:
            return qnn.QuantIdentity(
                act_quant=Int8ActPerTensorFloat, bit_width=activation_bits,
                return_quant_tensor=True,
            )  # fmt: skip

        self.source = qnn.QuantIdentity(
            act_quant=Int8ActPerTensorFloat, return_quant_tensor=True
        )  # fmt: skip
        self.stem = nn.Sequential(conv(3, 8, 3, bias=False), nn.BatchNorm2d(8), relu())
        self.depthwise = nn.Sequential(conv(8, 8, 3, groups=8, bias=True), relu())
        self.pointwise = conv(8, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.shared = identity()
        self.sum = relu()
        self.pool = nn.MaxPool2d(2)
        self.mean = qnn.TruncAvgPool2d(4) if ends else nn.AvgPool2d(4)
        self.rounded = nn.Identity() if ends else identity()
        last = {} if ends else {"output_quant": Int8ActPerTensorFloat}
        self.classes = qnn.QuantLinear(
            8, 5, bias=True, weight_quant=weights, weight_bit_width=weight_bits,
            bias_quant=Int32Bias, **last,
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(self.source(x))
        y = self.norm(self.pointwise(self.depthwise(x)))
        x = self.sum(self.shared(x) + self.shared(y))
        x = self.rounded(self.mean(self.pool(x)))
        return self.classes(x.flatten(1))


def make(name: str, network: Network, dynamo: bool) -> None:
    """Ranges and statistics come from random inputs; the weights stay random."""
    with torch.no_grad():
        network.train()
        for _ in range(40):
            network(torch.randn(16, 3, 8, 8))
        network.eval()
        x = torch.randn(SAMPLES, 3, 8, 8)
        y = network(x)
    values = y.value if hasattr(y, "value") else y
    path = FOLDER / f"{name}.onnx"
    options = {"external_data": False} if dynamo else {}
    export_qonnx(
        network, torch.randn(1, 3, 8, 8), path, dynamo=dynamo,
        opset_version=18 if dynamo else 13, **options,
    )  # fmt: skip
    onnx.save(without_notes(onnx.load(path)), path)
    np.savez_compressed(FOLDER / f"{name}.npz", inputs=x.numpy(), outputs=values.numpy())


def main() -> None:
    torch.manual_seed(1)
    make("qonnx_int8", Network(Int8WeightPerChannelFloat, 8, 8, ends=False), dynamo=True)
    make("qonnx_int4", Network(Int8WeightPerTensorFloat, 4, 4, ends=False), dynamo=False)
    make("qonnx_trunc", Network(Int8WeightPerChannelFloat, 6, 8, ends=True), dynamo=True)


if __name__ == "__main__":
    main()
