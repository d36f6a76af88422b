"""The architectures of the data set, spread evenly over the parameters (Sobol points).

Those that the model is fitted to repeat the parameters of the dearest units, so that few of these
have to be synthesised; those that it is judged by are free in all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from scipy.stats import qmc

from codesign.arch import Arch

TRAIN, HELD_OUT = 31, 32
"""Seeds of the two sets."""
LANES = (
    (4, 4, 32), (4, 4, 24), (4, 8, 28), (4, 16, 32), (8, 8, 32), (8, 8, 26), (8, 16, 30),
    (16, 16, 32),
)  # fmt: skip
"""M, N and ``acc_bits`` of those that the model is fitted to."""
PIXELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
MOST_BITS = 1 << 18
"""Of one memory: what is larger takes long to generate and tells nothing more."""
_FIELDS = 11


def train(count: int) -> list[Arch]:
    """What the model is fitted to."""
    return list(itertools.islice(_spread(TRAIN), count))


def held_out(count: int) -> list[Arch]:
    """What the model is judged by."""
    return list(itertools.islice(_spread(HELD_OUT), count))


def _spread(seed: int) -> Iterator[Arch]:
    points = qmc.Sobol(_FIELDS, rng=seed)
    number = 0
    while True:
        arch = _arch(f"sobol{seed}_{number}", points.random(1)[0].tolist(), seed == HELD_OUT)
        if _moderate(arch, seed):
            yield arch
            number += 1


def _arch(name: str, at: list[float], free: bool) -> Arch:
    def choose(values: tuple[int, ...], where: float) -> int:
        return values[int(where * len(values))]

    def depth(low: int, high: int, where: float) -> int:
        exact = math.exp2(math.log2(low) + where * math.log2(high / low))
        power = 1 << round(math.log2(exact))
        return power if int(where * 1000) % 2 else 16 * round(exact / 16)

    pixels = choose(PIXELS, at[0])
    if free:
        m = choose((4, 4, 8, 8, 16), at[1])
        n = m * choose((1, 1, 2, 4), at[2])
        acc_bits = choose((24, 26, 28, 30, 32, 32), 8 * at[10] % 1)
        tables = choose((1, 2, 4, 6, 8, 8, 12, 16), at[9])
    else:
        m, n, acc_bits = LANES[int(at[1] * len(LANES))]
        tables = choose((4, 8, 8, 16), at[9])
    drains = tuple(d for d in (1, 2, 3, 4) if pixels % d == 0)
    return Arch(
        name, pixels, m, n, choose(drains, at[3]),
        regions=choose((2, 3, 3, 4, 5, 6), at[4]),
        act_depth=depth(64, 8192, at[5]),
        wgt_depth=depth(64, 8192, at[6]),
        param_depth=depth(32, 1024, at[7]),
        tap_depth=depth(64, 4096, at[8]),
        tables=tables, dma_bits=choose((64, 128), at[10]), acc_bits=acc_bits,
    )  # fmt: skip


def _moderate(arch: Arch, seed: int) -> bool:
    words = arch.wgt_depth * arch.wgt_word_bytes, arch.act_depth * arch.act_word_bytes * arch.pixels
    return (
        arch.macs_per_cycle <= (512 if seed == TRAIN else 320)
        and arch.out_channels <= 32
        and arch.drain * arch.in_channels <= 16
        and 8 * max(words) <= MOST_BITS
    )
