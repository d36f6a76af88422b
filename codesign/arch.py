"""The accelerator's architecture: one frozen set of parameters that all else is derived from.

Generator, compiler, references and cost models read the same ``Arch``. Contradictions are refused
when one is made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

ISA_VERSION = 2
"""Part of the fingerprint: raise it whenever the meaning or layout of an instruction or register
changes."""
TABLE_ENTRIES = 256
PARAM_RECORD_BITS = 64
TAP_ENTRY_BITS = 64
MAX_PLANES = 8
"""Largest N/M: the field ``planes`` of a CALC counts them."""
CHAIN_LENGTH = 4
"""DSPs in one cascade: the low field of a packed pair holds the sum of four products as a signed
number of 17 bits (``hw/pe.py``)."""


@dataclass(frozen=True)
class Arch:
    """Parameters of one accelerator. Derived sizes are properties.

    Parameters
    ----------
    pixels:
        P, output pixels per cycle.
    in_channels, out_channels:
        M and N, channels per cycle; powers of two, N a multiple of M.
    drain:
        D, finished pixels post-processed per cycle; divides P.
    regions:
        Independent activation memories, each with its own read and write port.
    act_depth:
        Rows of each of the P banks of a region; a row holds the M channels of one pixel.
    wgt_depth:
        Weight words; a word holds the M*N weights of one tap.
    param_depth:
        Parameter words; a word holds bias and requantisation of M output channels.
    tap_depth:
        Entries of tap programs.
    tables:
        Resident 256-entry tables of unary functions.
    dma_bits:
        Width of the AXI4 data bus, 64 or 128.
    acc_bits:
        Width of the accumulators.
    act_bits, wgt_bits:
        Widths of activations and weights; the DSP-packed array takes 8 and 8.
    clock_mhz, board:
        Target; they do not change the logic.
    """

    name: str
    pixels: int
    in_channels: int
    out_channels: int
    drain: int
    regions: int
    act_depth: int
    wgt_depth: int
    param_depth: int
    tap_depth: int
    tables: int = 8
    dma_bits: int = 64
    acc_bits: int = 32
    act_bits: int = 8
    wgt_bits: int = 8
    clock_mhz: float = 150.0
    board: str = "pynq-z2"

    def __post_init__(self) -> None:
        m, n = self.in_channels, self.out_channels
        limits = {
            "pixels": (1, 32),
            "in_channels": (CHAIN_LENGTH, 64),
            "out_channels": (CHAIN_LENGTH, 64),
            "drain": (1, 32),
            "regions": (2, 8),
            "act_depth": (16, 1 << 15),
            "wgt_depth": (16, 1 << 19),
            "param_depth": (2, 1 << 15),
            "tap_depth": (16, 1 << 15),
            "tables": (1, 16),
        }
        for field, (low, high) in limits.items():
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{field} must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(
                    f"{field}={value} is outside {low}..{high}; choose a value in that range"
                )
        for field, value in (("in_channels", m), ("out_channels", n)):
            if value & (value - 1):
                raise ValueError(
                    f"{field}={value} is not a power of two; the nearest are {_neighbours(value)}"
                )
        if n % m:
            raise ValueError(
                f"out_channels={n} is not a multiple of in_channels={m}; choose {m} or {2 * m}"
            )
        if n // m > MAX_PLANES:
            raise ValueError(
                f"out_channels={n} is {n // m} times in_channels={m}, above {MAX_PLANES}; "
                f"choose at most {MAX_PLANES * m}, or in_channels={n // MAX_PLANES}"
            )
        if self.pixels % self.drain:
            raise ValueError(
                f"drain={self.drain} does not divide pixels={self.pixels}; "
                f"choose a divisor of {self.pixels}"
            )
        if self.dma_bits not in (64, 128):
            raise ValueError(f"dma_bits={self.dma_bits}: the AXI4 data bus is 64 or 128 bits wide")
        if not 24 <= self.acc_bits <= 32:
            raise ValueError(
                f"acc_bits={self.acc_bits} is outside 24..32; 32 never overflows for an int32 bias"
            )
        if (self.act_bits, self.wgt_bits) != (8, 8):
            raise ValueError(
                f"act_bits={self.act_bits}, wgt_bits={self.wgt_bits}: the DSP-packed array "
                "multiplies 8 by 8 bits; set both to 8"
            )
        if not self.clock_mhz > 0:
            raise ValueError(f"clock_mhz={self.clock_mhz} must be positive")

    # --- sizes ---
    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates per cycle in dense mode: P*M*N."""
        return self.pixels * self.in_channels * self.out_channels

    @property
    def planes(self) -> int:
        """Activation words that one pixel's N outputs fill: N/M."""
        return self.out_channels // self.in_channels

    @property
    def drain_steps(self) -> int:
        """Cycles in which one group of P pixels leaves the array: (P/D)*(N/M).

        No group takes fewer.
        """
        return self.pixels // self.drain * self.planes

    @property
    def phase_skew(self) -> int:
        """Pixels by which the phase planes of odd columns start later: ceil(D/2), 0 for D = 1.

        Columns x and x + 1 would share a bank otherwise; so the odd ones among the D consecutive
        pixels of a drain step fall into the banks behind the even ones', or before them.
        """
        return (self.drain + 1) // 2 if self.drain > 1 else 0

    @property
    def beat_bytes(self) -> int:
        return self.dma_bits // 8

    @property
    def act_word_bytes(self) -> int:
        return self.in_channels

    @property
    def wgt_word_bytes(self) -> int:
        return self.in_channels * self.out_channels

    @property
    def param_word_bytes(self) -> int:
        return self.in_channels * PARAM_RECORD_BITS // 8

    @property
    def act_region_words(self) -> int:
        return self.pixels * self.act_depth

    @property
    def act_bytes(self) -> int:
        return self.regions * self.act_region_words * self.act_word_bytes

    @property
    def wgt_bytes(self) -> int:
        return self.wgt_depth * self.wgt_word_bytes

    # --- identity ---
    @property
    def fingerprint(self) -> int:
        """32-bit hash of all that changes logic or encoding, in hardware and programs alike."""
        logic = {
            k: v
            for k, v in dataclasses.asdict(self).items()
            if k not in ("name", "clock_mhz", "board")
        }
        text = json.dumps({"isa": ISA_VERSION, **logic}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")

    def replace(self, **changes: Any) -> Arch:
        """A copy with some parameters changed (and checked again)."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def _neighbours(value: int) -> str:
    below = 1 << (value.bit_length() - 1)
    return f"{below} and {2 * below}"


_PYNQ_Z2 = Arch(
    "pynq_z2", pixels=6, in_channels=8, out_channels=8, drain=1, regions=3,
    act_depth=1024, wgt_depth=4608, param_depth=512, tap_depth=2048, tables=8,
    clock_mhz=150.0,
)  # fmt: skip
_ZU3 = Arch(
    "zu3", pixels=10, in_channels=8, out_channels=8, drain=1, regions=3,
    act_depth=2048, wgt_depth=4608, param_depth=512, tap_depth=2048, tables=8,
    dma_bits=128, clock_mhz=300.0,
)  # fmt: skip

PRESETS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        Arch("tiny", pixels=3, in_channels=4, out_channels=4, drain=1, regions=3,
             act_depth=256, wgt_depth=1024, param_depth=128, tap_depth=512, tables=4,
             clock_mhz=100.0),
        _PYNQ_Z2.replace(name="pynq_z1", board="pynq-z1"),
        _PYNQ_Z2,
        _ZU3.replace(name="ultra96v2", board="ultra96v2"),
        _ZU3.replace(name="aup_zu3", board="aup-zu3"),
        Arch("zcu104", pixels=12, in_channels=16, out_channels=16, drain=2, regions=3,
             act_depth=4096, wgt_depth=4096, param_depth=512, tap_depth=2048, tables=8,
             dma_bits=128, clock_mhz=300.0, board="zcu104"),
        Arch("kv260", pixels=8, in_channels=16, out_channels=16, drain=2, regions=3,
             act_depth=4096, wgt_depth=1536, param_depth=512, tap_depth=2048, tables=8,
             dma_bits=128, clock_mhz=300.0, board="kv260"),
    )
}  # fmt: skip
"""One for each board (`codesign.boards`), as large as its part allows, and ``tiny`` for tests.
`codesign bench presets` says what each takes."""


def preset(name: str) -> Arch:
    """The preset of that name; ``ValueError`` lists the names there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(
            f"no preset is called {name!r}; there are {', '.join(sorted(PRESETS))}"
        ) from None
