"""One run of a part: units act in the order of time, each event computed as a whole.

A CALC with all its groups, a burst with all its beats is one event. Data are moved when an
instruction starts; that order differs from the machine's only where a program leaves it to chance,
which ``hazards`` refuses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from codesign import isa, latency
from codesign.arch import Arch
from codesign.errors import MachineError
from codesign.isa import TOKEN_PEERS, Base, ErrorCode, Instruction, Opcode, Target, Unit
from codesign.reference import calc, dma, faults, memory, timing, trace, units
from codesign.reference.hazards import Clock, Hazards
from codesign.reference.memory import ByteArray, Memories, Transfer
from codesign.reference.part import Part, refuse
from codesign.reference.queues import Queued, UnitState
from codesign.reference.save import Save
from codesign.reference.timing import Calendar, Dram
from codesign.reference.tokens import Tokens
from codesign.reference.trace import TraceRecord

__all__ = ["Execution", "Setting", "TraceRecord"]

FETCH_START = -1
"""Cycle of FETCH's start: cycle 0 is the first one that the cycle counter counts."""
_NEVER = sys.maxsize
_DECODE = {
    Unit.LOAD: latency.DECODE,
    Unit.CALC: latency.CALC_DECODE,
    Unit.SAVE: latency.DECODE,
}
"""From a unit's taking an instruction to its earliest start."""
_UNITS = {Opcode.LOAD: Unit.LOAD, Opcode.CALC: Unit.CALC, Opcode.SAVE: Unit.SAVE}


@dataclass(frozen=True)
class Setting:
    """What a run works on: the machine's lasting state and its surroundings."""

    arch: Arch
    memories: Memories
    buffers: Mapping[Base, ByteArray]
    addresses: Mapping[Base, int]
    dram: Dram
    hazards: Hazards | None
    compute: bool
    trace: bool


