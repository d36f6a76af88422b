"""Builds quantised graphs by hand, with random numbers from an explicit generator."""

import numpy as np

from codesign import arith, ir


class Builder:
    """Appends operations; every method returns the name of the tensor that it makes."""

    def __init__(self, rng, batch=1):
        self.rng, self.batch = rng, batch
        self.tensors, self.ops, self.inputs = {}, [], []

    def graph(self, *outputs):
        return ir.Graph(
            "net", self.batch, self.tensors, tuple(self.ops), tuple(self.inputs), outputs
        )

    def tensor(self, shape, zero_point=None, scale=0.05):
        name = f"t{len(self.tensors)}"
        if zero_point is None:
            zero_point = int(self.rng.choice([-128, 127, self.rng.integers(-128, 128)]))
        self.tensors[name] = ir.Tensor(name, tuple(map(int, shape)), scale, zero_point)
        return name

    def shape(self, tensor):
        return self.tensors[tensor].shape

    def input(self, shape):
        name = self.tensor(shape)
        self.inputs.append(name)
        return name

    def _clamp(self):
        if self.rng.random() < 0.5:
            return -128, 127
        low, high = sorted(int(v) for v in self.rng.integers(-128, 128, 2))
        return low, high

    def _bias(self, outputs):
        """Mostly of the size of sums, at times of any size that a quantised network may have."""
        limit = 1 << int(self.rng.choice([15, 15, 15, 23, 30]))
        return self.rng.integers(-limit, limit + 1, outputs).astype(np.int32)

    def _window(self, x, kernel, stride, padding, dilation=(1, 1), base=(1, 1)):
        window = ir.Window(kernel, stride, padding, dilation, base)
        return window, window.output_size(*self.shape(x)[1:])

    def conv(
        self, x, outputs, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), dilation=(1, 1),
        groups=1, density=1.0, clamp=None, base=(1, 1),
    ):  # fmt: skip
        window, size = self._window(x, kernel, stride, padding, dilation, base)
        inputs = self.shape(x)[0] // groups
        weight = self.rng.integers(-127, 128, (outputs, inputs, *kernel)).astype(np.int8)
        if density < 1:
            block = (-(-outputs // 4), -(-inputs // 4), *kernel)
            keep = self.rng.random(block) < density
            keep = keep.repeat(4, axis=0).repeat(4, axis=1)[:outputs, :inputs]
            weight = (weight * keep).astype(np.int8)
        spread = 127 * 74 * np.sqrt(weight[0].size) / 40
        multipliers = [
            arith.quantize_multiplier(float(m) / spread)
            for m in self.rng.uniform(0.2, 3.0, outputs)
        ]
        y = self.tensor((outputs, *size))
        low, high = clamp or self._clamp()
        self.ops.append(ir.Conv2d(
            f"conv_{y}", x, y, weight,
            self._bias(outputs),
            np.array([m for m, _ in multipliers], np.int32),
            np.array([s for _, s in multipliers], np.int32),
            window, groups, low, high, bool(self.rng.integers(2)),
        ))  # fmt: skip
        return y

    def upsample(self, x, factor=(2, 2)):
        channels, height, width = self.shape(x)
        shape = (channels, height * factor[0], width * factor[1])
        y = self.tensor(shape, self.tensors[x].zero_point)
        self.ops.append(ir.Upsample(f"up_{y}", x, y, factor))
        return y

    def max_pool(self, x, kernel, stride, padding=(0, 0, 0, 0), dilation=(1, 1)):
        window, size = self._window(x, kernel, stride, padding, dilation)
        y = self.tensor((self.shape(x)[0], *size), self.tensors[x].zero_point)
        self.ops.append(ir.MaxPool2d(f"max_{y}", x, y, window))
        return y

    def avg_pool(
        self, x, kernel, stride=(1, 1), padding=(0, 0, 0, 0), dilation=(1, 1), counted=None
    ):
        window, size = self._window(x, kernel, stride, padding, dilation)
        y = self.tensor((self.shape(x)[0], *size))
        area = kernel[0] * kernel[1]
        multiplier, shift = arith.quantize_multiplier(1.3 / area)
        parts = tuple(
            (count, *arith.quantize_multiplier(1.3 / max(1, count)))
            for count in np.unique(ir.counts(window, counted, self.shape(x))).tolist()
            if count < area
        )
        self.ops.append(ir.AvgPool2d(
            f"avg_{y}", x, y, window, multiplier, shift, *self._clamp(), counted=counted,
            parts=parts,
        ))  # fmt: skip
        return y

    def global_pool(self, x):
        return self.avg_pool(x, self.shape(x)[1:], self.shape(x)[1:])

    def add(self, a, b):
        y = self.tensor(self.shape(a))
        ma, mb, shift = arith.quantize_multiplier_pair(
            float(self.rng.uniform(-1, 1.5)), float(self.rng.uniform(0.1, 1.5))
        )
        self.ops.append(ir.Add(f"add_{y}", a, b, y, ma, mb, shift, *self._clamp()))
        return y

    def table(self, x):
        y = self.tensor(self.shape(x))
        table = self.rng.integers(-128, 128, 256).astype(np.int8)
        self.ops.append(ir.Table(f"table_{y}", x, y, table))
        return y

    def flatten(self, x):
        channels, height, width = self.shape(x)
        y = self.tensor((channels * height * width, 1, 1), self.tensors[x].zero_point)
        self.ops.append(ir.Flatten(f"flatten_{y}", x, y))
        return y

    def linear(self, x, outputs):
        return self.conv(x, outputs, (1, 1), padding=(0, 0, 0, 0))
