"""ResNet-18 (He et al., 2015) and MobileNetV2 (Sandler et al., 2018) with random weights."""

from tests.compiler.builder import Builder

FULL = (-128, 127)


def resnet18(rng, size=224, width=64, classes=1000, batch=1):
    """``width``: channels of the first stage; 64 in the paper."""
    b = Builder(rng, batch)
    x = b.conv(b.input((3, size, size)), width, (7, 7), (2, 2), (3, 2, 3, 2))
    x = b.max_pool(x, (3, 3), (2, 2), (1, 0, 1, 0))
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage and not block else 1
            channels = width << stage
            padding = (1, 1, 1, 1) if stride == 1 else (1, 0, 1, 0)
            y = b.conv(x, channels, (3, 3), (stride, stride), padding)
            y = b.conv(y, channels, clamp=FULL)
            if stride == 2:
                x = b.conv(x, channels, (1, 1), (2, 2), (0,) * 4, clamp=FULL)
            x = b.add(y, x)
    return b.graph(b.linear(b.flatten(b.global_pool(x)), classes))


BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks, stride of the first block."""


def mobilenet_v2(rng, size=224, width=1.0, classes=1000, batch=1):
    """``width`` multiplies all channels."""

    def channels(count):
        return max(4, int(count * width))

    b = Builder(rng, batch)
    x = b.conv(b.input((3, size, size)), channels(32), stride=(2, 2), padding=(1, 0, 1, 0))
    for expansion, outputs, blocks, first in BOTTLENECKS:
        for block in range(blocks):
            x = _bottleneck(b, x, expansion, channels(outputs), first if block == 0 else 1)
    x = b.conv(x, channels(1280), (1, 1), padding=(0,) * 4)
    return b.graph(b.linear(b.flatten(b.global_pool(x)), classes))


def _bottleneck(b, x, expansion, outputs, stride):
    inputs = b.shape(x)[0]
    y = x
    if expansion > 1:
        y = b.conv(y, expansion * inputs, (1, 1), padding=(0,) * 4)
    padding = (1, 1, 1, 1) if stride == 1 else (1, 0, 1, 0)
    hidden = b.shape(y)[0]
    y = b.conv(y, hidden, (3, 3), (stride, stride), padding, groups=hidden)
    y = b.conv(y, outputs, (1, 1), padding=(0,) * 4, clamp=FULL)
    return b.add(y, x) if stride == 1 and inputs == outputs else y
