"""Pipeline depths and fixed costs in clock cycles: the RTL builds its registers from them, the machine reference and the
cost model add them up, and tests measure them in simulation.
"""

from __future__ import annotations

from codesign.arch import CHAIN_LENGTH, Arch

TAP_READ = 3
"""CALC: from a tap's issue in the sequencer to its registered entry."""
ACT_ADDRESS = 6
"""CALC: from a tap's issue to its rows at the address ports of the activation memories."""
ACT_READ = 11
"""CALC: from a tap's issue to its masked activations at the array's lane 0."""
ACT_WORD = 4
"""From an address port of the activation memories to the selected word of a single pixel."""
CALC_DECODE = 4
"""From the transfer of an instruction to CALC to its earliest start."""
CALC_ACCEPT = 1
"""From the start of a CALC to the earliest transfer of the next one: CALC decodes one ahead."""
CALC_GAP = 0
"""Idle cycles between the last slot of a CALC and the earliest start of the next."""
CALC_FENCE = 1
"""From the cycle that ``calc_finish`` names to the start of a CALC with fence."""
CALC_RETIRE = ACT_ADDRESS
"""From the cycle that ``calc_finish`` names to the pulses ``retired`` and ``give``."""


ARRAY_EXPAND = 2
"""Array: a weight word spread by mode, meanwhile the running maximum of the activations."""
ARRAY_OPERAND = 1
"""Array: operand registers of a multiplier."""
ARRAY_PRODUCT = 1
"""Array: product register of a multiplier."""
ARRAY_ACCUMULATE = 2
"""Array: low half of the accumulator, then its high half."""
SELECT_RADIX = 3
"""Array: words that one level of the drain's selection merges (a LUT6 gates and ORs three)."""


def array_sum(arch: Arch) -> int:
    """From a tap's activations at lane 0 to the sums of its M products at the accumulators."""
    adders = (arch.in_channels // CHAIN_LENGTH - 1).bit_length()
    return ARRAY_EXPAND + ARRAY_OPERAND + ARRAY_PRODUCT + CHAIN_LENGTH + adders


def array_select(arch: Arch) -> int:
    """Levels that bring one of ``drain_steps`` words to the array's output."""
    words, levels = arch.drain_steps, 0
    while words > 1:
        words, levels = -(-words // SELECT_RADIX), levels + 1
    return levels


def array(arch: Arch) -> int:
    """From the last tap's activations at lane 0 to lane block 0's sums at the array's output."""
    return array_sum(arch) + ARRAY_ACCUMULATE + array_select(arch)


POST_BIAS = 2
"""Post: low half of the sum with the bias, then its high half."""
POST_MULTIPLY = 3
"""Post: operands, products, sum of a multiplier; meanwhile the high bits' products in LUTs."""
POST_COMBINE = 1
"""Post: the product of the high bits joins."""
POST_SHIFT = 2
"""Post: a shift by multiples of 16, then one by less."""
POST_ROUND = 1
"""Post: rounding and zero point."""
POST_CLAMP = 1
"""Post: saturation."""
POST_CENTRE = 1
"""Post: zero points taken off both terms of the residual add."""
POST_ADD = 4
"""Post: operands, products, then the sums of two chained multipliers."""
POST_TABLE = 2
"""Post: read of the table, then its selection."""


def post_requantize() -> int:
    """From sums at the input of post-processing to their requantised values."""
    return POST_BIAS + POST_MULTIPLY + POST_COMBINE + POST_SHIFT + POST_ROUND + POST_CLAMP


def post(arch: Arch) -> int:
    """From sums at the input of post-processing to words at its output."""
    add = POST_CENTRE + POST_ADD + POST_SHIFT + POST_ROUND + POST_CLAMP
    return post_requantize() + add + POST_TABLE


def residual(arch: Arch) -> int:
    """From sums at the input of post-processing to the residual words: they enter one DSP later."""
    return post_requantize() + 1


def calc_interval(arch: Arch, taps: int) -> int:
    """I: slots of a group. They hold its taps, and give every lane time to leave the array."""
    return max(taps, arch.drain_steps)


def calc_lead(arch: Arch, taps: int) -> int:
    """Slots of a group before its first tap: the taps of a short group fill its last slots.

    Groups then end at least ``drain_steps`` apart, whatever instruction they belong to.
    """
    return calc_interval(arch, taps) - taps


def calc_write(arch: Arch) -> int:
    """From the issue of a group's last tap to lane block 0's results in ACT, for output block 0.

    The cycle is told as a tap's issue: a tap that issues in the next one reads the results.
    The memories themselves are written ``ACT_ADDRESS`` cycles later.
    """
    return ACT_READ + array(arch) + post(arch) + 1 - ACT_ADDRESS


def calc_residual(arch: Arch) -> int:
    """From the issue of a group's last tap to the read of lane block 0's residual, output block 0.

    Told as a tap's issue, too: of a tap that issues in this cycle the memories are read together
    with the residual, and the residual holds results whose ``calc_write`` cycle is earlier.
    """
    return ACT_READ + array(arch) + residual(arch) - ACT_WORD - ACT_ADDRESS


def calc_finish(arch: Arch, groups: int, taps: int) -> int:
    """From the start of a CALC to the cycle (told as in ``calc_write``) of its last drain step.

    The cycle-exact schedule of CALC. A CALC is transferred in the first cycle in which its queue
    offers it and CALC_ACCEPT cycles have passed since the start of its predecessor. It starts in
    the first cycle S in which all of this holds:

    - CALC_DECODE cycles have passed since its transfer;
    - its predecessor has started, at S', and S >= S' + groups' * I' + CALC_GAP;
    - with fence: S >= S' + calc_finish(its predecessor) + CALC_FENCE;
    - the token counters that it waits for are not zero (a token given in cycle c counts from
      c + 1 on).

    S is the start cycle in trace records. Slot s of group g is cycle S + g*I + s; tap t issues in
    slot calc_lead + t. ``retired`` and ``give`` pulse in S + calc_finish + CALC_RETIRE, the end
    cycle in trace records, whether or not the last drain step's pixels are written.
    """
    slots = groups * calc_interval(arch, taps)
    return slots - 1 + arch.drain_steps - 1 + calc_write(arch)
