"""Maps in buffers, against the formula of ``MapLayout`` element by element."""

import dataclasses

import numpy as np
import pytest

from codesign import artifact
from codesign.quant.values import Coding
from host import manifest
from host.errors import ProgramFileError
from host.manifest import MapLayout
from host.maps import MapTable, MapView, check_apart

PLAIN = ((0, 0),)


PHASES = {
    2: [(0, 0), (0, 1), (1, 0), (1, 1)],
    3: [(y, x) for y in range(3) for x in range(3)],
    4: [
        (y + 2 * below, x + 2 * right)
        for y in range(2) for x in range(2) for below in range(2) for right in range(2)
    ],
}  # fmt: skip
"""Factor -> (y, x) of the phase planes in their order."""


def position(at: MapLayout, b: int, c: int, y: int, x: int) -> int:
    phase, line, column = 0, y, x
    if at.split:
        phase = PHASES[at.factor].index((y % at.factor, x % at.factor))
        line, column = y // at.factor, x // at.factor
    return (
        at.offset + b * at.sample_bytes + c // at.block * at.plane_bytes
        + phase * at.phase_bytes + (line * at.pitch + column) * at.block + c % at.block
    )  # fmt: skip


def make(
    shape, *, split=False, pitch=0, fold=PLAIN, batch=2, block=4, step=(1, 1), factor=2
) -> MapLayout:
    channels, height, width = shape
    height, width = -(-height // step[0]), -(-width // step[1])
    ways = factor if split else 1
    lines, columns = -(-height // ways), -(-width // ways)
    pitch = pitch or columns
    phase = lines * pitch * block
    plane = phase * ways**2 + 16
    planes = -(-channels * len(fold) // block)
    return MapLayout(
        "x", shape, batch, 0.5, -7, 32, block, pitch, split, phase, plane, planes * plane, fold,
        step, factor,
    )  # fmt: skip


LAYOUTS = [
    make((5, 3, 4)),
    make((5, 3, 4), pitch=7),
    make((9, 5, 7), split=True),
    make((4, 4, 6), split=True, pitch=5, block=8),
    make((3, 5, 4), fold=tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))),
    make((1, 4, 5), fold=((0, 0), (0, 2), (3, 1)), split=True),
    make((3, 7, 9), fold=tuple((dy, dx) for dy in range(3) for dx in range(4)), step=(3, 4)),
    make((1, 8, 8), fold=((0, 0), (-1, 1)), step=(2, 3), split=True),
    make((10, 1, 1), batch=3),
    make((5, 7, 5), split=True, factor=3),
    make((5, 9, 6), split=True, factor=4),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pack_follows_the_formula(layout):
    rng = np.random.default_rng(5)
    codes = rng.integers(-128, 128, (layout.batch, *layout.shape), np.int8)
    buffer = np.full(4096, 99, np.uint8)
    table = MapTable(layout, len(buffer))
    view = MapView(table, buffer)
    view.clear()
    view.pack(codes)
    expected = np.full(4096, 99, np.uint8)
    # what lies between the map's own bytes is the zero point
    expected[table.first : table.end] = np.int8(layout.zero_point).view(np.uint8)
    channels, height, width = layout.shape
    for f, (dy, dx) in enumerate(layout.fold):
        size = [
            -(-extent // step) for extent, step in zip((height, width), layout.step, strict=True)
        ]
        for b, c, y, x in np.ndindex(*codes.shape[:2], *size):
            line, column = layout.step[0] * y + dy, layout.step[1] * x + dx
            inside = 0 <= line < height and 0 <= column < width
            value = codes[b, c, line, column] if inside else layout.zero_point
            expected[position(layout, b, f * channels + c, y, x)] = int(value) & 0xFF
    assert np.array_equal(buffer, expected)


@pytest.mark.parametrize("layout", [at for at in LAYOUTS if at.fold == PLAIN])
def test_read_follows_the_formula(layout):
    buffer = np.random.default_rng(6).integers(0, 256, 4096, np.uint8)
    codes = MapView(MapTable(layout, len(buffer)), buffer).read()
    assert codes.shape == (layout.batch, *layout.shape)
    for index in np.ndindex(codes.shape):
        assert codes[index] == np.int8(buffer[position(layout, *index)].view(np.int8))


def test_quantize_rounds_ties_upwards_and_saturates():
    table = MapTable(make((1, 1, 6), batch=1), 4096)
    values = np.array([0.25, -0.25, 0.2, 1e9, -1e9, np.inf]).reshape(1, 1, 1, 6)
    assert table.quantize(values).ravel().tolist() == [-6, -7, -7, 127, -128, 127]
    codes = np.array([[[[-7, -6, 127]]]], np.int8)
    assert table.dequantize(codes).ravel().tolist() == [0.0, 0.5, 67.0]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="'x' holds NaN"):
        MapTable(make((1, 1, 1), batch=1), 4096).quantize(np.full((1, 1, 1, 1), np.nan))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_values_are_packed_as_their_codes_and_read_back(dtype):
    layout = make((5, 3, 4), split=True)
    table = MapTable(layout, 4096)
    values = np.random.default_rng(7).normal(0, 30, (2, 5, 3, 4)).astype(dtype)
    one, other = np.zeros((2, 4096), np.uint8)
    view = MapView(table, one)
    view.pack(values)
    codes = table.quantize(values)
    MapView(table, other).pack(codes)
    assert np.array_equal(one, other)
    assert np.array_equal(view.read(), codes)
    assert np.array_equal(view.read_values(), table.dequantize(codes))


def test_a_batch_is_filled_with_its_last_sample():
    layout = make((2, 2, 2), batch=4)
    view = MapView(MapTable(layout, 4096), np.zeros(4096, np.uint8))
    codes = np.random.default_rng(9).integers(-128, 128, (2, 2, 2, 2), np.int8)
    view.pack(codes)
    assert np.array_equal(view.read(), codes[[0, 1, 1, 1]])


def test_maps_of_a_buffer_lie_apart():
    one = make((2, 2, 2))
    other = dataclasses.replace(one, name="y", offset=MapTable(one, 4096).end)
    check_apart([MapTable(other, 4096), MapTable(one, 4096)])
    with pytest.raises(ProgramFileError, match="maps 'x' and 'y' share bytes"):
        check_apart([MapTable(at, 4096) for at in (one, dataclasses.replace(one, name="y"))])


def test_host_and_compiler_agree_on_format_and_codes():
    assert manifest.FORMAT_VERSION == artifact.FORMAT_VERSION
    rng = np.random.default_rng(8)
    for scale, zero_point in ((0.5, -7), (0.0371, 120), (3e-5, -128)):
        layout = dataclasses.replace(make((1, 1, 500)), scale=scale, zero_point=zero_point)
        ties = scale * (rng.integers(-300, 300, 250) + 0.5)
        values = np.concatenate([ties, scale * rng.normal(0, 100, 250), [np.inf, -np.inf]])
        table, coding = MapTable(layout, 4096), Coding(scale, zero_point)
        codes = table.quantize(values)
        assert np.array_equal(codes, coding.encode(values))
        assert np.array_equal(table.dequantize(codes), coding.decode(codes))
