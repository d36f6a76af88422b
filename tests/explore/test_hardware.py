"""Points as architectures: the rules are those of ``Arch``."""

import dataclasses
import itertools

import numpy as np
import pytest

from codesign.arch import Arch, preset
from codesign.cost.archs import Archs
from codesign.explore import hardware
from codesign.explore.space import Parameter, Space

BASE = preset("tiny")
VARIED = (
    Parameter("hardware.pixels", (1, 2, 3, 4, 5, 6, 12)),
    Parameter("hardware.drain", (1, 2, 3, 4, 6)),
    Parameter("hardware.in_channels", (4, 8, 16, 64)),
    Parameter("hardware.out_channels", (4, 8, 16, 32, 64)),
    Parameter("hardware.act_depth", (16, 512)),
    Parameter("hardware.clock_mhz", (50.0, 100.0)),
)


def space(*parameters: Parameter) -> Space:
    completed = hardware.completed(BASE, parameters)
    return Space(completed, hardware.rules(BASE, completed))


def everything(of: Space) -> np.ndarray:
    return np.indices(tuple(of.sizes)).reshape(len(of), -1).T


def test_points_are_allowed_exactly_where_arch_allows_them() -> None:
    of = space(*VARIED)
    points = everything(of)
    allowed = (of.repair(points) == points).all(axis=1)
    for point, is_allowed in itertools.islice(zip(points, allowed, strict=True), 0, None, 3):
        choice = of.decode(point[None])[0]
        if is_allowed:
            hardware.architecture(BASE, choice, "design")
        else:
            with pytest.raises(ValueError, match=r"multiple|divide|times"):
                hardware.architecture(BASE, choice, "design")
    assert 0.1 < allowed.mean() < 0.9


def test_columns_are_those_of_the_architectures() -> None:
    of = space(*VARIED)
    points = of.draw(200, np.random.default_rng(0))
    archs = [hardware.architecture(BASE, choice, "design") for choice in of.decode(points)]
    expected, found = Archs.of(archs), hardware.architectures(BASE, of, points)
    for field in dataclasses.fields(Archs):
        column = getattr(found, field.name)
        assert np.array_equal(column, getattr(expected, field.name)), field.name
        assert column.dtype == getattr(expected, field.name).dtype


def test_what_is_judged_with_a_parameter_joins_it() -> None:
    base = BASE.replace(pixels=6, drain=3)
    of = Space(
        completed := hardware.completed(base, [Parameter("hardware.pixels", (1, 2, 3, 4, 6))]),
        hardware.rules(base, completed),
    )
    assert of.decode(of.repair(np.array([[3, 0]]))) == [{"hardware.pixels": 3, "hardware.drain": 3}]


def test_a_space_without_hardware_is_the_base() -> None:
    points = np.zeros((3, 1), np.int64)
    found = hardware.architectures(BASE, Space((Parameter("network.width", (1,)),)), points)
    assert found.pixels.tolist() == [3, 3, 3]
    assert found.clock_mhz.tolist() == [100.0] * 3


@pytest.mark.parametrize("field", hardware.FIELDS)
def test_any_field_of_arch_can_be_varied(field: str) -> None:
    hardware.check_value(BASE, field, getattr(BASE, field))
    assert field in {at.name for at in dataclasses.fields(Arch)}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pixels", 33, "pixels=33 is outside 1..32"),
        ("drain", 0, "drain=0 is outside 1..32"),
        ("in_channels", 6, "in_channels=6 is not a power of two; the nearest are 4 and 8"),
        ("out_channels", 128, "out_channels=128 is outside 4..64"),
        ("dma_bits", 32, "the AXI4 data bus is 64 or 128 bits wide"),
        ("wgt_bits", 4, "multiplies 8 by 8 bits; set both to 8"),
    ],
)
def test_values_that_no_architecture_has(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hardware.check_value(BASE, field, value)
