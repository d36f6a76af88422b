"""Which layer each byte on the bus is for, found from a program's instructions alone.

Instructions are followed in their order. What a LOAD brings is for the layer whose CALC reads it
first, what a SAVE takes away is of the layer that wrote it last.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from codesign.arch import Arch
from codesign.artifact import Part, Program
from codesign.isa import INSTRUCTION_BYTES, Base, Instruction, Mode, Opcode, Target
from codesign.reference.calc import walk
from codesign.reference.memory import Memories, Transfer, depth, depthwise_words, load
from codesign.report.trace import instructions, layer_of

_NOTHING = -1


@dataclass
class Traffic:
    """Bytes of an inference, in whole beats: of maps, of weights with parameters, taps and tables,
    of instructions, and of the results that are saved."""

    maps_read: int = 0
    weights_read: int = 0
    instructions_read: int = 0
    written: int = 0

    @property
    def read(self) -> int:
        return self.maps_read + self.weights_read + self.instructions_read


@dataclass
class _Load:
    target: Target
    bus_bytes: int
    word_bytes: int
    claims: Counter[str] = field(default_factory=Counter)
    """Words by the layer that reads them first."""


def traffic(program: Program) -> dict[str | None, Traffic]:
    """Traffic of each layer by name, weights resident as in every inference but the first.

    None has what is for no layer: BEGIN, END, and transfers of what no layer reads or writes.
    """
    return _Attribution(program).run()


def bus_bytes(arch: Arch, transfer: Transfer) -> int:
    """Bytes of a transfer on the bus: each row fills whole beats."""
    beat = arch.beat_bytes
    return len(transfer.words) * -(-transfer.row_bytes // beat) * beat


class _Attribution:
    def __init__(self, program: Program) -> None:
        self.program, self.arch = program, program.arch
        self.layers = layer_of(program.layers)
        self.memories = Memories(self.arch)  # only taps are filled: CALCs read where they tell
        self.image = np.frombuffer(program.image, np.uint8)
        self.loads: list[_Load] = []
        self.pending: dict[tuple[Target, int], npt.NDArray[np.int64]] = {}
        """The LOAD that filled a word and whose claim is open."""
        self.writer: dict[int, npt.NDArray[np.object_]] = {
            region: np.full(self.arch.act_region_words, None, object)
            for region in range(self.arch.regions)
        }
        names = dict.fromkeys(layer.name for layer in program.layers)
        self.found: dict[str | None, Traffic] = {name: Traffic() for name in names}
        self.found[None] = Traffic()

    def run(self) -> dict[str | None, Traffic]:
        for instruction in self._part(self.program.setup):
            if instruction.opcode is Opcode.LOAD:
                self._fill_taps(Transfer.of(self.arch, instruction), instruction)
        for index, instruction in enumerate(self._part(self.program.infer)):
            if instruction.opcode is Opcode.LOAD:
                self._load(instruction)
            elif instruction.opcode is Opcode.CALC:
                self._calc(instruction, self.layers[index])
            elif instruction.opcode is Opcode.SAVE:
                self._save(instruction)
            else:
                self.found[None].instructions_read += INSTRUCTION_BYTES
        for at in self.loads:
            self._settle(at)
        return self.found

    def _part(self, part: Part) -> list[Instruction]:
        return instructions(self.program, part)

    def _fill_taps(self, transfer: Transfer, instruction: Instruction) -> None:
        if transfer.target is Target.TAP and instruction["base"] == Base.PROGRAM:
            load(self.memories, transfer, self.image)

    def _open(self, target: Target, region: int = 0) -> npt.NDArray[np.int64]:
        key = target, region
        if key not in self.pending:
            self.pending[key] = np.full(depth(self.arch, target), _NOTHING, np.int64)
        return self.pending[key]

    def _load(self, instruction: Instruction) -> None:
        transfer = Transfer.of(self.arch, instruction)
        self._fill_taps(transfer, instruction)
        region = transfer.region if transfer.target is Target.ACT else 0
        self._open(transfer.target, region)[transfer.words] = len(self.loads)
        if transfer.target is Target.ACT:
            self.writer[region][transfer.words] = None
        size = bus_bytes(self.arch, transfer)
        self.loads.append(_Load(transfer.target, size, transfer.word_bytes))

    def _calc(self, i: Instruction, layer: str) -> None:
        path = walk(self.arch, i, self.memories.taps(i["tap_base"], i["taps"]))
        self._claim(layer, Target.ACT, path.grid.reads.words, i["src_region"])
        if path.residual is not None:
            self._claim(layer, Target.ACT, path.residual, i["res_region"])
        for target, (first, count) in self._contents(i).items():
            self._claim(layer, target, np.arange(first, first + count))
        results = path.destination
        self.writer[i["dst_region"]][results] = layer
        if (Target.ACT, i["dst_region"]) in self.pending:
            self._open(Target.ACT, i["dst_region"])[results] = _NOTHING
        self.found[layer].instructions_read += INSTRUCTION_BYTES

    def _contents(self, i: Instruction) -> dict[Target, tuple[int, int]]:
        """First word and number of words of what a CALC reads besides maps."""
        words = {
            Target.TAP: (i["tap_base"], i["taps"]),
            Target.PARAM: (i["param_base"], i["planes"]),
        }
        if i["mode"] == Mode.DENSE:
            words[Target.WGT] = i["wgt_base"], i["taps"]
        elif i["mode"] == Mode.DEPTHWISE:
            words[Target.WGT] = i["wgt_base"], depthwise_words(self.arch, i["taps"])
        return words

    def _claim(
        self, layer: str, target: Target, words: npt.NDArray[np.int64], region: int = 0
    ) -> None:
        if (target, region) not in self.pending:
            return
        pending = self.pending[target, region]
        new = np.unique(words[pending[words] != _NOTHING])
        for number, count in zip(*np.unique(pending[new], return_counts=True), strict=True):
            self.loads[number].claims[layer] += int(count)
        pending[new] = _NOTHING

    def _save(self, instruction: Instruction) -> None:
        transfer = Transfer.of(self.arch, instruction)
        writers = Counter(self.writer[transfer.region][transfer.words].ravel().tolist())
        (layer, _), *_ = writers.most_common(1)
        self.found[layer].written += bus_bytes(self.arch, transfer)
        self.found[layer].instructions_read += INSTRUCTION_BYTES

    def _settle(self, at: _Load) -> None:
        """Words are for those that read them, padding and words never read for the foremost."""
        rest = at.bus_bytes
        foremost = at.claims.most_common(1)[0][0] if at.claims else None
        for layer, words in at.claims.items():
            if layer != foremost:
                self._add(layer, at.target, words * at.word_bytes)
                rest -= words * at.word_bytes
        self._add(foremost, at.target, rest)
        self.found[foremost].instructions_read += INSTRUCTION_BYTES

    def _add(self, layer: str | None, target: Target, size: int) -> None:
        if target is Target.ACT:
            self.found[layer].maps_read += size
        else:
            self.found[layer].weights_read += size
