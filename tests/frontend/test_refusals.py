"""What cannot run is refused by name, place and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as fn

from codesign.errors import GraphError, UnsupportedOpError
from codesign.frontend.torch_export import from_exported, from_module


class Model(nn.Module):
    """A layer behind a convolution, so that its place matters."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 1)
        self.block = nn.Sequential(layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.stem(x))


class Function(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Sum(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b


LAYERS = [
    (
        nn.Softmax(2),
        "aten._softmax.default at block.0 (Softmax)",
        "it is over axis 2 of 4; axis 1 is accepted",
    ),
    (
        nn.Sequential(nn.Softmax(1), nn.ReLU()),
        "aten._softmax.default at block.0.0 (Softmax)",
        "it must be the last operation of the network, which the host does",
    ),
    (
        nn.Sequential(nn.Softmax(1), nn.Softmax(1)),
        "aten._softmax.default at block.0.1 (Softmax)",
        "it must be the last operation of the network, which the host does",
    ),
    (
        nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Softmax(1)),
        "aten._softmax.default at block.0.2 (Softmax)",
        "it is over a flattened map; pool it to 1x1, or end with a linear layer",
    ),
    (
        nn.LogSoftmax(1),
        "aten._log_softmax.default at block.0 (LogSoftmax)",
        "leave it out, or end with softmax",
    ),
    (
        nn.ConvTranspose2d(4, 4, 1, padding=2),
        "aten.convolution.default at block.0 (ConvTranspose2d)",
        "cuts the output (4, 4) by more than its kernel (1, 1) reaches",
    ),
    (
        nn.AvgPool2d(2, divisor_override=3),
        "aten.avg_pool2d.default at block.0 (AvgPool2d)",
        "divisor_override is not accepted; scale the next layer's weights instead",
    ),
    (
        nn.AdaptiveAvgPool2d(3),
        "aten._adaptive_avg_pool2d.default at block.0 (AdaptiveAvgPool2d)",
        "3x3 does not divide the map 8x8; choose divisors",
    ),
    (
        nn.LayerNorm(8),
        "aten.native_layer_norm.default at block.0 (LayerNorm)",
        "it needs statistics of each input; use batch_norm, whose are constants",
    ),
    (
        nn.Linear(8, 3),
        "aten.view.default at block.0 (Linear)",
        "maps [B, C, H, W] and vectors [B, F] are accepted",
    ),
    (
        nn.ConstantPad2d(1, 0.5),
        "aten.constant_pad_nd.default at block.0 (ConstantPad2d)",
        "it pads [1, 1, 1, 1] with 0.5; zeros around H and W are accepted",
    ),
]


@pytest.mark.parametrize(("layer", "what", "remedy"), LAYERS, ids=lambda v: type(v).__name__)
def test_layers(layer: nn.Module, what: str, remedy: str) -> None:
    with pytest.raises(UnsupportedOpError) as error:
        from_module(Model(layer), torch.zeros(2, 4, 8, 8))
    assert str(error.value).startswith(what)
    assert "is not supported: " in str(error.value)
    assert remedy in str(error.value)
    assert re.search(r"test_refusals\.py:\d+", str(error.value))


FUNCTIONS: list[tuple[Callable[..., torch.Tensor], str]] = [
    (lambda x: torch.cat([x, x], 2), "it is along axis 2 of 4; along channels (axis 1)"),
    (lambda x: torch.cat([x, torch.ones(2, 4, 8, 8)], 1), "must be computed from the input"),
    (lambda x: x.split(4, 3)[0], "it is along axis 3 of 4; along channels (axis 1)"),
    (lambda x: x[:, :, 1:], "aten.slice.Tensor"),
    (lambda x: fn.interpolate(x, size=(12, 16)), "(12, 16) of (8, 8), which does not repeat"),
    (lambda x: fn.interpolate(x, scale_factor=3.1), "(24, 24) of (8, 8), which does not repeat"),
    (lambda x: fn.interpolate(x, scale_factor=2, mode="bilinear"), "use mode='nearest'"),
    (lambda x: fn.pad(x, (1, 1, 1, 1), mode="reflect"), "pad with zeros"),
    (lambda x: x.permute(0, 2, 3, 1), "accepted are conv2d, conv_transpose2d, linear"),
    (lambda x: x * x.mean((2, 3), keepdim=True), "of two different tensors only add and sub"),
    (lambda x: x + x.mean((2, 3), keepdim=True), "it broadcasts (4, 8, 8) with (4, 1, 1)"),
    (lambda x: x.mean(1), "it reduces dimensions [1] of 4; those over H and W are accepted"),
    (lambda x: x.view(2, 8, 4, 8), "only flattening all of (C, H, W) is accepted"),
    (lambda x: x + torch.rand(1), "it is random; a network must be a function"),
    (lambda x: fn.dropout(x, 0.5, True), "export the model in evaluation mode"),
    (lambda x: x.to(torch.bfloat16), "it makes torch.bfloat16; the network must stay in float32"),
    (lambda x: x + torch.zeros(4, 8, 8), "its constant has shape (4, 8, 8); one element, or"),
    (lambda x: x.argmax(), "it is over axis None of 4; axis 1 is accepted"),
    (lambda x: x.argmax(1) + 1, "it must be the last operation of the network"),
]


@pytest.mark.parametrize(("function", "message"), FUNCTIONS, ids=[text for _, text in FUNCTIONS])
def test_functions(function: Callable[..., torch.Tensor], message: str) -> None:
    with pytest.raises(UnsupportedOpError, match=re.escape(message)):
        from_module(Function(function), torch.zeros(2, 4, 8, 8))


INPUTS = [
    (torch.zeros(2, 4, 8), "input 'x' is torch.float32 [2, 4, 8]; float32 [B, C, H, W] or"),
    (torch.zeros(2, 4).double(), "input 'x' is torch.float64 [2, 4]; float32"),
]


@pytest.mark.parametrize(("x", "message"), INPUTS)
def test_inputs(x: torch.Tensor, message: str) -> None:
    with pytest.raises(GraphError, match=re.escape(message)):
        from_module(Function(torch.relu), x)


def test_one_dimensional_convolutions_are_refused_by_their_input() -> None:
    with pytest.raises(GraphError, match=re.escape("float32 [B, C, H, W] or [B, F] is accepted")):
        from_module(nn.Conv1d(4, 4, 3), torch.zeros(2, 4, 8))


def test_two_inputs() -> None:
    x = torch.zeros(1, 4)
    program = torch.export.export(Sum(), (x, x))
    message = "network 'n' has 2 inputs ['a', 'b']; one is accepted"
    with pytest.raises(GraphError, match=re.escape(message)):
        from_exported(program, "n")


def test_training_mode() -> None:
    program = torch.export.export(
        nn.Sequential(nn.BatchNorm2d(4)).train(), (torch.ones(2, 4, 8, 8),)
    )
    with pytest.raises(UnsupportedOpError, match="export the model in evaluation mode"):
        from_exported(program)


def test_constant_output() -> None:
    with pytest.raises(GraphError, match="does not depend on the input"):
        from_module(Function(lambda x: torch.ones(2)), torch.zeros(2, 4))


def test_what_torch_cannot_trace() -> None:
    module = Function(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(GraphError, match=r"torch\.export cannot trace network 'Function'"):
        from_module(module, torch.zeros(2, 4))


def test_weights_that_are_not_finite() -> None:
    layer = nn.Conv2d(4, 4, 1)
    nn.init.constant_(layer.weight, float("nan"))
    with pytest.raises(GraphError, match="parameters that are not finite"):
        from_module(layer, torch.zeros(1, 4, 2, 2))


def test_arguments_of_another_type() -> None:
    with pytest.raises(TypeError, match="a torch module and a tensor are needed, not list and int"):
        from_module([], 1)  # type: ignore[arg-type]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x * 2


def test_state() -> None:
    message = "network 'Counting' changes 'count' while it runs; keep no state in it"
    with pytest.raises(GraphError, match=message):
        from_module(Counting(), torch.zeros(1, 4))
