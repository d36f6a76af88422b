"""Makes the float ONNX models of this folder by both of torch's exporters.

The newer exporter needs onnxscript, which nothing else of the project does; files were made with
`pip install onnxscript torch==2.13.0` and `python tests/frontend/data/make_exports.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from notes import without_notes
from torch import nn
from torch.nn import functional

FOLDER = Path(__file__).parent
SIZE = 32


def layer(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1,
    activation: type[nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:  # fmt: skip
    """Convolution, batch normalisation, activation."""
    parts: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*parts, *([activation()] if activation else []))


class Mixed(nn.Module):
    """What the other two leave out: functions, concatenation, chunks, slices, padding, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layer(3, 8, activation=nn.Hardswish)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.slope = nn.PReLU()
        self.pointwise = nn.Conv2d(16, 8, 1)
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.down = nn.Conv2d(4, 4, 3, stride=2)
        self.drop = nn.Dropout()
        self.classes = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.slope(self.depthwise(x))], 1)
        a, b = functional.silu(self.pointwise(x)).chunk(2, 1)
        x = a + functional.leaky_relu(b, 0.1)
        x = torch.tanh(self.down(self.pad(x)))
        parts = [x[:, 1:], functional.hardsigmoid(x[:, :1]), torch.sigmoid(x)]
        x = self.drop(torch.cat(parts, 1).mean((2, 3)))
        return torch.softmax(self.classes(x), 1)


class Residual(nn.Module):
    """As ResNet: a stem with a pool, a plain block, one that halves the map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layer(3, 8, 7, 2, activation=nn.ReLU)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.first = nn.Sequential(
            layer(8, 8, activation=nn.ReLU), layer(8, 8, activation=None)
        )  # fmt: skip
        self.second = nn.Sequential(
            layer(8, 12, stride=2, activation=nn.ReLU), layer(12, 12, activation=None)
        )  # fmt: skip
        self.shortcut = layer(8, 12, 1, 2, activation=None)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.classes = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        x = functional.relu(x + self.first(x))
        x = functional.relu(self.shortcut(x) + self.second(x))
        y: torch.Tensor = self.classes(torch.flatten(self.mean(x), 1))
        return y


class Inverted(nn.Module):
    """As MobileNetV2: inverted residual blocks of depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = layer(3, 8, stride=2)
        self.first = nn.Sequential(layer(8, 8, groups=8), layer(8, 6, 1, activation=None))
        self.second = nn.Sequential(
            layer(6, 24, 1), layer(24, 24, stride=2, groups=24), layer(24, 8, 1, activation=None)
        )
        self.third = nn.Sequential(
            layer(8, 32, 1), layer(32, 32, groups=32), layer(32, 8, 1, activation=None)
        )
        self.head = layer(8, 24, 1)
        self.classes = nn.Sequential(nn.Dropout(0.2), nn.Linear(24, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(self.stem(x)))
        x = functional.adaptive_avg_pool2d(self.head(x + self.third(x)), (1, 1))
        y: torch.Tensor = self.classes(x.reshape(x.shape[0], -1))
        return y


def export(name: str, network: nn.Module) -> None:
    """Statistics come from random inputs; the weights stay random."""
    with torch.no_grad():
        network.train()
        for _ in range(10):
            network(torch.randn(8, 3, SIZE, SIZE))
    network.eval()
    example = (torch.randn(2, 3, SIZE, SIZE),)
    exporters: dict[str, dict[str, Any]] = {
        "dynamo": {
            "dynamo": True, "external_data": False,
            "dynamic_shapes": {"x": {0: torch.export.Dim("n")}},
        },
        "script": {"dynamo": False, "opset_version": 17, "dynamic_axes": {"x": {0: "n"}}},
    }  # fmt: skip
    for kind, options in exporters.items():
        path = FOLDER / f"{name}_{kind}.onnx"
        torch.onnx.export(network, example, path, input_names=["x"], output_names=["y"], **options)
        onnx.save(without_notes(onnx.load(path)), path)


def main() -> None:
    torch.manual_seed(3)
    export("mixed", Mixed())
    export("residual", Residual())
    export("inverted", Inverted())


if __name__ == "__main__":
    main()
