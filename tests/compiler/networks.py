"""Random single layers and little networks, each wholly told by a seed."""

import numpy as np

from codesign.arch import preset
from tests.compiler.builder import Builder

TINY = preset("tiny")
ROOMY = TINY.replace(act_depth=1024, wgt_depth=8192, tap_depth=4096)
ARCHS = (
    ROOMY,
    ROOMY.replace(pixels=5),
    ROOMY.replace(pixels=7, drain=7),
    ROOMY.replace(pixels=6, drain=2, out_channels=8),
    ROOMY.replace(pixels=4, drain=4, in_channels=8, out_channels=16, dma_bits=128),
    preset("pynq_z2"),
)


def random_window(rng, size):
    """A kernel, stride, padding and dilation with an output on a map of ``size``; at times so wide
    that positions of the window, or all, lie beside the map.
    """
    while True:
        kernel = tuple(int(k) for k in rng.integers(1, 8, 2))
        stride = (int(rng.integers(1, 3)),) * 2
        if rng.random() < 0.25:
            stride = tuple(int(s) for s in rng.integers(1, 6, 2))
        farthest = int(rng.choice([2, 2, 4, 13]))
        dilation = tuple(int(d) for d in rng.integers(1, farthest, 2))
        beyond = int(rng.choice([1, 1, 9]))
        padding = tuple(int(rng.integers(0, k + beyond)) for k in np.repeat(kernel, 2))
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        room = size[0] + sum(padding[:2]), size[1] + sum(padding[2:])
        if all(a <= b for a, b in zip(reach, room, strict=True)):
            return kernel, stride, padding, dilation


def _map(rng):
    return tuple(int(v) for v in rng.choice([1, 2, 3, 5, 7, 8, 11], 2))


def random_layer(seed):
    """One operation, perhaps with an add or a table behind it."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, batch=int(rng.choice([1, 1, 2, 5])))
    size = _map(rng)
    kernel, stride, padding, dilation = random_window(rng, size)
    kind = rng.choice(["conv", "conv", "sparse", "depthwise", "grouped", "max", "avg"])
    channels = int(rng.integers(1, 20))
    if kind == "grouped":
        groups = int(rng.integers(2, 5))
        x = b.input((groups * int(rng.integers(1, 5)), *size))
        outputs = groups * int(rng.integers(1, 5))
        y = b.conv(x, outputs, kernel, stride, padding, dilation, groups)
    elif kind == "depthwise":
        x = b.input((channels, *size))
        y = b.conv(x, channels, kernel, stride, padding, dilation, channels)
    elif kind in ("max", "avg"):
        x = b.input((channels, *size))
        if kind == "max":
            y = b.max_pool(x, kernel, stride, padding, dilation)
        else:
            counted = (None, (0, 0, 0, 0), (1, 0, 0, 2))[rng.integers(0, 3)]
            y = b.avg_pool(x, kernel, stride, padding, dilation, counted)
    else:
        x = b.input((channels, *size))
        density = 0.3 if kind == "sparse" else 1.0
        clamp = (-128, 127) if rng.random() < 0.5 else None
        y = b.conv(
            x, int(rng.integers(1, 20)), kernel, stride, padding, dilation,
            density=density, clamp=clamp,
        )  # fmt: skip
    if rng.random() < 0.4:
        other = b.input(b.shape(y))
        y = b.add(*((y, other) if rng.random() < 0.5 else (other, y)))
    if rng.random() < 0.3:
        y = b.table(y)
    return b.graph(y)


def random_network(seed):
    """A few operations in a chain with branches, ending in a vector or a map."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, batch=int(rng.choice([1, 1, 3, 5])))
    x = b.input((int(rng.integers(1, 10)), *(int(v) for v in rng.integers(4, 13, 2))))
    for _ in range(int(rng.integers(1, 5))):
        channels, height, width = b.shape(x)
        kind = rng.choice(["conv", "down", "residual", "depthwise", "max", "table", "branch"])
        same = (1, 1, 1, 1)
        if kind == "conv":
            x = b.conv(x, int(rng.integers(3, 14)))
        elif kind == "down" and min(height, width) > 2:
            x = b.conv(x, int(rng.integers(3, 14)), stride=(2, 2))
        elif kind == "residual":
            y = b.conv(x, channels, clamp=(-128, 127))
            x = b.add(b.conv(y, channels, clamp=(-128, 127)), x)
        elif kind == "depthwise":
            x = b.conv(x, channels, padding=same, groups=channels)
        elif kind == "max" and min(height, width) > 2:
            x = b.max_pool(x, (2, 2), (2, 2))
        elif kind == "table":
            x = b.table(x)
        elif kind == "branch":
            outputs = int(rng.integers(3, 14))
            y = b.conv(x, outputs, (1, 1), padding=(0,) * 4)
            x = b.add(y, b.conv(x, outputs))
    tail = rng.choice(["map", "pool", "flatten", "both"])
    outputs = [x]
    if tail in ("pool", "both"):
        y = b.linear(b.flatten(b.global_pool(x)), int(rng.integers(2, 12)))
        y = b.linear(b.table(y), 5) if rng.random() < 0.5 else y
        outputs = [y] if tail == "pool" else [x, y]
    elif tail == "flatten":
        outputs = [b.linear(b.flatten(x), int(rng.integers(2, 12)))]
    return b.graph(*outputs)


def resnet8(rng):
    """The topology of MLPerf Tiny's ResNet-8."""
    b = Builder(rng)
    x = b.conv(b.input((3, 32, 32)), 16, clamp=(-128, 127))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = b.conv(x, channels, stride=(stride, stride))
        y = b.conv(y, channels, clamp=(-128, 127))
        if stride > 1:
            x = b.conv(x, channels, (1, 1), (stride, stride), (0,) * 4, clamp=(-128, 127))
        x = b.add(y, x)
    return b.graph(b.linear(b.flatten(b.global_pool(x)), 10))
