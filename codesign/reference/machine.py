"""The machine reference: executes encoded programs as docs/machine.md tells, and counts cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from codesign.arch import Arch
from codesign.isa import Base
from codesign.reference.execution import Execution, Setting
from codesign.reference.hazards import Hazards
from codesign.reference.memory import ByteArray, Memories, check_buffers
from codesign.reference.timing import Dram
from codesign.reference.trace import TraceRecord

_NOTHING: ByteArray = np.zeros(0, np.uint8)


@dataclass(frozen=True)
class Run:
    """What a run took: ``counters`` are named as ``registers.COUNTERS``, in cycles or beats."""

    cycles: int
    counters: Mapping[str, int]
    trace: tuple[TraceRecord, ...]
    """One record per instruction, by index; with ``trace`` those for which the queue has room."""


class Machine:
    """An accelerator with its DRAM. Its memories keep their contents from run to run.

    Parameters
    ----------
    buffers:
        A contiguous uint8 array for each base-address register; what is left out has no bytes.
        They are read and written in place; assign to ``buffers`` to bind others.
    addresses:
        DRAM addresses of the buffers, 0 where left out: bursts end at multiples of 4 KiB.
    dram:
        Latencies of the memory; those of ``Dram()`` where left out.
    check:
        Refuse programs whose result is left to chance (``hazards``). Without it they compute
        something, faster.
    compute:
        Move and compute activations. Without it cycles, counters and checks are the same, for they
        do not depend on activations, but nothing is written to them or to DRAM.
    trace:
        Count the cycles and beats that the machine takes to write its trace, too.
    """

    def __init__(
        self,
        arch: Arch,
        buffers: Mapping[Base, ByteArray],
        *,
        addresses: Mapping[Base, int] | None = None,
        dram: Dram | None = None,
        check: bool = True,
        compute: bool = True,
        trace: bool = False,
    ) -> None:
        self.arch = arch
        self.buffers = dict(buffers)
        self.addresses = dict(addresses or {})
        self.dram = dram or Dram()
        self.compute = compute
        self.trace = trace
        self.memories = Memories(arch)
        self._hazards = Hazards(arch) if check else None

    def run(self, part_offset: int, part_count: int) -> Run:
        """Execute the instructions of a part of the program.

        Parameters
        ----------
        part_offset:
            Byte of the program buffer at which the part begins, a multiple of 64.
        part_count:
            Instructions, BEGIN and END included.

        Raises
        ------
        MachineError
            The machine stops, with the code and index that its registers would show.
        ProgramError
            The program's result would depend on chance.
        """
        execution = Execution(self._setting(), part_offset, part_count)
        cycles = execution.run()
        records = tuple(sorted(execution.trace, key=lambda record: record.index))
        return Run(cycles, MappingProxyType(execution.counters()), records)

    def fill(self, part_offset: int, part_count: int) -> None:
        """What ``run`` leaves in the memories, without the time that it takes.

        Raises
        ------
        ValueError
            The part has other instructions than LOADs without tokens.
        MachineError, ProgramError
            As ``run``.
        """
        Execution(self._setting(), part_offset, part_count).fill()

    def _setting(self) -> Setting:
        check_buffers(self.buffers)
        return Setting(
            self.arch,
            self.memories,
            {base: self.buffers.get(base, _NOTHING) for base in Base},
            {base: self.addresses.get(base, 0) for base in Base},
            self.dram,
            self._hazards,
            self.compute,
            self.trace,
        )
