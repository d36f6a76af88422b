"""Pipeline depths and fixed costs in clock cycles: the RTL builds its registers from them, the
machine reference and the cost model add them up, and tests measure them in simulation.
"""

from __future__ import annotations

from codesign.arch import CHAIN_LENGTH, Arch
from codesign.isa import INSTRUCTION_BYTES

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
"""Post: operands, products, sum of a multiplier; the one of the low half is a cycle ahead."""
POST_SHIFT = 2
"""Post: a shift by multiples of 4, then one by less."""
POST_ROUND = 1
"""Post: rounding and zero point."""
POST_CLAMP = 1
"""Post: saturation."""
POST_CENTRE = 1
"""Post: zero points taken off both terms of the residual add."""
POST_ADD = 3
"""Post: operands, products, sum of a multiplier, which adds the residual's product."""
POST_ROWS = 5
"""Post: the residual's product digit by digit in LUTs, its high half a cycle behind."""
POST_TABLE = 2
"""Post: read of the table, then its selection."""


def post_requantize() -> int:
    """From sums at the input of post-processing to their requantised values."""
    return POST_BIAS + POST_MULTIPLY + POST_SHIFT + POST_ROUND + POST_CLAMP


def post(arch: Arch) -> int:
    """From sums at the input of post-processing to words at its output."""
    add = POST_CENTRE + POST_ADD + POST_SHIFT + POST_ROUND + POST_CLAMP
    return post_requantize() + add + POST_TABLE


def residual() -> int:
    """From sums at the input of post-processing to the residual words: the products of both meet in
    the last cycle of POST_ADD.
    """
    return post_requantize() + POST_ADD - 1 - POST_ROWS


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
    return ACT_READ + array(arch) + residual() - ACT_WORD - ACT_ADDRESS


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


def core_reset(arch: Arch) -> int:
    """Cycles for which a reset must hold the core: control on its way through the array is not
    cleared, but has left it by then.
    """
    return ACT_READ + array(arch) + arch.drain_steps


BURST_BEATS = 64
"""LOAD, SAVE: longest burst. Bursts end at multiples of it, hence never cross 4 KiB."""
LOAD_FIFO_BEATS = 512
"""LOAD: beats requested and not yet taken; one block memory. A burst needs room for BURST_BEATS."""
LOAD_JOBS = 4
"""LOAD: instructions whose bursts are requested ahead of the one that is being written."""
FETCH_BURST_BEATS = 32
"""FETCH: longest burst, likewise aligned; LOAD's bursts in between wait no longer than this."""
FETCH_FIFO_BEATS = 64
"""FETCH: beats requested and not yet taken."""
QUEUE_DEPTH = 16
"""FETCH: instructions in a unit's queue, besides the one that it offers."""
SAVE_WORDS = 32
"""SAVE: words read ahead of the bus; it asks for one less at a time."""
SAVE_LENGTHS = 4
"""SAVE: bursts whose addresses go ahead of their data."""
SAVE_OUTSTANDING = 15
"""SAVE: write bursts without a response."""

DECODE = 2
"""LOAD, SAVE: from the transfer of an instruction to its earliest start."""
ROW_OFFER = 4
"""From the start of a transfer, or the acceptance of its row before, to a row's address."""
BURST_OFFER = 3
"""From a row's address, or the acceptance of the row's burst before, to the offer of a burst."""
REQUEST = 1
"""From the acceptance of a burst to its address on the bus; one is accepted every 2 cycles."""
FETCH_CHOICE = 1
"""A burst of FETCH is accepted so many cycles after its offer; one of LOAD or SAVE at once."""
CREDIT = 2
"""FETCH: from the cycle that takes a beat to the offer of a burst that it makes room for."""
LOAD_CREDIT = CREDIT + 1
"""LOAD: likewise."""
LOAD_WALK = 2
"""LOAD: from its turn to write to the place of its first word."""
ROW_WALK = 3
"""LOAD, SAVE: cycles that the walk over words spends on each row but the last, at least."""
SAVE_WALK = LOAD_WALK
"""SAVE: from its start to its first request for a word of ACT."""
SAVE_PORT = 1
"""SAVE: from the cycle in which a word gets the port of ACT to its address at the memories."""
LOAD_PORT = 2
"""LOAD: likewise."""
SAVE_READ = ACT_WORD + 1
"""SAVE: from a word's address at the memories to its move into a beat at best."""
FETCH_TAKE = 3
"""FETCH: from a beat on the bus to the cycle in which it is taken."""
FETCH_JUDGE = 2
"""FETCH: from the cycle that takes an instruction's last beat to its verdict."""
FETCH_BEGIN = 1
"""FETCH: cycles spent on BEGIN beyond those on other instructions."""
QUEUE_PASS = 2
"""FETCH: from the verdict on an instruction to its offer to an idle unit."""
END_FLUSH = 2
"""FETCH: from the cycle in which END finds all units idle to the one in which it waits for the
trace."""
END_DONE = 2
"""FETCH: from the trace's flush to the end of the count."""
TRACE_DEPTH = 16
"""Trace: records in its queue, besides one per unit."""
TRACE_HOLD = 1
"""Trace: from a completion to the cycle in which its record can enter the queue."""
TRACE_OFFER = 3
"""Trace: from a record's leaving the queue to the offer of its burst."""
TRACE_CHOICE = 1
"""A burst of the trace is accepted so many cycles after its offer, like one of FETCH."""
TRACE_COUNT = 3
"""Trace: from the response to a record on the bus to the earliest end of the next one's wait."""


def burst_offer() -> int:
    """From the start of a transfer to the offer of its first burst."""
    return ROW_OFFER + BURST_OFFER


def load_request() -> int:
    """From the start of a LOAD (its tokens taken) to its first read address on the bus.

    The next LOAD starts when the last row of this one is being cut and LOAD_JOBS allow it.
    """
    return burst_offer() + REQUEST


def load_take() -> int:
    """From a beat on the bus to the cycle in which LOAD takes it: one per cycle, or one word per
    cycle where words are narrower, as long as CALC leaves the port.
    """
    return 3


def load_retire() -> int:
    """From the last beat of a LOAD on the bus to ``retired`` and ``give``; the word is written in
    the cycle before.
    """
    return load_take() + 2


def save_request() -> int:
    """From the start of a SAVE to its first write address on the bus."""
    return burst_offer() + REQUEST


def save_retire() -> int:
    """From the last response of a SAVE on the bus to ``retired`` and ``give``."""
    return 3


def fetch_request() -> int:
    """From a run's cycle 0, the first one counted, to its first read address on the bus."""
    return burst_offer() + FETCH_CHOICE + REQUEST - 1


def fetch_offer() -> int:
    """From the last beat of an instruction on the bus to its offer to an empty unit's queue.

    Instructions follow each other ``fetch_interval`` cycles apart at best; BEGIN takes FETCH_BEGIN
    more.
    """
    return FETCH_TAKE + FETCH_JUDGE + QUEUE_PASS


def fetch_interval(arch: Arch) -> int:
    """Cycles from one instruction to the next: its beats, its verdict, its way to the queue."""
    return INSTRUCTION_BYTES // arch.beat_bytes + 2
