"""A run as a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing open.

The format is Google's "Trace Event Format": complete events in microseconds, here 1 cycle =
1/clock. The array's track shows slots (cycles in which CALC occupies the array); what an
instruction still has in the pipeline afterwards is told in its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from codesign.artifact import Program
from codesign.isa import Base, Instruction, Mode, Opcode, Target, Unit
from codesign.report.trace import Execution, describe, layer_of

Event = dict[str, Any]
_PROCESS = 1
_LAYERS_TRACK = 0
_TRACKS = {Unit.LOAD: 10, Unit.CALC: 20, Unit.SAVE: 30}


def timeline(program: Program, execution: Execution) -> dict[str, Any]:
    """The trace-event document of one run of part ``infer``."""
    microseconds = 1.0 / program.arch.clock_mhz
    events = [*_layer_events(program, execution), *_unit_events(program, execution)]
    for event in events:
        event["ts"] *= microseconds
        event["dur"] *= microseconds
    names = {event["tid"]: event.pop("track") for event in events}
    return {
        "traceEvents": [*_names(program, names), *events],
        "displayTimeUnit": "ns",
        "otherData": {
            "program": program.name,
            "arch": program.arch.name,
            "clock_mhz": program.arch.clock_mhz,
            "seed": program.seed,
        },
    }


def _names(program: Program, tracks: dict[int, str]) -> Iterator[Event]:
    base = {"ph": "M", "pid": _PROCESS}
    yield {
        **base,
        "name": "process_name",
        "args": {"name": f"{program.name} on {program.arch.name}"},
    }
    for order, (tid, name) in enumerate(sorted(tracks.items())):
        yield {**base, "tid": tid, "name": "thread_name", "args": {"name": name}}
        yield {**base, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": order}}


def _event(name: str, tid: int, track: str, start: int, end: int, args: dict[str, Any]) -> Event:
    return {
        "name": name, "ph": "X", "pid": _PROCESS, "tid": tid, "track": track,
        "ts": start, "dur": end - start, "args": {"start_cycle": start, **args},
    }  # fmt: skip


def _layer_events(program: Program, execution: Execution) -> Iterator[Event]:
    for layer in program.layers:
        slots = [s for s in execution.slots if layer.first <= s.index < layer.last]
        if slots:
            end = slots[-1].start + slots[-1].cycles
            args = {"op": layer.op, "macs": layer.macs}
            yield _event(layer.name, _LAYERS_TRACK, "layers", slots[0].start, end, args)


def _unit_events(program: Program, execution: Execution) -> Iterator[Event]:
    layers = layer_of(program.layers)
    slot_ends = {slot.index: slot.start + slot.cycles for slot in execution.slots}
    busy: dict[int, int] = {}
    for span in execution.spans:
        if span.unit not in _TRACKS:
            continue
        end = slot_ends.get(span.index, span.end) if span.unit is Unit.CALC else span.end
        # a unit may begin a transfer before the last one's response: another row of its track
        tid = _TRACKS[span.unit]
        while busy.get(tid, 0) > span.start:
            tid += 1
        busy[tid] = end
        instruction = execution.instructions[span.index]
        name = " ".join(filter(None, [layers.get(span.index), _what(instruction)]))
        args = {"instruction": span.index, "completed_cycle": span.end, **describe(instruction)}
        yield _event(name, tid, span.unit.name, span.start, end, args)


def _what(instruction: Instruction) -> str:
    if instruction.opcode is Opcode.CALC:
        return Mode(instruction["mode"]).name.lower()
    base = Base(instruction["base"]).name.lower()
    if instruction.opcode is Opcode.LOAD:
        return f"{Target(instruction['target']).name} from {base}"
    return f"to {base}"
