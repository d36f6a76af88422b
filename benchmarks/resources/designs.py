"""The architectures of the data set.

The model is fitted to a few that are spread evenly over the parameters (Sobol points) and to many
that differ from one of these in a parameter or two, so that most of their units are known already.
It is judged by others, spread over all parameters.
"""

from __future__ import annotations

import itertools
import math
import random
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
BASES = 6
CHANGES = (
    "pixels", "acc_bits", "depths", "regions", "pixels", "lanes", "act_depth", "dma_bits",
    "depths", "pixels", "regions",
)  # fmt: skip
"""What is changed, in turn."""
SMALL = 4
"""Number of the base that is made deep."""
DEEP = (
    {"act_depth": 5000, "param_depth": 1536},
    {"act_depth": 10240, "wgt_depth": 2560},
    {"act_depth": 2048, "tap_depth": 11264, "tables": 16},
)
"""Memories in pieces, or of block memories stacked in depth."""
MORE_LANES = ((4, 8), (4, 16), (8, 8), (8, 16), (8, 32))
PIXELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16)
MOST_BITS = 1 << 18
"""Of one memory: what is larger takes long to generate and tells nothing more."""
_FIELDS = 11


def train(count: int) -> list[Arch]:
    """What the model is fitted to: one half, and the same with other accumulators."""
    bases = list(itertools.islice(_spread(TRAIN), BASES))
    small = bases[SMALL]
    deep = [small.replace(name=f"deep{TRAIN}_{n}", **at) for n, at in enumerate(DEEP)]
    varied = itertools.islice(_varied(bases), max(count // 2 - BASES - len(deep), 0))
    half = [*bases, *deep, *varied][: count // 2]
    return [*half, *(_twin(arch) for arch in half)]


def held_out(count: int) -> list[Arch]:
    """What the model is judged by."""
    return list(itertools.islice(_spread(HELD_OUT), count))


def _twin(arch: Arch) -> Arch:
    """The architecture with other accumulators, on which few units depend."""
    acc_bits = 24 if arch.acc_bits == 32 else 32
    return arch.replace(name=f"{arch.name}_{acc_bits}", acc_bits=acc_bits)


def _varied(bases: list[Arch]) -> Iterator[Arch]:
    """The bases in turn, each with one thing changed; no two equal but for the accumulators."""
    chance = random.Random(TRAIN)
    seen = {_twin(base.replace(acc_bits=32)).fingerprint for base in bases}
    for number in itertools.count():
        base = bases[number % BASES]
        arch = _changed(base, CHANGES[number % len(CHANGES)], chance)
        if arch is None:
            continue
        logic = _twin(arch.replace(acc_bits=32)).fingerprint
        if logic not in seen:
            seen.add(logic)
            yield arch.replace(name=f"varied{TRAIN}_{number}")


def _changed(base: Arch, what: str, chance: random.Random) -> Arch | None:
    """The base with one thing changed; nothing where that makes it large."""
    change: dict[str, int] = {}
    if what == "acc_bits":
        change[what] = chance.choice([24, 26, 28, 30, 32])
    elif what == "depths":
        change["wgt_depth"] = chance.choice([64, 200, 512, 1024, 1536, 3072])
        change["tap_depth"] = chance.choice([64, 100, 256, 1024, 4096])
        change["param_depth"] = chance.choice([16, 64, 200, 512, 1024])
    elif what == "act_depth":
        change[what] = chance.choice([48, 100, 256, 640, 1024])
    elif what == "regions":
        change[what] = chance.choice([2, 3, 4, 5, 6, 7])
    elif what == "pixels":
        change[what] = chance.choice([2, 4, 5, 6, 7, 8, 10, 12])
        change["drain"] = chance.choice([d for d in (1, 2, 3) if change[what] % d == 0])
    elif what == "dma_bits":
        change[what] = 192 - base.dma_bits
    else:
        change["in_channels"], change["out_channels"] = chance.choice(MORE_LANES)
    arch = base.replace(**change)
    return arch if arch.macs_per_cycle * arch.regions <= 1200 else None


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
