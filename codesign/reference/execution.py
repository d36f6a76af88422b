"""One run of a part: units act in the order of time, each event computed as a whole.

A CALC with all its groups, a burst with all its beats is one event. Data are moved when an
instruction starts; that order differs from the machine's only where a program leaves it to chance,
which ``hazards`` refuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from codesign import isa
from codesign.arch import Arch
from codesign.errors import EncodingError, MachineError
from codesign.isa import TOKEN_PEERS, Base, ErrorCode, Instruction, Opcode, Target, Unit
from codesign.reference import calc, dma, faults, memory, timing
from codesign.reference.hazards import Hazards
from codesign.reference.memory import ByteArray, Memories, Transfer
from codesign.reference.timing import Calendar, Dram
from codesign.reference.tokens import Tokens

_UNITS = {Opcode.LOAD: Unit.LOAD, Opcode.CALC: Unit.CALC, Opcode.SAVE: Unit.SAVE}


@dataclass(frozen=True)
class TraceRecord:
    """When an instruction took its tokens and began, and when it completed and gave its own."""

    unit: Unit
    index: int
    start: int
    end: int


@dataclass
class _Queued:
    index: int
    instruction: Instruction
    arrival: int


@dataclass
class _State:
    """A unit: what waits for it, what it does, what it did."""

    queue: deque[_Queued] = field(default_factory=deque)
    free: int = 0
    starts: list[int] = field(default_factory=list)
    current: _Queued | None = None
    work: dma.Load | dma.Save | None = None
    busy: int = 0
    wait_token: int = 0
    wait_fence: int = 0
    wait_instruction: int = 0


@dataclass(frozen=True)
class Setting:
    """What a run works on: the machine's lasting state and its surroundings."""

    arch: Arch
    memories: Memories
    buffers: Mapping[Base, ByteArray]
    addresses: Mapping[Base, int]
    dram: Dram
    hazards: Hazards | None


