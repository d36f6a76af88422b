"""Networks converted from torch compute what torch computes, before and after the passes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as fn

from codesign.frontend.network import Network, Unary
from codesign.frontend.passes import simplify
from codesign.frontend.torch_export import from_exported, from_module
from codesign.quant.execute import execute

Function = Callable[[torch.Tensor], torch.Tensor]


class Wrapped(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def agrees(module: nn.Module, x: torch.Tensor, tolerance: float = 2e-5) -> Network:
    """Check the converted network, and return it simplified (and checked again)."""
    module.eval()
    with torch.no_grad():
        expected = module(x.clone()).numpy()
    network = from_module(module, x[:2])
    simple = simplify(network)
    for one in (network, simple):
        result = execute(one, x.numpy())[one.outputs[0]]
        np.testing.assert_allclose(result.reshape(expected.shape), expected, tolerance, tolerance)
    return simple


def image(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LAYERS: dict[str, nn.Module] = {
    "valid": nn.Conv2d(4, 6, 3),
    "same_even": nn.Conv2d(4, 6, (4, 2), padding="same"),
    "asymmetric": nn.Conv2d(4, 6, (1, 5), padding=(0, 2), bias=False),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "uneven_stride": nn.Conv2d(4, 6, 3, stride=(3, 1)),
    "dilated": nn.Conv2d(4, 6, 3, dilation=(2, 3), padding=2),
    "grouped": nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": nn.Conv2d(4, 8, 3, padding=1, groups=4),
    "padded": nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(4, 3, 3, padding=1)),
    "pad_then_relu": nn.Sequential(nn.ZeroPad2d(1), nn.ReLU()),
    "max": nn.MaxPool2d(3, 2, 1),
    "max_ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max_dilated": nn.MaxPool2d(2, 1, dilation=2),
    "global_max": nn.AdaptiveMaxPool2d(1),
    "average": nn.AvgPool2d(3, 2, 1),
    "average_unpadded": nn.AvgPool2d(2, count_include_pad=False),
    "average_of_the_map": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "average_of_the_map_wide": nn.AvgPool2d((2, 5), 1, (1, 2), count_include_pad=False),
    "average_ceil": nn.AvgPool2d(3, 3, ceil_mode=True),
    "average_ceil_padded": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "average_ceil_of_the_map": nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
    "adaptive": nn.AdaptiveAvgPool2d((4, 2)),
    "global_average": nn.AdaptiveAvgPool2d(1),
    "relu_of_max": nn.Sequential(nn.Conv2d(4, 4, 1), nn.MaxPool2d(2), nn.ReLU6()),
    "flat_linear": nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(256, 5)),
    "relu_of_flat": nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten(), nn.ReLU(), nn.Linear(128, 5)),
    "no_bias": nn.Sequential(nn.Flatten(), nn.Linear(256, 5, bias=False)),
}  # fmt: skip


class All(nn.Module):
    """Every one of some layers on the same input, one output each: exports are slow."""

    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(layer(x) for layer in self.layers.values())


class Compared:
    """Results of torch, of the converted and of the simplified network."""

    def __init__(self, layers: dict[str, nn.Module], x: torch.Tensor) -> None:
        torch.manual_seed(0)
        module = All(layers).eval()
        self.network = from_module(module, x[:2])
        self.simple = simplify(self.network)
        with torch.no_grad():
            self.expected = dict(zip(layers, (y.numpy() for y in module(x)), strict=True))
        self.names = list(layers)
        self.results = [
            (one.outputs, execute(one, x.numpy())) for one in (self.network, self.simple)
        ]

    def check(self, name: str) -> None:
        index = self.names.index(name)
        for outputs, values in self.results:
            result = values[outputs[index]].reshape(self.expected[name].shape)
            np.testing.assert_allclose(result, self.expected[name], 2e-5, 2e-5)


@pytest.fixture(scope="module")
def layers() -> Compared:
    return Compared(LAYERS, image(3, 4, 8, 8))


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(layers: Compared, name: str) -> None:
    layers.check(name)


FUNCTIONS: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": fn.silu,
    "hardswish": fn.hardswish,
    "hardsigmoid": fn.hardsigmoid,
    "hardtanh": fn.hardtanh,
    "gelu": fn.gelu,
    "elu": fn.elu,
    "leaky_relu": fn.leaky_relu,
    "softplus": fn.softplus,
    "mish": fn.mish,
    "threshold": lambda x: fn.threshold(x, 0.1, 2.0),
    "exp": torch.exp,
    "neg": torch.neg,
    "sqrt_of_abs": lambda x: torch.sqrt(torch.abs(x)),
    "scaled": lambda x: (2 - 3 * x) / 4 + 1,
    "square": lambda x: x * x,
    "written_out": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "masked": lambda x: torch.where(x > 0.5, x, 0.1 * x),
    "mask_as_factor": lambda x: (x > 0.5).float() * x,
    "rounded": torch.round,
    "lower_bound": lambda x: x.clamp(min=-0.5),
}


@pytest.fixture(scope="module")
def functions() -> Compared:
    return Compared({name: Wrapped(f) for name, f in FUNCTIONS.items()}, image(2, 3, 4, 4))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_pointwise_functions_become_one_operation(functions: Compared, name: str) -> None:
    functions.check(name)
    simple = functions.simple
    operation = simple.producer(simple.outputs[functions.names.index(name)])
    assert isinstance(operation, Unary)
    assert operation.x == simple.inputs[0]


TWO_PATHS: dict[str, Function] = {
    "add": lambda x: x + fn.max_pool2d(x, 3, 1, 1),
    "add_scaled": lambda x: torch.add(x, fn.max_pool2d(x, 3, 1, 1), alpha=0.5),
    "subtract": lambda x: x - fn.max_pool2d(x, 3, 1, 1),
    "relu_of_add": lambda x: torch.relu(x - fn.max_pool2d(x, 3, 1, 1)),
    "mean": lambda x: x.mean((2, 3)),
    "mean_over_lines": lambda x: x.mean(2, keepdim=True),
    "maximum": lambda x: x.amax((2, 3)),
    "reshaped": lambda x: x.reshape(x.shape[0], -1),
    "normalised": lambda x: (x - torch.arange(3.0)[:, None, None]) / torch.full((3, 1, 1), 4.0),
    "from_constant": lambda x: torch.arange(3.0)[:, None, None] - x,
}  # fmt: skip


@pytest.fixture(scope="module")
def two_paths() -> Compared:
    return Compared({name: Wrapped(f) for name, f in TWO_PATHS.items()}, image(2, 3, 4, 4))


@pytest.mark.parametrize("name", TWO_PATHS)
def test_maps_of_maps(two_paths: Compared, name: str) -> None:
    two_paths.check(name)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels)
    generator = torch.Generator().manual_seed(7)
    for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
        nn.init.uniform_(value, 0.5, 2.0, generator)  # type: ignore[arg-type]
    return layer


def test_batch_norm_joins_the_convolution() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 5, 3), batch_norm(5), nn.ReLU6())
    assert [type(op).__name__ for op in agrees(layers, image(2, 3, 6, 6)).ops] == ["Conv2d"]


def test_batch_norm_alone_is_depthwise() -> None:
    network = agrees(nn.Sequential(nn.MaxPool2d(2), batch_norm(3)), image(2, 3, 6, 6))
    assert [type(op).__name__ for op in network.ops] == ["MaxPool2d", "Conv2d"]


def test_batch_norm_of_a_shared_convolution_leaves_it_alone() -> None:
    conv, norm = nn.Conv2d(3, 3, 1), batch_norm(3)

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = conv, norm

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return y + self.norm(y)

    assert [type(op).__name__ for op in agrees(Shared(), image(2, 3, 4, 4)).ops] == [
        "Conv2d", "Conv2d", "Add",
    ]  # fmt: skip


def test_names_and_places_are_the_users() -> None:
    network = from_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), image(1, 3, 5, 5))
    assert [op.name for op in network.ops] == ["0", "1"]
    assert network.origin["0"].startswith("0 (Conv2d)")


def test_operations_in_place_on_the_input() -> None:
    network = agrees(Wrapped(lambda x: nn.functional.relu(x, inplace=True)), image(2, 3, 4, 4))
    assert len(network.outputs) == 1


def test_two_outputs() -> None:
    module = Wrapped(lambda x: (torch.relu(x), fn.max_pool2d(x, 2)))  # type: ignore[arg-type, return-value]
    network = simplify(from_module(module, image(1, 2, 4, 4)))
    assert len(network.outputs) == 2


def test_dynamic_batch_and_decomposed_programs_are_taken() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)).eval()
    x = image(2, 3, 6, 6)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    network = from_exported(program)
    result = execute(network, x.numpy())[network.outputs[0]]
    np.testing.assert_allclose(result[:, :, 0, 0], module(x).detach().numpy(), 1e-5, 1e-5)


def test_the_users_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    from_module(module, image(2, 1, 3, 3))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, torch.Tensor]:
    """A convolution and a batch for it."""
    groups = draw(st.sampled_from([1, 2]))
    inputs, outputs = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, dilation = draw(st.tuples(st.integers(1, 7), st.integers(1, 7))), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    for extent, k, d, p in zip(size, kernel, dilation, padding, strict=True):
        assume(extent + 2 * p > d * (k - 1))
    torch.manual_seed(draw(st.integers(0, 9)))
    layer = nn.Conv2d(
        inputs, outputs, kernel, draw(pairs), padding, dilation, groups, draw(st.booleans())
    )
    return layer, image(2, inputs, *size)


@settings(max_examples=12)
@given(convolutions())
def test_any_convolution(case: tuple[nn.Conv2d, torch.Tensor]) -> None:
    agrees(*case)
