"""The array of processing elements: P pixels times M input times N output channels per cycle."""

from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from codesign import latency
from codesign.arch import CHAIN_LENGTH, Arch
from codesign.isa import Mode
from hw.delay import delay
from hw.pe import LOW_BITS, PAIR_BITS, EntryControl, PixelLane, SumControl, packed_pair


class WeightExpander(Component):
    """Turns a WGT word into the multipliers' packed pairs, by mode; index channel * N/2 + pair.

    Dense packs the word. Depthwise spreads the slice's M weights over the diagonal and zeroes the
    rest; max does so with ones, for the lanes put the running maximum in place of activations.

    Time: latency ``latency.ARRAY_EXPAND`` cycles, one word per cycle.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        super().__init__({
            "word": In(8 * arch.wgt_word_bytes),
            "mode": In(2),
            "slice": In(range(arch.out_channels)),
            "pairs": Out(data.ArrayLayout(signed(PAIR_BITS), arch.wgt_word_bytes // 2)),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        M, N = self.arch.in_channels, self.arch.out_channels
        word = delay(m, self.word, 1)
        dense = Signal(reset_less=True)
        m.d.sync += dense.eq(self.mode == Mode.DENSE)
        diagonal = Signal(8 * M, reset_less=True)
        with m.If(self.mode == Mode.MAX):
            m.d.sync += diagonal.eq(Cat(Const(1, 8) for _ in range(M)))
        with m.Else():
            m.d.sync += diagonal.eq(self.word.word_select(self.slice, 8 * M))
        for channel in range(M):
            own = self._own_pair(channel, diagonal.word_select(channel, 8))
            for pair in range(N // 2):
                index = channel * N // 2 + pair
                stored = word.word_select(2 * index, 8), word.word_select(2 * index + 1, 8)
                other = own if pair == channel // 2 else 0
                registered = Signal(signed(PAIR_BITS), name=f"pair{index}", reset_less=True)
                m.d.sync += registered.eq(Mux(dense, packed_pair(*stored), other))
                m.d.comb += self.pairs[index].eq(registered)
        return m

    def _own_pair(self, channel: int, weight):
        """The channel's weight for the output of the same number, none for that output's twin."""
        if channel % 2:
            return packed_pair(Const(0, 8), weight)
        return packed_pair(weight, weight[-1].replicate(8))  # w1' = 0 - (w0 < 0)


def _select(m: Module, name: str, choices):
    """The one word whose enable is set, ``latency.array_select`` cycles later.

    ``choices`` are pairs of word and enable. Gating and ORing ``latency.SELECT_RADIX`` words
    takes one LUT6 a bit and level; with no enable set that gives zero. A single word passes.
    """
    if len(choices) == 1:
        return choices[0][0]
    words = [Mux(enable, word, 0) for word, enable in choices]
    level = 0
    while len(words) > 1:
        groups = range(0, len(words), latency.SELECT_RADIX)
        words = [
            delay(m, reduce(or_, words[i : i + latency.SELECT_RADIX]), 1, f"{name}{level}_{i}")
            for i in groups
        ]
        level += 1
    return words[0]


class Array(Component):
    """P*M*N multiply-accumulates per cycle on P*M*N/2 DSPs, in three modes (``isa.Mode``).

    Weights and control travel from lane block to lane block (D lanes each), so that no wire
    reaches across the array and every block is finished just when the drain comes to it.

    Time: the sums of lane block j, output block c leave ``latency.array(arch)`` + j*k + c cycles
    after ``last`` entered; a tap enters every cycle, a ``last`` at most every ``drain_steps``.

    Ports
    -----
    acts:
        Lane p's activations, (p // D) * k cycles behind lane 0's, masked and padded.
    weights, mode, slice:
        The tap's WGT word, what to do with it (``isa.Mode``), and the slice of it if depthwise.
    valid, first, last:
        A tap is present; it is its group's first or last. All like lane 0's activations.
    sums, out_valid:
        Accumulators of pixel d of the lane block, channel m of the output block: index d*M + m.
        Zero while ``out_valid`` is low if the array drains in more than one step.
    """

    def __init__(self, arch: Arch) -> None:
        P, M, D = arch.pixels, arch.in_channels, arch.drain
        self.arch = arch
        super().__init__({
            "acts": In(data.ArrayLayout(data.ArrayLayout(signed(8), M), P)),
            "weights": In(8 * arch.wgt_word_bytes),
            "mode": In(2),
            "slice": In(range(arch.out_channels)),
            "valid": In(1),
            "first": In(1),
            "last": In(1),
            "sums": Out(data.ArrayLayout(signed(arch.acc_bits), D * M)),
            "out_valid": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch = self.arch
        D, k = arch.drain, arch.planes
        pairs = self._skewed_pairs(m)
        entry, control, done = self._head_control(m)
        steps = []
        for j in range(arch.pixels // D):
            # The multipliers' operand registers are the first of the k to the next lane block.
            names = [f"pair{j}_{i}" for i in range(len(pairs))]
            operands = [
                delay(m, pair, latency.ARRAY_OPERAND, name)
                for pair, name in zip(pairs, names, strict=True)
            ]
            controls = [delay(m, control, c, f"control{j}_{c}") for c in range(k)]
            lanes = [self._lane(m, j * D + d, entry, controls, operands) for d in range(D)]
            steps += [(lanes, c, delay(m, done, c, f"done{j}_{c}")) for c in range(k)]
            pairs = [
                delay(m, operand, k - latency.ARRAY_OPERAND, name)
                for operand, name in zip(operands, names, strict=True)
            ]
            entry = delay(m, entry, k, f"entry{j + 1}")
            control = delay(m, control, k, f"control{j + 1}")
            done = delay(m, done, k, f"done{j + 1}")
        self._drain(m, steps)
        return m

    def _skewed_pairs(self, m: Module):
        """Lane 0's pairs: channel by channel behind each other as a chain of DSPs takes them."""
        M, N = self.arch.in_channels, self.arch.out_channels
        m.submodules.expander = expander = WeightExpander(self.arch)
        m.d.comb += [
            expander.word.eq(self.weights),
            expander.mode.eq(self.mode),
            expander.slice.eq(self.slice),
        ]
        pairs = []
        for index in range(M * N // 2):
            channel, block = index // (N // 2), index % (N // 2) // (M // 2)
            skew = channel % CHAIN_LENGTH + block
            pairs.append(delay(m, expander.pairs[index], skew, f"skewed{index}"))
        return pairs

    def _head_control(self, m: Module):
        """Lane block 0's control with activations and sums; and when results are there (low)."""
        entry = Signal(EntryControl())
        sums = Signal(SumControl())
        maximum = self.mode == Mode.MAX
        depth = latency.array_sum(self.arch)
        # A lane has joined the taps of a maximum already: every one starts afresh.
        clear = delay(m, self.valid & (self.first | maximum), depth - 1, "clear")
        m.d.comb += [
            entry.valid.eq(self.valid),
            entry.first.eq(self.first),
            entry.maximum.eq(maximum),
            sums.valid.eq(delay(m, self.valid, depth, "valid")),
            sums.last.eq(delay(m, self.last, depth, "last")),
            sums.clear.eq(clear),
        ]
        return entry, sums, delay(m, sums.valid & sums.last, 1, "done")

    def _lane(self, m: Module, p: int, entry, controls, operands):
        m.submodules[f"lane{p}"] = lane = PixelLane(self.arch)
        m.d.comb += [
            lane.acts.eq(self.acts[p]),
            lane.entry.eq(entry),
            *(lane.pairs[i].eq(operand) for i, operand in enumerate(operands)),
            *(lane.control[c].eq(control) for c, control in enumerate(controls)),
        ]
        return lane

    def _drain(self, m: Module, steps) -> None:
        """Passes each step's accumulators to the output, their low halves a cycle ahead."""
        arch = self.arch
        M = arch.in_channels

        def word(lanes, c, half):
            return Cat(getattr(lane, half)[c * M + i] for lane in lanes for i in range(M))

        low = _select(m, "low", [(word(lanes, c, "low"), done) for lanes, c, done in steps])
        later = [delay(m, done, 1, f"high_done{i}") for i, (*_, done) in enumerate(steps)]
        high_words = [word(lanes, c, "high") for lanes, c, _ in steps]
        high = _select(m, "high", list(zip(high_words, later, strict=True)))
        low = delay(m, low, 1, "low_aligned")
        for i in range(arch.drain * M):
            high_bits = arch.acc_bits - LOW_BITS
            value = Cat(low.word_select(i, LOW_BITS), high.word_select(i, high_bits))
            m.d.comb += self.sums[i].eq(value.as_signed())
        m.d.comb += self.out_valid.eq(_select(m, "valid", [(one, one) for one in later]))
