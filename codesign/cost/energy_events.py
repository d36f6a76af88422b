"""How many energy events a program takes: from its instructions, and from the counters of a run.

What an instruction always does is a constant of the program; what the hardware counts follows the
counters: taps that entered the array (CALC_ACTIVE) and beats on the bus. The taps' modes are the
program's, the same in every inference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from codesign.arch import PARAM_RECORD_BITS, TAP_ENTRY_BITS, Arch
from codesign.artifact import Program
from codesign.cost.energy import (
    GROUPS,
    HZ_PER_MHZ,
    MAC_OF,
    Coefficients,
    Energy,
    EnergyModel,
    Event,
)
from codesign.isa import Instruction, Mode, Opcode, Target
from codesign.reference.memory import Transfer
from codesign.reference.predict import predicted_run
from codesign.report.trace import instructions, layer_of
from codesign.report.traffic import traffic

BYTE_OF = {
    Target.ACT: "act_byte",
    Target.WGT: "wgt_byte",
    Target.PARAM: "param_byte",
    Target.TAP: "tap_byte",
    Target.TABLE: "table_byte",
}
Counts = Counter[str]


def energy_model(program: Program, coefficients: Coefficients) -> EnergyModel:
    """The program's energy on a board with these coefficients."""
    array, rest = inference_counts(program)
    taps = _taps(program)
    beat = program.arch.beat_bytes
    counters: dict[str, dict[str, float]] = {
        name: {"CALC_ACTIVE": count / taps} for name, count in array.items()
    }
    counters["dram_byte"] = {"READ_BEATS": beat, "WRITE_BEATS": beat}
    events = tuple(
        Event(name, group, coefficients.energy_pj[name], rest[name], counters.get(name, {}))
        for group, names in GROUPS.items()
        for name in names
    )
    at = coefficients
    return EnergyModel(
        at.family, at.board, at.origin, at.uncertainty, at.static_w, events, layer_counts(program)
    )


def predicted_energy(program: Program) -> Energy | None:
    """Energy of an inference at the architecture's clock, from the machine reference's counters;
    None where the program has no coefficients.

    On the same DRAM the hardware counts the same, and its report tells this energy.
    """
    if program.energy is None:
        return None
    run = predicted_run(program, check=False)
    return program.energy.estimate(run.counters, run.cycles / (program.arch.clock_mhz * HZ_PER_MHZ))


def inference_counts(program: Program) -> tuple[Counts, Counts]:
    """Events of an inference but for DRAM's: those of taps entering the array, and all others."""
    array, rest = Counts(), Counts()
    for instruction in instructions(program, program.infer):
        _count(array, _array(program.arch, instruction))
        _count(rest, _others(program.arch, instruction))
    return array, rest


def layer_counts(program: Program) -> dict[str, Mapping[str, float]]:
    """Layer -> event -> how many: instructions of its span, DRAM bytes as in
    ``report.traffic``."""
    names = layer_of(program.layers)
    counts = {layer.name: Counts() for layer in program.layers}
    for index, instruction in enumerate(instructions(program, program.infer)):
        if index in names:
            _count(counts[names[index]], _array(program.arch, instruction))
            _count(counts[names[index]], _others(program.arch, instruction))
    for name, moved in traffic(program).items():
        if name is not None:
            counts[name]["dram_byte"] += moved.read + moved.written
    return {name: dict(found) for name, found in counts.items()}


def _count(counts: Counts, more: Mapping[str, int]) -> None:
    """Add those that there are."""
    for name, count in more.items():
        if count:
            counts[name] += count


def _taps(program: Program) -> int:
    """Cycles in which a tap enters the array; 1 where there are none, to divide by."""
    calcs = (i for i in instructions(program, program.infer) if i.opcode is Opcode.CALC)
    return sum(i["groups"] * i["taps"] for i in calcs) or 1


def _array(arch: Arch, i: Instruction) -> dict[str, int]:
    """Events of a CALC's taps: every lane works, on outputs that are not wanted too."""
    if i.opcode is not Opcode.CALC:
        return {}
    slots, mode = i["groups"] * i["taps"], Mode(i["mode"])
    lanes = arch.pixels * arch.in_channels
    return {
        MAC_OF[mode]: slots * (arch.macs_per_cycle if mode is Mode.DENSE else lanes),
        "act_byte": slots * lanes,
        "wgt_byte": 0 if mode is Mode.MAX else slots * arch.wgt_word_bytes,
        "tap_byte": slots * TAP_ENTRY_BITS // 8,
    }


def _others(arch: Arch, i: Instruction) -> dict[str, int]:
    """Events of results and transfers."""
    if i.opcode is Opcode.CALC:
        results = _written(arch, i) * i["planes"] * arch.in_channels
        steps = i["groups"] * i["planes"] * arch.pixels // arch.drain
        return {
            "requantize": results,
            "act_byte": results * (2 if i["residual"] else 1),
            "param_byte": steps * arch.in_channels * PARAM_RECORD_BITS // 8,
            "table_byte": results if i["table"] else 0,
        }
    if i.opcode in (Opcode.LOAD, Opcode.SAVE):
        transfer = Transfer.of(arch, i)
        return {BYTE_OF[transfer.target]: transfer.words.size * transfer.word_bytes}
    return {}


def _written(arch: Arch, i: Instruction) -> int:
    """Grid pixels of a CALC that are output pixels."""
    return sum(_lines(arch, i))


def _lines(arch: Arch, i: Instruction) -> Iterator[int]:
    pixels, width = i["groups"] * arch.pixels, i["grid_width"]
    for line in range(-(-pixels // width)):
        if i["y_start"] + line < i["out_height"]:
            yield min(width, i["out_width"], pixels - line * width)