class Execution:
    """One run of ``count`` instructions from byte ``offset`` of the program buffer."""

    def __init__(self, setting: Setting, offset: int, count: int) -> None:
        self.setting, self._count = setting, count
        self._part = Part(
            setting.arch,
            setting.buffers[Base.PROGRAM],
            setting.addresses[Base.PROGRAM],
            offset,
            count,
        )
        self.trace: list[TraceRecord] = []
        self._tokens = Tokens()
        beat = setting.arch.beat_bytes
        self._reads, self._writes = dma.ReadChannel(setting.dram), dma.WriteChannel(setting.dram)
        self._load = units.Load(beat, self._reads)
        self._save = Save(beat, self._writes)
        self._fetch = units.Fetch(
            FETCH_START,
            count,
            isa.INSTRUCTION_BYTES // beat,
            setting.addresses[Base.PROGRAM] + offset,
            beat,
            self._reads,
        )
        regions = range(setting.arch.regions)
        self._read_ports = [Calendar(latency.ACT_ADDRESS) for _ in regions]
        ahead = latency.calc_write(setting.arch) + latency.ACT_ADDRESS
        self._write_ports = [Calendar(ahead) for _ in regions]
        self._units = {unit: UnitState() for unit in TOKEN_PEERS}
        self._clocks = {unit: dict.fromkeys(TOKEN_PEERS, 0) for unit in TOKEN_PEERS}
        self._slot_end = self._finished = self._last_end = 0
        self._calc = dict.fromkeys(
            ("busy", "active", "wait_token", "wait_fence", "wait_instruction"), 0
        )
        self._recorder = trace.Recorder(beat, self._writes) if setting.trace else None
        self._done: int | None = None
        self._peeked: tuple[int, Opcode | None] = -1, None
        """The next instruction's index and opcode."""

    def run(self) -> int:
        """Execute; the cycle of END's completion, counted from the doorbell.

        Raises
        ------
        MachineError
            The machine stops with that code and index.
        ProgramError
            The program leaves its result to chance.
        """
        self._part.check()
        if self.setting.hazards:
            self.setting.hazards.begin_run(self._sizes)
        while self._done is None:
            self._act()
        self._tokens.check()
        return self._done

    def _act(self) -> None:
        """The first of what can happen next; LOAD and SAVE then go on alone before the second."""
        found, first, second = None, 0, None
        for cycle, action in self._actions():
            if found is None:
                found, first = action, cycle
            elif cycle < first:
                found, first, second = action, cycle, first
            elif second is None or cycle < second:
                second = cycle
        if found == self._step_load:
            self._load_until(first, second)
            return
        (found or self._stuck)(first)
        if found == self._step_save and not self._recorder:
            self._save_until(second)

    def fill(self) -> None:
        """Execute a part of LOADs for what they leave in the memories; it takes no time.

        Raises
        ------
        ValueError
            Other instructions, or tokens.
        MachineError, ProgramError
            As ``run``.
        """
        self._part.check()
        if self.setting.hazards:
            self.setting.hazards.begin_run(self._sizes)
        clock = dict.fromkeys(TOKEN_PEERS, 0)
        for index in range(self._count):
            instruction = self._part.decoded(index)
            if instruction.opcode not in (Opcode.BEGIN, Opcode.LOAD, Opcode.END):
                raise ValueError(
                    f"instruction {index} is a {instruction.opcode.name}: run the part"
                )
            if instruction.opcode is Opcode.LOAD:
                if instruction["wait"] or instruction["signal"]:
                    raise ValueError(f"instruction {index} has tokens: run the part")
                self._transfer(Unit.LOAD, index, clock, instruction)
                clock[Unit.LOAD] += 1

    def _save_until(self, limit: int | None) -> None:
        """Let SAVE go on alone before that cycle: it holds nobody up until it completes."""
        cycle = self._save.next_cycle()
        while cycle is not None and (limit is None or cycle < limit):
            self._step_save(cycle)
            cycle = self._save.next_cycle()

    def _load_until(self, cycle: int, limit: int | None) -> None:
        """Let LOAD act in that cycle and go on alone before ``limit``: it delays FETCH at most, and
        until it completes only its own next instruction can start for it."""
        state = self._units[Unit.LOAD]
        completed = len(state.running)
        while True:
            self._step_load(cycle, _NEVER if limit is None else limit)
            if len(state.running) > completed:
                return
            start = self._start_cycle(Unit.LOAD, state) if state.queue else None
            if start is not None:
                limit = start if limit is None else min(limit, start)
            due = self._load.next_cycle()
            if due is None or (limit is not None and due >= limit):
                return
            cycle = due

    @property
    def _sizes(self) -> dict[Base, int]:
        return {base: len(buffer) for base, buffer in self.setting.buffers.items()}

    # --- what can happen next --------------------------------------------------------------
    def _actions(self) -> Iterable[tuple[int, Callable[[int], None]]]:
        ask = self._fetch.ask_cycle()
        load_first = ask is not None and self._load.goes_first(ask)
        if ask is not None and not load_first:
            yield ask, self._ask
        dispatch = self._dispatch_cycle()
        if dispatch is not None:
            yield dispatch, self._dispatch
        for unit, state in self._units.items():
            if state.queue:
                start = self._start_cycle(unit, state)
                if start is not None:
                    yield start, partial(self._start, unit)
        load, save = self._load.next_cycle(), self._save.next_cycle()
        if load is not None:
            yield load, self._step_load
        if ask is not None and load_first:
            yield ask, self._ask
        yield from self._writers(save)

    def _writers(self, save: int | None) -> Iterable[tuple[int, Callable[[int], None]]]:
        """SAVE and the trace, in the order in which they get the address channel."""
        record = None if self._recorder is None else self._recorder.next_cycle()
        save_first = record is not None and self._save.goes_first(record)
        if save is not None and save_first:
            yield save, self._step_save
        if record is not None and self._recorder is not None:
            yield record, self._recorder.step
        if save is not None and not save_first:
            yield save, self._step_save

    def _stuck(self, cycle: int) -> None:
        waiting = [s.queue[0].index for s in self._units.values() if s.queue]
        index = min(waiting, default=self._fetch.next_index)
        raise MachineError(
            f"no unit can go on: instruction {index} waits for a token that nobody gives",
            ErrorCode.WATCHDOG,
            index,
        )

    # --- FETCH -----------------------------------------------------------------------------
    def _ask(self, _: int) -> None:
        self._fetch.ask()

    def _dispatch_cycle(self) -> int | None:
        """When the next instruction goes to its queue or, an END, to its end."""
        cycle = self._fetch.judge_cycle()
        if cycle is None:
            return None
        index = self._fetch.next_index
        if self._peeked[0] != index:
            self._peeked = index, self._part.opcode(index)
        opcode = self._peeked[1]
        unit = _UNITS.get(opcode) if opcode else None
        if unit is not None:
            state = self._units[unit]
            number = len(state.arrivals) - latency.QUEUE_DEPTH - 1
            if number >= 0:
                accepted = state.accepted(number)
                return None if accepted is None else max(cycle, accepted + 1)
        elif opcode is Opcode.END:
            if any(s.queue or s.active for s in self._units.values()):
                return None
            return max(cycle + 1, self._last_end)
        return cycle

    def _dispatch(self, cycle: int) -> None:
        index = self._fetch.next_index
        instruction = self._part.decoded(index)
        opcode = instruction.opcode
        if opcode is Opcode.BEGIN:
            cycle += latency.FETCH_BEGIN
            self._record(TraceRecord(Unit.FETCH, index, 0, cycle))
        elif opcode is Opcode.END:
            judged = self._fetch.judge_cycle() or 0
            self._record(TraceRecord(Unit.FETCH, index, judged, cycle + 1))
            self._done = self._flush(cycle + latency.END_FLUSH) + latency.END_DONE
        else:
            state = self._units[_UNITS[instruction.opcode]]
            state.arrivals.append(cycle + latency.QUEUE_PASS)
            state.queue.append(Queued(index, instruction, cycle + latency.QUEUE_PASS))
        self._fetch.hand_out(cycle)

    def _record(self, record: TraceRecord) -> None:
        if self._recorder is None:
            self.trace.append(record)
        else:
            self._recorder.add(record)

    def _flush(self, cycle: int) -> int:
        """The cycle in which all trace records are written."""
        recorder = self._recorder
        if recorder is None:
            return cycle
        while (due := recorder.next_cycle()) is not None:
            recorder.step(due)
        self.trace = recorder.kept
        return max(cycle, recorder.idle)

    # --- units -----------------------------------------------------------------------------
    def _start_cycle(self, unit: Unit, state: UnitState) -> int | None:
        """When a unit starts the instruction at the head of its queue; None if not known yet."""
        head = state.queue[0]
        tokens = self._tokens.available(unit, head.instruction["wait"])
        if tokens is None:
            return None
        accepted = state.accepted(len(state.starts))
        free = self._free(unit, head)
        if accepted is None or free is None:
            return None
        return max(accepted + _DECODE[unit], tokens, free)

    def _free(self, unit: Unit, head: Queued) -> int | None:
        if unit is Unit.LOAD:
            return self._load.free()
        if unit is Unit.SAVE:
            return self._save.free()
        if not self._units[unit].starts:
            return 0
        slots = self._slot_end + latency.CALC_GAP
        return (
            max(slots, self._finished + latency.CALC_FENCE) if head.instruction["fence"] else slots
        )

    def _start(self, unit: Unit, cycle: int) -> None:
        state, clock = self._units[unit], self._clocks[unit]
        head = state.queue.popleft()
        tokens = self._tokens.available(unit, head.instruction["wait"]) or 0
        decoded = (state.accepted(len(state.starts)) or 0) + _DECODE[unit]
        head.checked, head.ready = (decoded - 1, decoded), max(decoded, tokens)
        state.lacks.append((decoded, head.ready))
        for known in self._tokens.take(unit, head.instruction["wait"], cycle):
            for peer, number in known.items():
                clock[peer] = max(clock[peer], number)
        head.start, head.clock, head.number = cycle, dict(clock), len(state.starts) + 1
        clock[unit] = head.number
        state.starts.append(cycle)
        state.active.append(head)
        if unit is Unit.CALC:
            self._start_calc(head, decoded, tokens)
        else:
            self._start_transfer(unit, head)

    def _finish(self, unit: Unit, end: int) -> None:
        """The unit's oldest instruction completes: its tokens carry what it knew, and itself."""
        head = self._units[unit].active.popleft()
        known = head.clock | {unit: head.number}
        self._tokens.give(unit, head.instruction["signal"], end + 1, known)
        self._units[unit].running.append((head.start + 1, end))
        self._units[unit].busy += [head.checked, (head.ready, end)]
        self._last_end = max(self._last_end, end)
        self._record(TraceRecord(unit, head.index, head.start, end))

    def _start_calc(self, head: Queued, decoded: int, tokens: int) -> None:
        arch, memories, i = self.setting.arch, self.setting.memories, head.instruction
        refuse(head.index, faults.calc_faults(arch, i))
        path = calc.walk(arch, i, memories.taps(i["tap_base"], i["taps"]))
        cycles = timing.calc_cycles(arch, i, head.start)
        calc.check_places(arch, head.index, path)
        if self.setting.hazards:
            useful = calc.matters(memories, i)
            self.setting.hazards.calc(head.index, head.clock, i, path, useful, cycles)
        calc.check_shifts(head.index, i, memories)
        self._book(head.index, i, path, cycles)
        if self.setting.compute:
            calc.execute(memories, i, path, calc.weights(memories, i))
        here = max(self._slot_end, decoded)
        ready = max(here, tokens)
        self._calc["wait_instruction"] += here - self._slot_end
        self._calc["wait_token"] += ready - here
        self._calc["wait_fence"] += head.start - ready
        self._calc["busy"] += cycles.slot_end - head.start
        self._calc["active"] += cycles.source.size
        self._slot_end, self._finished = cycles.slot_end, cycles.finish
        self._finish(Unit.CALC, cycles.finish + latency.CALC_RETIRE)

    def _book(self, index: int, i: Instruction, path: calc.Walk, cycles: timing.CalcCycles) -> None:
        """Reserve the ports of ACT, in cycles of the memories' address ports."""
        ports = latency.ACT_ADDRESS
        self._write_ports[i["dst_region"]].book(path.grid.of_written(cycles.write).ravel() + ports)
        reads = [(i["src_region"], cycles.source.ravel())]
        if cycles.residual is not None:
            reads.append((i["res_region"], path.grid.of_written(cycles.residual).ravel()))
        for region, wanted in reads:
            clash = self._read_ports[region].book(wanted + ports)
            if clash is not None and self.setting.hazards:
                self.setting.hazards.clash(index, region, clash - ports)

    def _start_transfer(self, unit: Unit, head: Queued) -> None:
        setting, i = self.setting, head.instruction
        transfer = self._transfer(unit, head.index, head.clock, i)
        todo = list(
            dma.bursts(transfer, setting.addresses[Base(i["base"])], setting.arch.beat_bytes)
        )
        if unit is Unit.LOAD:
            port = self._write_ports[i["region"]] if transfer.target is Target.ACT else None
            self._load.start(head.start, transfer, todo, port)
        else:
            self._save.start(head.start, transfer, todo, self._read_ports[i["region"]])

    def _transfer(self, unit: Unit, index: int, clock: Clock, i: Instruction) -> Transfer:
        """Check what a LOAD or SAVE moves, and move it."""
        setting, base = self.setting, Base(i["base"])
        address, size = setting.addresses[base], self._sizes[base]
        refuse(index, faults.transfer_faults(setting.arch, i, size, address))
        transfer = Transfer.of(setting.arch, i)
        if setting.hazards:
            setting.hazards.transfer(unit, index, clock, base, transfer)
        if unit is Unit.SAVE:
            if setting.compute:
                memory.save(setting.memories, transfer, setting.buffers[base])
        elif setting.compute or transfer.target is not Target.ACT:
            memory.load(setting.memories, transfer, setting.buffers[base])
        return transfer

    def _step_load(self, cycle: int, quiet: int = 0) -> None:
        job = self._load.step(cycle, max(cycle, quiet))
        if job is not None:
            self._finish(Unit.LOAD, job.end)

    def _step_save(self, cycle: int) -> None:
        end = self._save.step(cycle)
        if end is not None:
            self._finish(Unit.SAVE, end)

    def counters(self) -> dict[str, int]:
        """After ``run``: what ``registers.COUNTERS`` count."""
        if self._done is None:
            raise AssertionError("nothing has run yet")
        load, save = self._units[Unit.LOAD], self._units[Unit.SAVE]
        load_busy, load_running, load_lacks = load.levels(self._done)
        save_busy, _, save_lacks = save.levels(self._done)
        waited = self._calc["wait_instruction"] + self._done - self._slot_end
        return {
            "CYCLES": self._done,
            "LOAD_BUSY": load_busy,
            "LOAD_WAIT_TOKEN": load_lacks,
            "LOAD_WAIT_DRAM": load_running - self._load.supplied,
            "LOAD_WAIT_PORT": self._load.waits_port,
            "CALC_BUSY": self._calc["busy"],
            "CALC_ACTIVE": self._calc["active"],
            "CALC_WAIT_TOKEN": self._calc["wait_token"],
            "CALC_WAIT_FENCE": self._calc["wait_fence"],
            "CALC_WAIT_INSTRUCTION": waited,
            "SAVE_BUSY": save_busy,
            "SAVE_WAIT_TOKEN": save_lacks,
            "SAVE_WAIT_PORT": self._save.waits_port,
            "SAVE_WAIT_DRAM": self._save.waits_dram,
            "READ_BEATS": self._reads.beats,
            "WRITE_BEATS": self._writes.beats,
            "TRACE_DROPPED": self._recorder.dropped if self._recorder else 0,
        }
