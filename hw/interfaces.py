"""Ports between the accelerator's components. One handshake everywhere: a transfer happens in a
cycle with valid and ready.

``valid`` never waits for ``ready``. No ``ready`` depends combinationally on its own ``valid``;
within a unit it may on another stream's (LOAD takes a beat when it knows its word's place). Between
units every output is a register or a few gates behind one, so that no path runs through two.
"""

from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from codesign.arch import TAP_ENTRY_BITS, Arch
from codesign.isa import BANK, INSTRUCTION_BYTES, REGION, ROW

INDEX_BITS = 24
"""Width of an instruction's index within its part."""


class Issued(data.StructLayout):
    """An instruction on its way to a unit."""

    def __init__(self) -> None:
        super().__init__({"word": 8 * INSTRUCTION_BYTES, "index": INDEX_BITS})


def instructions() -> stream.Signature:
    """From FETCH's queue to a unit."""
    return stream.Signature(Issued())


class UnitControl(Signature):
    """What a unit shares with tokens, counters, trace and fault logic; seen from the unit.

    now: cycles since the doorbell. stop: start nothing more (fault or soft reset); what is on the
    bus runs to its end. available/take: token counters of the two peers (``isa.TOKEN_PEERS``) are
    non-zero / take one. give: add one. retired: one-cycle pulse on completion, with the
    instruction's index and start cycle (the end is ``now``). fault: one-cycle pulse with code and
    index. idle: nothing in execution and nothing accepted. FETCH has no ``tokens``.
    """

    def __init__(self, tokens: bool = True) -> None:
        super().__init__({
            "now": In(32),
            "stop": In(1),
            **({"available": In(2), "take": Out(2), "give": Out(2)} if tokens else {}),
            "retired": Out(1),
            "retired_index": Out(INDEX_BITS),
            "retired_start": Out(32),
            "fault": Out(1),
            "fault_code": Out(4),
            "fault_index": Out(INDEX_BITS),
            "oldest_index": Out(INDEX_BITS),
            "idle": Out(1),
        })  # fmt: skip


class ActAddress(data.StructLayout):
    """One pixel's word in the activation memories."""

    def __init__(self) -> None:
        super().__init__({"region": REGION, "bank": BANK, "row": ROW})


class ActWrite(Signature):
    """LOAD to the activation memories; ready falls while CALC holds that region's write port.

    ``ready`` is a register: ``address.region`` holds from the cycle before ``valid`` rises.
    """

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "valid": Out(1),
            "ready": In(1),
            "address": Out(ActAddress()),
            "data": Out(8 * arch.act_word_bytes),
        })  # fmt: skip


class ActRead(Signature):
    """SAVE to the activation memories: requests with a handshake, words back in order after a fixed
    latency, unstoppable."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({
            "valid": Out(1),
            "ready": In(1),
            "address": Out(ActAddress()),
            "word_valid": In(1),
            "word": In(8 * arch.act_word_bytes),
        })  # fmt: skip


class MemoryWrite(Signature):
    """LOAD to WGT, PARAM, TAP or TABLE (``isa.Target``): always taken at once; data in the low
    bits."""

    def __init__(self, arch: Arch) -> None:
        widest = max(arch.wgt_word_bytes * 8, arch.param_word_bytes * 8, TAP_ENTRY_BITS)
        super().__init__(
            {"valid": Out(1), "target": Out(3), "address": Out(20), "data": Out(widest)}
        )


class CalcStatus(Signature):
    """CALC's levels for the counters, one bit per cause (``codesign.registers``)."""

    def __init__(self) -> None:
        super().__init__({
            "busy": Out(1),
            "active": Out(1),
            "wait_token": Out(1),
            "wait_fence": Out(1),
            "wait_instruction": Out(1),
        })  # fmt: skip


def calc_ports(arch: Arch) -> dict[str, object]:
    """The ports of ``hw.calc.Calc``: the compute pipeline with all on-chip memories."""
    return {
        "instructions": In(instructions()),
        "control": Out(UnitControl()),
        "status": Out(CalcStatus()),
        "load_act": In(ActWrite(arch)),
        "load_memory": In(MemoryWrite(arch)),
        "save_act": In(ActRead(arch)),
        "load_wait_port": Out(1),
        "save_wait_port": Out(1),
    }
