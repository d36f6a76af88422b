"""Random networks that upsample, each wholly told by a seed, and a little U-Net."""

import numpy as np

from tests.compiler.builder import Builder

FULL = (-128, 127)


def transposed(b, x, outputs, kernel, stride, before, extra, **options):
    """A transposed convolution as torch has it: ``before`` is its padding, ``extra`` its
    output_padding."""
    sides = [
        (k - 1 - p, k - 1 - p + e) for k, p, e in zip(kernel, before, extra, strict=True)
    ]  # fmt: skip
    padding = (*sides[0], *sides[1])
    return b.conv(x, outputs, kernel, (1, 1), padding, base=stride, **options)


def random_transposed(b, rng, x, factor, **options):
    kernel = tuple(int(k) for k in rng.integers(1, 6, 2))
    before = tuple(int(rng.integers(0, (k + 1) // 2)) for k in kernel)
    extra = tuple(int(e) for e in rng.integers(0, factor, 2))
    channels, *size = b.shape(x)
    depthwise = rng.random() < 0.2
    outputs = channels if depthwise else int(rng.integers(2, 12))
    groups = channels if depthwise else 1
    made = [
        factor * (s - 1) + k - 2 * p + e
        for s, k, p, e in zip(size, kernel, before, extra, strict=True)
    ]
    if min(made) < 1:
        kernel, before = (3, 3), (1, 1)
    return transposed(
        b, x, outputs, kernel, (factor, factor), before, extra, groups=groups, **options
    )


def random_upsampling(seed):
    """A chain with at least one upsampling, and perhaps a skip over one, ending in a map, a sum or
    a vector."""
    rng = np.random.default_rng(seed)
    b = Builder(rng, batch=int(rng.choice([1, 1, 2])))
    x = b.input((int(rng.integers(1, 9)), *(int(v) for v in rng.choice([1, 2, 3, 5, 6, 8], 2))))
    grown = 1
    for number in range(int(rng.integers(1, 5))):
        channels, height, width = b.shape(x)
        kind = rng.choice(["transposed", "nearest", "conv", "pool", "down", "skip", "table"])
        factor = int(rng.choice([2, 2, 2, 3, 4]))
        if number == 0 or (kind in ("transposed", "nearest") and grown * factor <= 8):
            factor = factor if grown * factor <= 8 else 2
            grown *= factor
            if rng.random() < 0.5:
                x = b.upsample(x, (factor, factor))
            else:
                x = random_transposed(b, rng, x, factor)
        elif kind == "conv":
            side = int(rng.choice([1, 3, 5]))
            depthwise = rng.random() < 0.3
            x = b.conv(
                x, channels if depthwise else int(rng.integers(2, 12)), (side, side),
                padding=(side // 2,) * 4, groups=channels if depthwise else 1,
            )  # fmt: skip
        elif kind == "pool" and min(height, width) > 2:
            pool = b.max_pool if rng.random() < 0.5 else b.avg_pool
            x = pool(x, (3, 3), (1, 1), (1, 1, 1, 1))
        elif kind == "down" and min(height, width) > 2:
            y = b.conv(x, channels, stride=(2, 2))
            if rng.random() < 0.5 and height % 2 == 0 == width % 2:
                x = b.add(b.upsample(y), b.conv(x, channels, clamp=FULL))
            else:
                x = y
        elif kind == "skip":
            x = b.add(b.conv(x, channels, clamp=FULL), x)
        elif kind == "table":
            x = b.table(x)
    tail = rng.choice(["map", "map", "pool", "flatten", "both"])
    if tail == "pool":
        return b.graph(b.linear(b.flatten(b.global_pool(x)), 5))
    if tail == "flatten" and np.prod(b.shape(x)) < 600:
        return b.graph(b.linear(b.flatten(x), 5))
    return b.graph(x, b.conv(x, 3)) if tail == "both" else b.graph(x)


def unet(rng, size=32, width=16, classes=4, batch=1):
    """Two levels down by strided convolutions, up by a transposed convolution and by a resize;
    one skip is added, the other joined as channels (its kernel's part, added)."""
    b = Builder(rng, batch)
    x = b.conv(b.input((3, size, size)), width)
    half = b.conv(x, 2 * width, stride=(2, 2), padding=(1, 0, 1, 0))
    half = b.conv(half, 2 * width)
    low = b.conv(half, 4 * width, stride=(2, 2), padding=(1, 0, 1, 0))
    low = b.conv(low, 4 * width)
    up = transposed(b, low, 2 * width, (4, 4), (2, 2), (1, 1), (0, 0), clamp=FULL)
    up = b.conv(b.add(up, half), 2 * width)
    wide = b.conv(b.upsample(up), width, clamp=FULL)
    joined = b.add(wide, b.conv(x, width, clamp=FULL))
    return b.graph(b.conv(joined, classes, (1, 1), padding=(0,) * 4))
