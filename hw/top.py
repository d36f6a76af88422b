"""The accelerator: every unit, connected."""

from amaranth.hdl import Cat, Module, ResetInserter
from amaranth.lib.wiring import Component, Out, connect

from codesign import latency
from codesign.arch import Arch
from codesign.isa import Base, ErrorCode, Unit
from codesign.registers import COUNTERS
from hw.axi import ReadArbiter, WriteArbiter, lite_ports, read_ports, write_ports
from hw.calc import Calc
from hw.counters import Counters
from hw.faults import RunControl
from hw.fetch import Fetch
from hw.load import Load
from hw.registers import Registers
from hw.save import Save
from hw.tokens import Tokens
from hw.trace import RECORD_BITS, Trace

SLAVE, MASTER = "s_axi_", "m_axi_"


def _prefixed(prefix: str, ports: dict) -> dict:
    return {prefix + name: flow for name, flow in ports.items()}


class Top(Component):
    """Plain AXI ports: ``s_axi_*`` registers, ``m_axi_*`` DRAM, ``interrupt`` (a level).

    ``calc`` takes the place of the compute pipeline (ports ``interfaces.calc_ports``).
    """

    def __init__(self, arch: Arch, calc: Component | None = None) -> None:
        self._arch = arch
        self._calc = Calc(arch) if calc is None else calc
        super().__init__({
            **_prefixed(SLAVE, lite_ports()),
            **_prefixed(MASTER, read_ports(arch) | write_ports(arch)),
            "interrupt": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch = self._arch
        m.submodules.registers = registers = Registers(arch)
        m.submodules.run = run = RunControl(len(Unit) + 1, latency.core_reset(arch))
        core = Module()
        core.submodules.read = read = ReadArbiter(arch)
        core.submodules.write = write = WriteArbiter(arch)
        core.submodules.tokens = tokens = Tokens()
        core.submodules.counters = counters = Counters()
        core.submodules.trace = trace = Trace(arch)
        core.submodules.fetch = fetch = Fetch(arch)
        core.submodules.load = load = Load(arch)
        core.submodules.calc = calc = self._calc
        core.submodules.save = save = Save(arch)
        m.submodules.core = ResetInserter(run.core_reset)(core)
        units = {Unit.LOAD: load, Unit.CALC: calc, Unit.SAVE: save, Unit.FETCH: fetch}
        self._ports(m, registers, SLAVE, lite_ports())
        self._ports(m, read, MASTER, read_ports(arch))
        self._ports(m, write, MASTER, write_ports(arch))
        self._data(core, read, write, fetch, load, calc, save, trace)
        self._control(core, run, tokens, trace, units)
        self._settings(core, registers, run, tokens, fetch, load, save, trace)
        self._run(m, registers, run, read, write, fetch, calc, units)
        self._count(core, run, registers, counters, read, write, trace, load, calc, save)
        m.d.comb += self.interrupt.eq(run.interrupt)
        return m

    def _ports(self, m: Module, unit, prefix: str, ports: dict) -> None:
        for name, member in ports.items():
            outside, inside = getattr(self, prefix + name), getattr(unit, name)
            if member.flow == Out:
                m.d.comb += outside.eq(inside)
            else:
                m.d.comb += inside.eq(outside)

    def _data(self, core: Module, read, write, fetch, load, calc, save, trace) -> None:
        for source, sink in (
            (fetch.load, load.instructions),
            (fetch.calc, calc.instructions),
            (fetch.save, save.instructions),
            (fetch.burst, read.fetch),
            (load.burst, read.load),
            (save.burst, write.save),
            (save.data, write.save_data),
            (trace.burst, write.trace),
            (trace.data, write.trace_data),
            (load.act, calc.load_act),
            (load.memory, calc.load_memory),
            (save.act, calc.save_act),
        ):
            connect(core, source, sink)
        core.d.comb += [
            load.beat_valid.eq(read.load_beat),
            fetch.beat_valid.eq(read.fetch_beat),
            save.done.eq(write.save_done),
            trace.done.eq(write.trace_done),
        ]
        for unit in (load, fetch):
            core.d.comb += [unit.beat.eq(read.beat), unit.error.eq(read.error)]
        for unit in (save, trace):
            core.d.comb += unit.error.eq(write.error)

    def _control(self, core: Module, run, tokens, trace, units) -> None:
        for number, unit in units.items():
            control = unit.control
            core.d.comb += [
                control.now.eq(run.now),
                control.stop.eq(run.stop),
                trace.retired[number].valid.eq(control.retired),
                trace.retired[number].index.eq(control.retired_index),
                trace.retired[number].start.eq(control.retired_start),
                run.faults[number].valid.eq(control.fault),
                run.faults[number].code.eq(control.fault_code),
                run.faults[number].index.eq(control.fault_index),
            ]
            if number != Unit.FETCH:
                core.d.comb += [
                    control.available.eq(tokens.available[number]),
                    tokens.take[number].eq(control.take),
                    tokens.give[number].eq(control.give),
                ]
        core.d.comb += [
            run.faults[len(Unit)].valid.eq(trace.fault),
            run.faults[len(Unit)].code.eq(ErrorCode.AXI_WRITE),
            run.faults[len(Unit)].index.eq(trace.fault_index),
        ]

    def _settings(self, core: Module, registers, run, tokens, fetch, load, save, trace) -> None:
        for unit in (load, save):
            for base in Base:
                name = base.name.lower()
                core.d.comb += [
                    unit.buffers[base].base.eq(getattr(registers, f"{name}_base")),
                    unit.buffers[base].size.eq(getattr(registers, f"{name}_size")),
                ]
        core.d.comb += [
            tokens.clear.eq(run.begin),
            fetch.start.eq(run.begin),
            fetch.base.eq(registers.program_base),
            fetch.size.eq(registers.program_size),
            fetch.part_offset.eq(registers.part_offset),
            fetch.part_count.eq(registers.part_count),
            fetch.unaligned.eq(registers.trace_enable & registers.trace_base[:RECORD_BITS].any()),
            fetch.settled.eq(load.control.idle & self._calc.control.idle & save.control.idle),
            fetch.flushed.eq(trace.flushed),
            trace.now.eq(run.now),
            trace.enable.eq(registers.trace_enable),
            trace.clear.eq(run.begin),
            trace.stop.eq(run.resetting),
            trace.base.eq(registers.trace_base),
            trace.size.eq(registers.trace_size),
        ]

    def _run(self, m: Module, registers, run, read, write, fetch, calc, units) -> None:
        retired = Cat(*(unit.control.retired for unit in units.values())).any()
        m.d.sync += [
            run.progress.eq(
                retired
                | calc.status.active
                | read.load_beat
                | read.fetch_beat
                | write.beat
                | ~run.running
            ),
            run.outstanding.eq(read.busy | write.busy),
        ]
        queues = {Unit.LOAD: fetch.load, Unit.CALC: fetch.calc, Unit.SAVE: fetch.save}
        for number, unit in units.items():
            oldest = run.unfinished[number]
            m.d.comb += [
                oldest.valid.eq(~unit.control.idle),
                oldest.index.eq(unit.control.oldest_index),
            ]
            if number in queues:
                with m.If(unit.control.idle):
                    m.d.comb += [
                        oldest.valid.eq(queues[number].valid),
                        oldest.index.eq(queues[number].payload.index),
                    ]
        m.d.comb += [
            run.finished.eq(fetch.done),
            run.start.eq(registers.start),
            run.reset.eq(registers.reset),
            run.acknowledge.eq(registers.acknowledge),
            run.interrupt_enable.eq(registers.interrupt_enable),
            run.watchdog.eq(registers.watchdog),
            registers.status.eq(run.status),
            registers.error_code.eq(run.error_code),
            registers.error_index.eq(run.error_index),
        ]

    def _count(
        self, core: Module, run, registers, counters, read, write, trace, load, calc, save
    ) -> None:
        levels = {
            "CYCLES": 1,
            "LOAD_BUSY": load.busy,
            "LOAD_WAIT_TOKEN": load.wait_token,
            "LOAD_WAIT_DRAM": load.wait_dram,
            "LOAD_WAIT_PORT": calc.load_wait_port,
            "CALC_BUSY": calc.status.busy,
            "CALC_ACTIVE": calc.status.active,
            "CALC_WAIT_TOKEN": calc.status.wait_token,
            "CALC_WAIT_FENCE": calc.status.wait_fence,
            "CALC_WAIT_INSTRUCTION": calc.status.wait_instruction,
            "SAVE_BUSY": save.busy,
            "SAVE_WAIT_TOKEN": save.wait_token,
            "SAVE_WAIT_PORT": calc.save_wait_port,
            "SAVE_WAIT_DRAM": save.wait_dram,
            "READ_BEATS": read.load_beat | read.fetch_beat,
            "WRITE_BEATS": write.beat,
            "TRACE_DROPPED": trace.dropped,
        }
        core.d.comb += [
            counters.levels.eq(Cat(levels[name] & run.running for name in COUNTERS)),
            counters.clear.eq(run.begin),
            counters.request.eq(registers.counter_request),
            counters.select.eq(registers.counter_select),
            counters.high.eq(registers.counter_high),
            registers.counter_valid.eq(counters.valid),
            registers.counter_value.eq(counters.value),
            registers.trace_count.eq(trace.count),
        ]
