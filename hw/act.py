"""The activation memories: regions of P banks, their ports, and who gets them."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import bits_for

from codesign.arch import Arch
from hw.delay import delay
from hw.interfaces import ActAddress, ActRead, ActWrite
from hw.memories import any_of

MEMORY_READ = 2
"""From an address port to the register behind the memory."""


def bank_bits(arch: Arch) -> int:
    """Bits of a bank's number."""
    return bits_for(arch.pixels - 1)


def row_bits(arch: Arch) -> int:
    """Bits of a row's number; sums of rows wrap to them."""
    return bits_for(arch.act_depth - 1)


class Place(data.StructLayout):
    """Where a pixel lies in its region, and whether it is to be accessed at all."""

    def __init__(self, arch: Arch) -> None:
        super().__init__({"valid": 1, "bank": bank_bits(arch), "row": row_bits(arch)})


class Act(Component):
    """``regions`` memories of P banks; each region has one read port and one write port.

    CALC comes first: it reads a tap's source (all banks of a region) or residual pixels, and
    writes results, whenever it says so. LOAD and SAVE get the ports in the other cycles.

    Time, in cycles after the request on the port: a word for LOAD or a result is in memory after
    two and one (an address at a memory in the cycle after that reads it); ``source_words`` come
    after ACT_WORD, ``residual_words`` after ACT_WORD + 1 (``codesign.latency``).

    Ports
    -----
    source_regions, source_rows:
        A tap reads this region (one-hot, or none): row for each bank.
    residual_regions, residual:
        The residual's region (one-hot, or none), and the D pixels in it, in D different banks.
    result_regions, result, result_words:
        Likewise for results.
    result_claims:
        ``result_regions`` of two cycles later: LOAD's ``ready`` is a register computed from it.
    load, save, load_wait, save_wait:
        ``load.address.region`` must hold from the cycle before ``load.valid`` rises. The waits
        tell that CALC holds the port.
    """

    def __init__(self, arch: Arch) -> None:
        self.arch = arch
        self.banks = [
            [
                Memory(shape=8 * arch.act_word_bytes, depth=arch.act_depth, init=[])
                for _ in range(arch.pixels)
            ]
            for _ in range(arch.regions)
        ]
        word, D, P = 8 * arch.act_word_bytes, arch.drain, arch.pixels
        places, words = data.ArrayLayout(Place(arch), D), data.ArrayLayout(word, D)
        super().__init__({
            "source_regions": In(arch.regions),
            "source_rows": In(data.ArrayLayout(row_bits(arch), P)),
            "source_words": Out(data.ArrayLayout(word, P)),
            "residual_regions": In(arch.regions),
            "residual": In(places),
            "residual_words": Out(words),
            "result_claims": In(arch.regions),
            "result_regions": In(arch.regions),
            "result": In(places),
            "result_words": In(words),
            "load": In(ActWrite(arch)),
            "save": In(ActRead(arch)),
            "load_wait": Out(1),
            "save_wait": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        arch = self.arch
        banks = [self._banks(m, region) for region in range(arch.regions)]
        request, requested = self._save_requests(m)
        self._writes(m, banks)
        self._reads(m, banks, request, requested)
        return m

    def _banks(self, m, region):
        ports = []
        for bank, memory in enumerate(self.banks[region]):
            m.submodules[f"region{region}_bank{bank}"] = memory
            ports.append((memory.write_port(), memory.read_port()))
        return ports

    # --- writing ----------------------------------------------------------------------------------
    def _writes(self, m, banks):
        arch, load = self.arch, self.load
        ready = Signal()
        m.d.sync += ready.eq(~Array(self.result_claims)[load.address.region])
        m.d.comb += [load.ready.eq(ready), self.load_wait.eq(load.valid & ~ready)]
        address = Signal(ActAddress(), reset_less=True)
        word = Signal(8 * arch.act_word_bytes, reset_less=True)
        m.d.sync += [address.eq(load.address), word.eq(load.data)]
        for region, ports in enumerate(banks):
            loaded = Signal(name=f"load{region}")
            m.d.sync += loaded.eq(load.valid & ready & (load.address.region == region))
            claimed = self.result_regions[region]
            rest = [Mux(claimed, 0, word), Mux(claimed, 0, address.row)]
            shared = None
            for bank, (write, _) in enumerate(ports):
                hits = [p.valid & (p.bank == bank) for p in self.result]
                enable = Signal(name=f"write{region}_{bank}")
                m.d.sync += enable.eq(Mux(claimed, any_of(hits), loaded & (address.bank == bank)))
                if shared is None or arch.drain > 1:
                    shared = self._write_port(m, f"{region}_{bank}", claimed, hits, rest)
                m.d.comb += write.en.eq(enable)
                m.d.comb += [write.data.eq(shared[0]), write.addr.eq(shared[1])]

    def _write_port(self, m, name, claimed, hits, rest):
        """Registers before the memory; a single pixel goes to all banks, of which one takes it."""
        word = Signal(8 * self.arch.act_word_bytes, name=f"write_word{name}", reset_less=True)
        row = Signal(row_bits(self.arch), name=f"write_row{name}", reset_less=True)
        words, rows = [], []
        for d, hit in enumerate(hits):
            use = claimed & hit if len(hits) > 1 else claimed
            words.append(Mux(use, self.result_words[d], 0))
            rows.append(Mux(use, self.result[d].row, 0))
        m.d.sync += [word.eq(any_of([*words, rest[0]])), row.eq(any_of([*rows, rest[1]]))]
        return word, row

    # --- reading ----------------------------------------------------------------------------------
    def _save_requests(self, m):
        """The two oldest requests of SAVE wait here, so that ``ready`` is a register."""
        save, taken = self.save, self.source_regions | self.residual_regions
        head, tail = Signal(ActAddress(), reset_less=True), Signal(ActAddress(), reset_less=True)
        head_valid, tail_valid, granted = Signal(), Signal(), Signal()
        m.d.comb += [
            save.ready.eq(~tail_valid),
            self.save_wait.eq(save.valid & tail_valid),
            granted.eq(head_valid & ~Array(taken)[head.region]),
        ]
        pushed = save.valid & ~tail_valid
        with m.If(granted | ~head_valid):
            m.d.sync += [
                head.eq(Mux(tail_valid, tail, save.address)),
                head_valid.eq(tail_valid | pushed),
                tail_valid.eq(0),
            ]
        with m.Elif(pushed):
            m.d.sync += tail_valid.eq(1)
        with m.If(~tail_valid):
            m.d.sync += tail.eq(save.address)
        return head, granted

    def _reads(self, m, banks, request, requested):
        arch, D = self.arch, self.arch.drain
        width = 8 * arch.act_word_bytes
        all_banks, selected = [], []
        for region, ports in enumerate(banks):
            words = []
            for bank, (_, read) in enumerate(ports):
                row = Signal(row_bits(arch), name=f"read_row{region}_{bank}", reset_less=True)
                residual = self._residual_row(bank)
                other = Mux(self.residual_regions[region], residual, request.row)
                m.d.sync += row.eq(Mux(self.source_regions[region], self.source_rows[bank], other))
                word = Signal(width, name=f"read_word{region}_{bank}", reset_less=True)
                m.d.sync += word.eq(read.data)
                m.d.comb += read.addr.eq(row)
                words.append(word)
            all_banks.append(words)
            selected.append(self._select_bank(m, region, words, request))
        source = delay(m, self.source_regions, 1 + MEMORY_READ, name="source_regions")
        for bank in range(arch.pixels):
            words = [words[bank] for words in all_banks]
            m.d.comb += self.source_words[bank].eq(_chosen(m, f"source{bank}", source, words))
        residual = delay(m, self.residual_regions, 2 + MEMORY_READ, name="residual_regions")
        for d in range(D):
            words = [words[d] for words in selected]
            m.d.comb += self.residual_words[d].eq(_chosen(m, f"residual{d}", residual, words))
        regions = Signal(arch.regions)
        for region in range(arch.regions):
            m.d.comb += regions[region].eq(requested & (request.region == region))
        saved = delay(m, regions, 2 + MEMORY_READ, name="save_regions")
        words = [words[0] for words in selected]
        m.d.comb += self.save.word.eq(_chosen(m, "save", saved, words))
        arrived = Signal(3 + MEMORY_READ)
        m.d.sync += arrived.eq((arrived << 1) | requested)
        m.d.comb += self.save.word_valid.eq(arrived[-1])

    def _residual_row(self, bank):
        if self.arch.drain == 1:
            return self.residual[0].row
        return any_of([Mux(p.valid & (p.bank == bank), p.row, 0) for p in self.residual])

    def _select_bank(self, m, region, words, request):
        """The words of D pixels for the residual, the first of them also for SAVE."""
        selected = []
        for d, place in enumerate(self.residual):
            bank = Signal(bank_bits(self.arch), name=f"bank{region}_{d}", reset_less=True)
            own = place.bank if d else Mux(self.residual_regions[region], place.bank, request.bank)
            m.d.sync += bank.eq(own)
            word = Signal(len(words[0]), name=f"selected{region}_{d}", reset_less=True)
            chosen = delay(m, bank, MEMORY_READ, name=f"bank{region}_{d}")
            m.d.sync += word.eq(Array(words)[chosen])
            selected.append(word)
        return selected


def _chosen(m, name, regions, words):
    """A register with the word of the one region that ``regions`` names."""
    word = Signal(len(words[0]), name=f"{name}_word", reset_less=True)
    m.d.sync += word.eq(
        any_of([Mux(regions[i], candidate, 0) for i, candidate in enumerate(words)])
    )
    return word