class Execution:
    """One run of ``count`` instructions from byte ``offset`` of the program buffer."""

    def __init__(self, setting: Setting, offset: int, count: int) -> None:
        self.setting, self._offset, self._count = setting, offset, count
        self.trace: list[TraceRecord] = []
        self.counters: dict[str, int] = {}
        self._tokens = Tokens()
        self._reads, self._writes = dma.ReadChannel(setting.dram), dma.WriteChannel(setting.dram)
        regions = range(setting.arch.regions)
        self._read_ports = [Calendar() for _ in regions]
        self._write_ports = [Calendar() for _ in regions]
        self._units = {unit: _State() for unit in TOKEN_PEERS}
        self._clocks = {unit: dict.fromkeys(TOKEN_PEERS, 0) for unit in TOKEN_PEERS}
        beats = isa.INSTRUCTION_BYTES // setting.arch.beat_bytes
        self._fetch = dma.Fetch(count, beats)
        self._results = 0
        self._calc_active = 0
        self._wait_port = dict.fromkeys(TOKEN_PEERS, 0)
        self._done: int | None = None

    def run(self) -> int:
        """Execute; the cycle of END's completion, counted from the doorbell.

        Raises
        ------
        MachineError
            The machine stops with that code and index.
        ProgramError
            The program leaves its result to chance.
        """
        if self.setting.hazards:
            sizes = {base: len(buffer) for base, buffer in self.setting.buffers.items()}
            self.setting.hazards.begin_run(sizes)
        while self._done is None:
            cycle, action = min(self._actions(), key=lambda a: a[0], default=(0, self._stuck))
            action(cycle)
        self._tokens.check()
        self._count_up(self._done)
        return self._done

    # --- what can happen next --------------------------------------------------------------
    def _actions(self) -> Iterable[tuple[int, Callable[[int], None]]]:
        ask = self._fetch.ask_cycle()
        if ask is not None:
            yield ask, self._ask
        dispatch = self._dispatch_cycle()
        if dispatch is not None:
            yield dispatch, self._dispatch
        for unit, state in self._units.items():
            if state.work is not None:
                yield state.work.next_cycle(), partial(self._step, unit)
            elif state.queue:
                start = self._start_cycle(unit, state)
                if start is not None:
                    yield start, partial(self._start, unit)

    def _stuck(self, cycle: int) -> None:
        waiting = [s.queue[0] for s in self._units.values() if s.queue]
        index = min([q.index for q in waiting], default=self._fetch.next_index)
        raise MachineError(
            f"no unit can go on: instruction {index} waits for a token that nobody gives",
            ErrorCode.WATCHDOG,
            index,
        )

    # --- FETCH -----------------------------------------------------------------------------
    def _ask(self, cycle: int) -> None:
        self._fetch.ask(cycle, self._reads)

    def _dispatch_cycle(self) -> int | None:
        cycle = self._fetch.dispatch_cycle()
        if cycle is None:
            return None
        opcode = _opcode(self._word(self._fetch.next_index))
        unit = _UNITS.get(opcode) if opcode else None
        if unit is not None:
            state = self._units[unit]
            number = len(state.starts) + len(state.queue) - dma.QUEUE
            if number >= len(state.starts):
                return None
            if number >= 0:
                cycle = max(cycle, state.starts[number] + 1)
        elif opcode is Opcode.END:
            if any(s.queue or s.work for s in self._units.values()):
                return None
            cycle = max(cycle, *(s.free for s in self._units.values()), self._results)
        return cycle

    def _word(self, index: int) -> bytes:
        first = self._offset + index * isa.INSTRUCTION_BYTES
        word = self.setting.buffers[Base.PROGRAM][first : first + isa.INSTRUCTION_BYTES]
        if len(word) < isa.INSTRUCTION_BYTES:
            self._stop(index, ErrorCode.ADDRESS_RANGE, "lies beyond the program buffer")
        return word.tobytes()

    def _dispatch(self, cycle: int) -> None:
        index = self._fetch.dispatch(cycle)
        try:
            instruction = isa.decode(self._word(index))
        except EncodingError as error:
            known = _opcode(self._word(index))
            code = ErrorCode.MALFORMED if known else ErrorCode.ILLEGAL_OPCODE
            raise MachineError(f"instruction {index}: {error}", code, index) from error
        opcode = instruction.opcode
        if (opcode is Opcode.BEGIN) != (index == 0):
            self._stop(index, ErrorCode.MALFORMED, "BEGIN must be the first, and nothing else")
        if (opcode is Opcode.END) != (index == self._count - 1):
            self._stop(index, ErrorCode.MALFORMED, "END must be the last, and nothing else")
        if opcode is Opcode.BEGIN:
            self._refuse(index, faults.begin_faults(self.setting.arch, instruction))
        elif opcode is Opcode.END:
            self._done = cycle + dma.DONE
        else:
            self._units[_UNITS[opcode]].queue.append(_Queued(index, instruction, cycle + 1))

    def _refuse(self, index: int, found: Iterable[faults.Fault]) -> None:
        for code, what in found:
            self._stop(index, code, what)

    def _stop(self, index: int, code: ErrorCode, what: str) -> None:
        raise MachineError(f"instruction {index}: {what}", code, index)

    # --- units -----------------------------------------------------------------------------
    def _start_cycle(self, unit: Unit, state: _State) -> int | None:
        head = state.queue[0]
        tokens = self._tokens.available(unit, head.instruction["wait"])
        if tokens is None:
            return None
        cycle = max(state.free, head.arrival, tokens)
        if unit is Unit.CALC and head.instruction["fence"]:
            cycle = max(cycle, self._results + timing.FENCE)
        return cycle

    def _start(self, unit: Unit, cycle: int) -> None:
        state, clock = self._units[unit], self._clocks[unit]
        head = state.queue.popleft()
        self._note_waits(unit, state, head, cycle)
        state.starts.append(cycle)
        for known in self._tokens.take(unit, head.instruction["wait"], cycle):
            for peer, number in known.items():
                clock[peer] = max(clock[peer], number)
        if unit is Unit.CALC:
            self._calc(head, cycle)
        else:
            state.current = head
            state.work = self._transfer(unit, head, cycle)

    def _note_waits(self, unit: Unit, state: _State, head: _Queued, cycle: int) -> None:
        tokens = self._tokens.available(unit, head.instruction["wait"]) or 0
        ready = max(state.free, head.arrival)
        state.wait_instruction += ready - state.free
        state.wait_token += max(0, tokens - ready)
        state.wait_fence += cycle - max(ready, tokens)

    def _finish(self, unit: Unit, head: _Queued, start: int, end: int) -> None:
        """Completion: the tokens carry what the unit knew, this instruction included."""
        clock = self._clocks[unit]
        clock[unit] += 1
        signal = head.instruction["signal"]
        self._tokens.give(unit, signal, end + timing.TOKEN, dict(clock))
        self.trace.append(TraceRecord(unit, head.index, start, end))

    def _calc(self, head: _Queued, start: int) -> None:
        arch, memories, i = self.setting.arch, self.setting.memories, head.instruction
        self._refuse(head.index, faults.calc_faults(arch, i))
        path = calc.walk(arch, i, memories.taps(i["tap_base"], i["taps"]))
        self._refuse(head.index, faults.walk_faults(arch, path))
        cycles = timing.calc_cycles(arch, i, start)
        w = calc.weights(memories, i)
        if self.setting.hazards:
            matters = calc.matters(i, w)
            clock = self._clocks[Unit.CALC]
            self.setting.hazards.calc(head.index, clock, i, path, matters, cycles)
            self.setting.hazards.parameters(head.index, memories, i)
        self._book(head, i, cycles)
        calc.execute(memories, i, path, w)
        state = self._units[Unit.CALC]
        state.free = cycles.slot_end + timing.GAP
        state.busy += cycles.slot_end - start
        self._calc_active += cycles.source.size
        self._results = int(cycles.write.max())
        self._finish(Unit.CALC, head, start, self._results + timing.RETIRE)

    def _book(self, head: _Queued, i: Instruction, cycles: timing.CalcCycles) -> None:
        self._write_ports[i["dst_region"]].book(np.unique(cycles.write))
        reads = [(i["src_region"], cycles.source.ravel())]
        if cycles.residual is not None:
            reads.append((i["res_region"], np.unique(cycles.residual)))
        for region, wanted in reads:
            clash = self._read_ports[region].book(wanted)
            if clash is not None and self.setting.hazards:
                self.setting.hazards.clash(head.index, region, clash)

    def _transfer(self, unit: Unit, head: _Queued, start: int) -> dma.Load | dma.Save:
        setting, i = self.setting, head.instruction
        sizes = {base: len(buffer) for base, buffer in setting.buffers.items()}
        self._refuse(head.index, faults.transfer_faults(setting.arch, i, sizes))
        transfer, base = Transfer.of(setting.arch, i), Base(i["base"])
        if setting.hazards:
            setting.hazards.transfer(unit, head.index, self._clocks[unit], base, transfer)
        beat = setting.arch.beat_bytes
        todo = list(dma.bursts(transfer, setting.addresses[base], beat))
        if unit is Unit.LOAD:
            memory.load(setting.memories, transfer, setting.buffers[base])
            port = self._write_ports[i["region"]] if transfer.target is Target.ACT else None
            return dma.Load(transfer, beat, port, todo, start)
        memory.save(setting.memories, transfer, setting.buffers[base])
        return dma.Save(transfer, beat, self._read_ports[i["region"]], todo, start)

    def _step(self, unit: Unit, _: int) -> None:
        state = self._units[unit]
        work, head = state.work, state.current
        if isinstance(work, dma.Load):
            end = work.step(self._reads)
        elif isinstance(work, dma.Save):
            end = work.step(self._writes)
        else:
            raise AssertionError(f"{unit.name} has nothing to do")
        if end is None or head is None:
            return
        start = state.starts[-1]
        state.busy += end - start + 1
        state.free = end + timing.TOKEN
        self._wait_port[unit] += work.waits_port
        state.work = state.current = None
        self._finish(unit, head, start, end)

    # --- counters --------------------------------------------------------------------------
    def _count_up(self, done: int) -> None:
        load, save = self._units[Unit.LOAD], self._units[Unit.SAVE]
        unit = self._units[Unit.CALC]
        loaded = self._reads.beats - self._fetch.beats
        self.counters = {
            "CYCLES": done,
            "LOAD_BUSY": load.busy,
            "LOAD_WAIT_TOKEN": load.wait_token,
            "LOAD_WAIT_DRAM": max(0, load.busy - loaded - self._wait_port[Unit.LOAD]),
            "LOAD_WAIT_PORT": self._wait_port[Unit.LOAD],
            "CALC_BUSY": unit.busy,
            "CALC_ACTIVE": self._calc_active,
            "CALC_WAIT_TOKEN": unit.wait_token,
            "CALC_WAIT_FENCE": unit.wait_fence,
            "CALC_WAIT_INSTRUCTION": unit.wait_instruction + max(0, done - unit.free),
            "SAVE_BUSY": save.busy,
            "SAVE_WAIT_TOKEN": save.wait_token,
            "SAVE_WAIT_PORT": self._wait_port[Unit.SAVE],
            "SAVE_WAIT_DRAM": 0,
            "READ_BEATS": self._reads.beats,
            "WRITE_BEATS": self._writes.beats,
            "TRACE_DROPPED": 0,
        }


def _opcode(word: bytes) -> Opcode | None:
    """The opcode of an encoded instruction, None if it is illegal."""
    number = isa.unpack(isa.LAYOUTS[Opcode.END], word[0])["opcode"]
    return Opcode(number) if number in {int(opcode) for opcode in Opcode} else None
