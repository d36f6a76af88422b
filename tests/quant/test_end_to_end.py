"""From a torch module to the quantised graph: the integers follow the floats."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from codesign import ir
from codesign.quant.torch_module import quantize_module
from codesign.quant.values import Coding
from codesign.reference import graph as reference


class Mixed(nn.Module):
    """Every kind of operation once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(12 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = nn.functional.relu6(self.depthwise(x) + x)
        x = nn.functional.hardswish(self.strided(x))
        return self.head(torch.flatten(self.pool(x), 1))


def test_graph_of_a_module_follows_it_within_a_few_steps() -> None:
    torch.manual_seed(1)
    module = Mixed().eval()
    inputs = torch.randn(32, 3, 8, 8)
    graph = quantize_module(module, inputs.numpy(), batch=32)
    assert [type(op) for op in graph.ops] == [
        ir.Conv2d, ir.Conv2d, ir.Add, ir.Conv2d, ir.Table, ir.MaxPool2d, ir.Conv2d,
    ]  # fmt: skip
    x, y = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    codes = Coding(x.scale, x.zero_point).encode(inputs.numpy())
    result = reference.run(graph, {x.name: codes})[y.name]
    expected = module(inputs).detach().numpy()
    error = np.abs(Coding(y.scale, y.zero_point).decode(result)[:, :, 0, 0] - expected)
    assert error.max() < 6 * y.scale
    assert error.mean() < 1.5 * y.scale
