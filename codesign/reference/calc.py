"""What a CALC instruction reads, computes and writes, vectorised over groups, taps and lanes.

The definition is the loop in docs/machine.md. Arrays are indexed [group, tap, lane] or
[block, group, lane].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codesign import arith
from codesign.arch import Arch
from codesign.errors import ProgramError
from codesign.isa import Instruction, Mode, Target
from codesign.reference.grid import BoolArray, Grid, grid_of
from codesign.reference.memory import IntArray, Memories, Taps, depthwise_words

_BIAS_BITS = 32


@dataclass(frozen=True, eq=False)
class Walk:
    """The pixels that a CALC meets, as word numbers within their regions.

    Attributes
    ----------
    grid:
        What it reads.
    destination:
        [planes, written pixels]: where results go.
    residual:
        [planes, written pixels]: what is added to them, or None.
    """

    grid: Grid
    destination: IntArray
    residual: IntArray | None

    @property
    def source(self) -> IntArray:
        return self.grid.source

    @property
    def inside(self) -> BoolArray:
        return self.grid.inside

    @property
    def stray(self) -> BoolArray:
        return self.grid.stray

    @property
    def written(self) -> BoolArray:
        return self.grid.written


def walk(arch: Arch, instruction: Instruction, taps: Taps) -> Walk:
    """Follow the grid. Destination and residual may leave their region: see ``faults``."""
    i = instruction
    grid = grid_of(arch, i, taps)
    y, x = np.divmod(grid.pixels, i["grid_width"])  # from y_start on
    residual = _map(arch, i, "res", y, x) if i["residual"] else None
    return Walk(grid, _map(arch, i, "dst", y, x), residual)


def _map(arch: Arch, i: Instruction, prefix: str, y: IntArray, x: IntArray) -> IntArray:
    """Words of output pixels, ``y`` lines below y_start, for every block: [planes, pixels]."""
    lanes = arch.pixels
    pitch = i[f"{prefix}_pitch_bank"] + i[f"{prefix}_pitch_row"] * lanes
    first = i[f"{prefix}_bank"] + i[f"{prefix}_row"] * lanes
    if i[f"{prefix}_split"]:
        y = y + i["y_start"]
        odd = x & 1
        word = ((y >> 1) - (i["y_start"] >> 1)) * pitch + (x >> 1) + odd * arch.phase_skew
        word += (2 * (y & 1) + odd) * (i[f"{prefix}_phase_rows"] * lanes)
    else:
        word = y * pitch + x
    blocks = np.arange(i["planes"], dtype=np.int64) * (i[f"{prefix}_plane_rows"] * lanes) + first
    return np.asarray(blocks[:, None] + word)


def weights(memories: Memories, instruction: Instruction) -> IntArray | None:
    """w[t][m][n] (dense), w[t][m] (depthwise) or None (max)."""
    first, taps = instruction["wgt_base"], instruction["taps"]
    if instruction["mode"] == Mode.DENSE:
        return memories.dense_weights(first, taps)
    if instruction["mode"] == Mode.DEPTHWISE:
        return memories.depthwise_weights(first, taps)
    return None


def matters(memories: Memories, instruction: Instruction) -> BoolArray:
    """[taps]: what the tap reads can change the result, for not all its weights are zero."""
    first, taps = instruction["wgt_base"], instruction["taps"]
    if instruction["mode"] == Mode.MAX:
        return np.ones(taps, np.bool_)
    words = memories.words(Target.WGT)
    if instruction["mode"] == Mode.DENSE:  # packed weights are all zero where the weights are
        return np.asarray(words[first : first + taps].view(np.uint64).any(axis=1))
    arch = memories.arch
    slices = words[first : first + depthwise_words(arch, taps)].reshape(-1, arch.in_channels)
    return np.asarray(slices[:taps].any(axis=1))


def check_places(arch: Arch, index: int, path: Walk) -> None:
    """Raise ``ProgramError`` for pixels outside their region: the machine does not check them."""
    for name, words in (("destination", path.destination), ("residual", path.residual)):
        if words is None or not words.size:
            continue
        last = int(words.max())
        if last >= arch.act_region_words:
            raise ProgramError(
                f"instruction {index} (CALC): its {name} reaches pixel {last} of a region of "
                f"{arch.act_region_words}; place the map lower"
            )
        if arch.drain > 1:
            _check_banks(arch, index, name, words, path.grid)


def check_shifts(index: int, i: Instruction, memories: Memories) -> None:
    """Raise ``ProgramError`` for a parameter record whose shift ``arith`` does not define."""
    records = memories.parameters(i["param_base"], i["planes"], ("shift", "twice"))
    shifts, twice = records["shift"], records["twice"]
    least = np.where(twice, arith.TWICE_SHIFT_MIN, arith.SHIFT_MIN)
    wrong = (shifts < least) | (shifts > arith.SHIFT_MAX)
    if wrong.any():
        first = np.argmax(wrong)
        rounding = ", rounding twice" if twice.flat[first] else ""
        raise ProgramError(
            f"instruction {index} (CALC) shifts by {int(shifts.flat[first])}{rounding}; a "
            f"parameter record's shift then lies in {int(least.flat[first])}..{arith.SHIFT_MAX}"
        )


def _check_banks(arch: Arch, index: int, name: str, words: IntArray, grid: Grid) -> None:
    """The pixels of a drain step are accessed in one cycle: no two may share a bank."""
    idle = -1 - np.arange(arch.pixels, dtype=np.int64)
    banks = np.tile(idle, (len(words), len(grid.written)))
    banks[:, grid.pixels] = words % arch.pixels
    banks = banks.reshape(-1, arch.drain)
    ordered = np.sort(banks, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise ProgramError(
            f"instruction {index} (CALC): pixels of one drain step share a bank of its {name}; "
            "make the map's pitch at most the grid's width"
        )


def execute(memories: Memories, instruction: Instruction, path: Walk, w: IntArray | None) -> None:
    """Read all sources, compute, write all destinations.

    No group sees what the instruction itself writes: a program in which one should is a hazard
    (``hazards``), for the machine's pipeline is deeper than a group.
    """
    i, arch = instruction, memories.arch
    act = memories.act.view(np.int8)
    a = act[i["src_region"]][path.source]
    a[~path.inside] = i["pad"]
    acc = _accumulate(arch, a, w)
    parameters = memories.parameters(i["param_base"], i["planes"])
    table = memories.table(i["table_id"]) if i["table"] else None
    channels = arch.in_channels
    results = []
    for block in range(i["planes"]):
        sums = acc[path.written][:, block * channels : (block + 1) * channels]
        record = {name: value[block] for name, value in parameters.items()}
        r = None
        if path.residual is not None:
            r = act[i["res_region"]][path.residual[block]].astype(np.int64)
        results.append(_post(i, sums, record, r, table))
    for block, q in enumerate(results):
        act[i["dst_region"]][path.destination[block]] = q.astype(np.int8)


def _accumulate(arch: Arch, a: npt.NDArray[np.int8], w: IntArray | None) -> IntArray:
    """Accumulators [groups, P, outputs] from activations [groups, taps, P, M]."""
    groups, taps, lanes, channels = a.shape
    if w is None:
        return np.asarray(a.max(axis=1), np.int64)
    if w.ndim == 2:  # depthwise
        total: IntArray = np.einsum("gtpm,tm->gpm", a.astype(np.int64), w)
    else:
        # |sum| <= taps * M * 2**14 < 2**53: the products are exact in float64, and BLAS forms them
        rows = a.transpose(0, 2, 1, 3).reshape(groups * lanes, taps * channels)
        matrix = w.reshape(taps * channels, arch.out_channels)
        sums = rows.astype(np.float64) @ matrix.astype(np.float64)
        total = sums.astype(np.int64).reshape(groups, lanes, arch.out_channels)
    return arith.wrap(total, arch.acc_bits)


def _post(
    i: Instruction,
    acc: IntArray,
    record: dict[str, IntArray],
    r: IntArray | None,
    table: IntArray | None,
) -> IntArray:
    """Post-processing of [pixels, M] accumulators (docs/machine.md)."""
    v = arith.wrap(acc + record["bias"], _BIAS_BITS)
    twice = record["twice"].astype(np.bool_)
    q = arith.requantize(v, record["multiplier"], record["shift"], i["zero_point"], twice)
    if r is None:
        q = arith.saturate(q, i["low"], i["high"])
    else:
        q = arith.saturate(q, arith.INT8_MIN, arith.INT8_MAX)
        q = arith.add_requantized(
            q,
            i["zero_point"],
            i["acc_multiplier"],
            r,
            i["res_zero_point"],
            i["res_multiplier"],
            i["add_shift"],
            i["out_zero_point"],
        )
        q = arith.saturate(q, i["low"], i["high"])
    return q if table is None else table[q - arith.INT8_MIN]
