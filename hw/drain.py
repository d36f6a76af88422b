"""CALC's result side: where pixels go, which residual they meet, when an instruction ends."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from codesign import latency
from codesign.arch import Arch
from codesign.isa import EXTENT, REGION
from hw.act import Place, row_bits
from hw.delay import delay
from hw.interfaces import INDEX_BITS
from hw.memories import ConfigQueue
from hw.post import CONFIG_FIELDS, PostConfig
from hw.sequencer import FIELDS
from hw.walk import GridWalker, MapBanks, MapRows, MapWalker

MAPS = ("dst", "res")


class GroupEnd(data.StructLayout):
    """The last slot of a group: of the instruction's first group, of its last."""

    def __init__(self) -> None:
        super().__init__({"valid": 1, "first": 1, "last": 1})


class _Events:
    """Group ends in any later cycle, as taps of shift registers that a reset clears."""

    def __init__(self, m: Module, ends, length: int) -> None:
        self._lines = {}
        for name, strobe in (
            ("end", ends.valid),
            ("first", ends.valid & ends.first),
            ("last", ends.valid & ends.last),
        ):
            line = Signal(length, name=f"group_{name}")
            whole = Cat(strobe, line)
            m.d.sync += line.eq(whole)
            self._lines[name] = whole

    def __call__(self, name: str, after: int):
        """The event ``after`` cycles after the issue of the group's last tap (shown after 1)."""
        return self._lines[name][after - 1]


class Steps(Component):
    """The drain steps of a group: output block after output block, lane block after lane block.

    Time: the first step is the cycle after ``begin``, which comes at most every ``drain_steps``.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "begin": In(1),
            "active": Out(1),
            "block": Out(range(arch.planes)),
            "first_block": Out(1),
            "last_block": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        steps, planes = self.arch.drain_steps, self.arch.planes
        left = Signal(range(steps))
        with m.If(self.begin):
            m.d.sync += [self.active.eq(1), left.eq(steps - 1), self.block.eq(0)]
        with m.Elif(left == 0):
            m.d.sync += self.active.eq(0)
        with m.Else():
            m.d.sync += [
                left.eq(left - 1),
                self.block.eq(Mux(self.last_block, 0, self.block + 1)),
            ]
        m.d.comb += [
            self.first_block.eq(self.block == 0),
            self.last_block.eq(self.block == planes - 1),
        ]
        return m


class Drain(Component):
    """Follows finished pixels through post-processing, and instructions to their end.

    Time: everything is at a fixed distance from ``ends``; see the constants below, in cycles
    after the issue of a group's last tap. ``ends`` shows one cycle after that issue.

    Ports
    -----
    start, fields, span, index, now:
        An instruction starts: its fields, grid width less D, index, and the cycle.
    ends:
        Groups end.
    post, param_address:
        Configuration of post-processing with the sums; address of their parameters as much
        earlier as ``param_latency``.
    residual_regions, residual, result_claims, result_regions, result:
        Of ``hw.act.Act``.
    drained:
        Every instruction that has started has written its results, or will have by the time the
        taps of one that starts now read them.
    unfinished, oldest_index:
        An instruction is not complete; the index of the first such.
    retired, retired_index, retired_start, give:
        Of ``hw.interfaces.UnitControl``.
    """

    def __init__(self, arch: Arch, param_latency: int) -> None:
        self.arch = arch
        self._sums = latency.ACT_READ + latency.array(arch)
        self._words = self._sums + latency.post(arch)
        self._residual = self._sums + latency.residual() - latency.ACT_WORD - 1
        """The residual's places go to ACT; those of the results are known as well."""
        self._grid = self._residual - MapWalker.PLACE
        """The walker stands at the pixels of a group's first drain step."""
        self._params = self._sums - param_latency
        self._finish = latency.calc_write(arch) + arch.drain_steps - 1
        self._retire = self._finish + latency.CALC_RETIRE
        spacing = max(arch.drain_steps, latency.CALC_ACCEPT + latency.CALC_DECODE)
        self._depth = self._retire // spacing + 2
        """Instructions between start and retirement."""
        places = data.ArrayLayout(Place(arch), arch.drain)
        super().__init__({
            "start": In(1),
            "fields": In(FIELDS),
            "span": In(EXTENT),
            "index": In(INDEX_BITS),
            "now": In(32),
            "ends": In(GroupEnd()),
            "post": Out(PostConfig()),
            "param_address": Out(bits_for(arch.param_depth - 1)),
            "residual_regions": Out(arch.regions),
            "residual": Out(places),
            "result_claims": Out(arch.regions),
            "result_regions": Out(arch.regions),
            "result": Out(places),
            "drained": Out(1),
            "unfinished": Out(1),
            "oldest_index": Out(INDEX_BITS),
            "retired": Out(1),
            "retired_index": Out(INDEX_BITS),
            "retired_start": Out(32),
            "give": Out(2),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        events = _Events(m, self.ends, self._retire)
        self._completion(m, events)
        self._post(m, events)
        self._params_address(m, events)
        steps, walker = self._walk(m, events)
        valid, regions = self._valid(m, events, steps, walker)
        for name in MAPS:
            bank, row = self._map(m, events, name, steps, walker)
            self._requests(m, name, bank, row, valid, regions[name])
        return m

    def _queue(self, m, events, name, at, shapes):
        """Fields, renamed, from cycle ``at`` after a first group's last tap on.

        ``shapes`` maps a new name to its shape and its value at the start.
        """
        layout = data.StructLayout({field: shape for field, (shape, _) in shapes.items()})
        queue = m.submodules[f"{name}_queue"] = ConfigQueue(layout, self._depth)
        m.d.comb += [queue.push.eq(self.start), queue.pop.eq(events("first", at - 1))]
        m.d.comb += [queue.pushed[field].eq(value) for field, (_, value) in shapes.items()]
        return queue.current

    # --- configuration that goes with the sums ----------------------------------------------------
    def _post(self, m, events):
        shapes = {name: (FIELDS[name].shape, self.fields[name]) for name in CONFIG_FIELDS}
        m.d.comb += self.post.eq(self._queue(m, events, "post", self._sums, shapes))

    def _params_address(self, m, events):
        """Parameter words follow the output blocks."""
        shapes = {"base": (len(self.param_address), self.fields.param_base)}
        base = self._queue(m, events, "param", self._params - 1, shapes).base
        steps = m.submodules.param_steps = Steps(self.arch)
        m.d.comb += steps.begin.eq(events("end", self._params - 2))
        m.d.sync += self.param_address.eq(base + steps.block)

    # --- places -----------------------------------------------------------------------------------
    def _walk(self, m, events):
        begin = self._grid - 1
        shapes = {"y_start": (EXTENT, self.fields.y_start), "span": (EXTENT, self.span)}
        config = self._queue(m, events, "walk", begin, shapes)
        steps = m.submodules.steps = Steps(self.arch)
        walker = m.submodules.walker = GridWalker(self.arch)
        m.d.comb += [
            steps.begin.eq(events("end", begin)),
            walker.load.eq(events("first", begin)),
            walker.step.eq(steps.active & steps.last_block),
            walker.y_start.eq(config.y_start),
            walker.span.eq(config.span),
        ]
        return steps, walker

    def _valid(self, m, events, steps, walker):
        """For each pixel whether it is written, when its place is known; and in which region."""
        arch, fields = self.arch, self.fields
        names = ("out_height", "out_width", "planes")
        shapes = {name: (FIELDS[name].shape, fields[name]) for name in names}
        extents = self._queue(m, events, "extent", self._grid, shapes)
        wanted = steps.active & (steps.block < extents.planes)
        stages = [Signal(arch.drain, name=f"written{i}") for i in range(MapWalker.PLACE)]
        for d in range(arch.drain):
            inside = (walker.y[d] < extents.out_height) & (walker.x[d] < extents.out_width)
            m.d.sync += stages[0][d].eq(wanted & inside)
        m.d.sync += [b.eq(a) for a, b in pairwise(stages)]
        shapes = {f"{name}_region": (REGION, fields[f"{name}_region"]) for name in MAPS}
        shapes["residual"] = (1, fields.residual)
        config = self._queue(m, events, "region", self._residual - 1, shapes)
        used = {"dst": stages[-2].any(), "res": stages[-2].any() & config.residual}
        regions = {}
        for name in MAPS:
            regions[name] = Signal(arch.regions, name=f"{name}_regions")
            number = config[f"{name}_region"]
            for r in range(arch.regions):
                m.d.sync += regions[name][r].eq(used[name] & (number == r))
        return stages[-1], regions

    def _map(self, m, events, name, steps, walker):
        def queue(layout, at):
            shapes = {part: (field.shape, self.fields[f"{name}_{part}"]) for part, field in layout}
            return self._queue(m, events, f"{name}_at_{at - self._grid}", at, shapes)

        places = m.submodules[f"{name}_walker"] = MapWalker(self.arch)
        row = row_bits(self.arch)
        for flag in ("y", "x", "loaded", "moved", "wrapped", "odd_y", "odd_x"):
            m.d.comb += getattr(places, flag).eq(getattr(walker, flag))
        one = {part: data.StructLayout({part: row}) for part in ("phase_rows", "plane_rows")}
        m.d.comb += [
            places.first_block.eq(steps.first_block),
            places.banks.eq(queue(MapBanks(self.arch), self._grid)),
            places.rows.eq(queue(MapRows(self.arch), self._grid + 1)),
            places.phase_rows.eq(queue(one["phase_rows"], self._grid + 2).phase_rows),
        ]
        if self.arch.planes > 1:
            plane = queue(one["plane_rows"], self._grid + 3)
            m.d.comb += places.plane_rows.eq(plane.plane_rows)
        return places.bank, places.row

    def _requests(self, m, name, bank, row, valid, regions):
        """The residual's at once; the results' with their words, and the claim before them."""
        later = self._words - self._residual if name == "dst" else 0
        places = self.result if name == "dst" else self.residual
        for d in range(self.arch.drain):
            m.d.comb += [
                places[d].bank.eq(delay(m, bank[d], later, name=f"{name}_bank{d}")),
                places[d].row.eq(delay(m, row[d], later, name=f"{name}_row{d}")),
            ]
        written, claims = valid, [regions]
        for i in range(later):
            before, written = written, Signal(self.arch.drain, name=f"{name}_valid{i}")
            claims.append(Signal(self.arch.regions, name=f"{name}_claim{i}"))
            m.d.sync += [written.eq(before), claims[-1].eq(claims[-2])]
        m.d.comb += [places[d].valid.eq(written[d]) for d in range(self.arch.drain)]
        if name == "dst":
            m.d.comb += [self.result_regions.eq(claims[-1]), self.result_claims.eq(claims[-3])]
        else:
            m.d.comb += self.residual_regions.eq(regions)

    # --- completion -------------------------------------------------------------------------------
    def _completion(self, m, events):
        """Instructions in flight, as a fence and as the peers see them."""
        m.d.comb += [
            self.drained.eq(self._none_left(m, events, "unwritten", self._finish)),
            self.unfinished.eq(~self._none_left(m, events, "unretired", self._retire - 1)),
        ]
        retires = events("last", self._retire - 1)
        shapes = {
            "index": (INDEX_BITS, self.index),
            "start": (32, self.now),
            "signal": (2, self.fields.signal),
        }
        current = self._retired(m, retires, shapes)
        m.d.sync += self.retired.eq(retires)
        m.d.comb += [
            self.retired_index.eq(current.index),
            self.retired_start.eq(current.start),
            self.give.eq(Mux(self.retired, current.signal, 0)),
        ]

    def _none_left(self, m, events, name, at):
        """Whether all instructions that have started had their last event, from the next cycle."""
        count, none = Signal(range(self._depth + 1), name=name), Signal(name=f"no_{name}", init=1)
        ended = events("last", at)
        with m.If(self.start & ~ended):
            m.d.sync += count.eq(count + 1)
        with m.Elif(ended & ~self.start):
            m.d.sync += count.eq(count - 1)
        m.d.sync += none.eq(~self.start & (none | (ended & (count == 1))))
        return none

    def _retired(self, m, retires, shapes):
        layout = data.StructLayout({name: shape for name, (shape, _) in shapes.items()})
        queue = m.submodules.retire_queue = ConfigQueue(layout, self._depth)
        m.d.comb += [queue.push.eq(self.start), queue.pop.eq(retires)]
        m.d.comb += [queue.pushed[name].eq(value) for name, (_, value) in shapes.items()]
        m.d.comb += self.oldest_index.eq(queue.oldest.index)
        return queue.current
